"""A scraper that fetches from targets in all zones: one per zone.

Signature: a workload with pods in one zone, or in fewer zones than its targets, opens connections
to five workloads or more in other zones, and nine tenths of those bytes come back to it.
Arithmetic: all crossing bytes, with a scraper in each zone of targets that keeps its data there.
"""

from collections.abc import Iterator

from kzn.advisor.declaration import Rule
from kzn.advisor.facts import Party
from kzn.advisor.proposal import Change, Draft, Move
from kzn.advisor.world import Pair, World

TARGETS = 5
RETURNED = 0.9
_CONFIG = """\
# Prometheus of one zone: keep targets of its nodes (role: pod, attach_metadata: {node: true})
relabel_configs:
  - source_labels: [__meta_kubernetes_node_label_topology_kubernetes_io_zone]
    regex: ZONE
    action: keep
"""


def propose(world: World) -> Iterator[Draft]:
    """See the module."""
    of_client: dict[Party, list[Pair]] = {}
    for pair in world.pairs:
        if pair.protocol == "tcp" and pair.client.kind == "Pod":
            if world.copies.are_peers(pair.client, pair.server, pair.port, pair.protocol):
                continue  # members of a cluster, which fetch from each other
            of_client.setdefault(pair.client, []).append(pair)
    for client, pairs in sorted(of_client.items()):
        fetching = [
            one for one in pairs if one.responses >= RETURNED * (one.responses + one.requests)
        ]
        targets = {one.server for one in fetching if one.crossing}
        is_all_it_does = (
            sum(one.crossing for one in fetching) > sum(one.crossing for one in pairs) / 2
        )
        if len(targets) < TARGETS or not is_all_it_does:
            continue
        flows = [flow for one in fetching for flow in one.flows]
        zones = {zone for zone, number in world.workload(client).pods.items() if number}
        zones = zones or {flow.client_zone for flow in flows}
        if 1 < len(zones) >= len({flow.server_zone for flow in flows if flow.server_zone}):
            continue  # as with one in each zone that fetches from all: zones do not divide them
        moves = tuple(Move(flow.number, flow.bytes) for flow in flows if flow.crosses)
        yield Draft(
            subject=client.key,
            title=f"{client}: fetch from {len(targets)} workloads in the zone where they are",
            change=Change(
                f"a {client} for each zone, each with the targets of its zone", (), _CONFIG
            ),
            flows=tuple(flow.number for flow in flows),
            moves=moves,
            workloads=(client,),
            effort=4,
            risks=(
                "questions over all zones need what joins them (federation, remote write): what"
                " that sends crosses, and is not reckoned here",
                "more pods run, each with its own storage",
            ),
            confidence="medium",
            why=(
                f"it opens connections to {len(targets)} workloads in other zones",
                "nine tenths of the bytes come back to it",
            ),
            unknown=("what of it is scraped metrics",),
        )


RULE = Rule("scrapers", "one workload that fetches from many in other zones", propose)
