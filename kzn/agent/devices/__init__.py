"""The node's network devices: which lead off the node, what they have sent, their tc filters.

In: the network namespace of the calling thread. Out: roles, `Device`, `Sent`, filters on devices.
Never: pyroute2 in the agent's process; a filter or qdisc that kzn did not create.
Files: netlink (its socket), netlink_messages (their layouts), table (decides roles), device_watch
(keeps it current), datapath (what carries packets past netfilter), link_stats (counters),
tc_filters (attach, detach).
"""
