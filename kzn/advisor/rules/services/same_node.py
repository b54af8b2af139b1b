"""A Service whose endpoints are on every node of its clients: keep clients to their node.

Signature: the endpoints are a DaemonSet's, and each node with a client has one; all clients have
pods now, so that their nodes are known.
Arithmetic: all crossing bytes of its clients stay on their nodes.
"""

from collections.abc import Iterator

from kzn.advisor.declaration import Rule
from kzn.advisor.proposal import Change, Draft
from kzn.advisor.rules.services.zone_draft import LONG_LIVED, is_dns, zone_moves
from kzn.advisor.service_change import knows_node_value, obeys_zones, old_nodes, patch_service
from kzn.advisor.world import ServiceTraffic, World


def is_on_every_node(world: World, traffic: ServiceTraffic) -> bool:
    """Whether the Service is a DaemonSet's that is ready on all nodes with clients."""
    parties = traffic.service.parties
    if not parties or any(party.workload_kind != "DaemonSet" for party in parties):
        return False
    nodes = [world.workload(party).nodes for party in traffic.clients]
    return bool(nodes) and all(one and one <= traffic.service.nodes for one in nodes)


def _is_everywhere(world: World, traffic: ServiceTraffic) -> bool:
    """Whether every node of the cluster has an endpoint: a client may come to any of them."""
    cluster = world.cluster
    number = sum(cluster.zones.values()) + len(cluster.unlabelled)
    return 0 < number <= len(traffic.service.nodes - {""})


def propose(world: World) -> Iterator[Draft]:
    """See the module."""
    for traffic in world.traffic:
        service = traffic.service
        is_set = service.internal_policy == "Local" or service.distribution == "PreferSameNode"
        if service.is_headless or is_set or is_dns(service):
            continue
        if not is_on_every_node(world, traffic):
            continue
        moves = zone_moves(traffic.flows, traffic.client_zones)
        if not moves:
            continue
        obeys, by = obeys_zones(world.cluster)
        is_old = bool(old_nodes(world.cluster))  # every kube-proxy knows the policy
        is_soft = knows_node_value(world.cluster) and obeys == "yes" and not is_old
        name, value = (
            ("trafficDistribution", "PreferSameNode")
            if is_soft
            else ("internalTrafficPolicy", "Local")
        )
        yield Draft(
            subject=str(service),
            title=f"{service}: keep clients to the endpoint of their node",
            change=Change(
                f"Service {service}: spec.{name}: {value}", (patch_service(service, {name: value}),)
            ),
            flows=tuple(flow.number for flow in traffic.flows),
            moves=moves,
            service=str(service),
            workloads=(*service.parties, *traffic.clients[:10]),
            verdict="proposed" if is_soft or _is_everywhere(world, traffic) else "warning",
            risks=(
                "an endpoint has the load of its node's clients alone, however uneven they are",
                "while a node's endpoint is not ready, its clients use other nodes"
                if is_soft
                else "while a node's endpoint is not ready, connections of its clients are dropped",
                *_risks_of_local(world, traffic, is_soft=is_soft),
                LONG_LIVED,
            ),
            confidence="high",
            why=(
                f"the DaemonSet is ready on all {len(service.nodes)} nodes, those with clients"
                " among them",
                by,
            ),
            unknown=(
                "which node each byte came from: bytes are known by workload and zone",
                *(
                    ["whether this version of Cilium knows PreferSameNode"]
                    if is_soft and world.cluster.proxy == "cilium"
                    else []
                ),
            ),
        )


def _risks_of_local(world: World, traffic: ServiceTraffic, *, is_soft: bool) -> list[str]:
    if is_soft or _is_everywhere(world, traffic):
        return []
    return ["not every node has an endpoint: connections of a client that comes to one are dropped"]


RULE = Rule("same-node", "a DaemonSet behind a Service that has it on every client's node", propose)
