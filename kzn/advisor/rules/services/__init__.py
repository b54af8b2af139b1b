"""Rules whose change is a field of a Service, or what switches such a field off.

Files: zone_draft (what the rules share), same_zone, same_node, dns, no_effect, hints_annotation,
unlabelled_node, node_port, public_address.
"""
