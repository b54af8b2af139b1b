"""Second hops of NodePort and load balancer traffic: from the node that took it to another zone.

Signature: a Service of type NodePort or LoadBalancer with externalTrafficPolicy Cluster, and bytes
between nodes (the source after masquerading) and its endpoints in other zones.
Arithmetic: those bytes, once balancers send to nodes with an endpoint, or to pods.
"""

from collections.abc import Iterator

from kzn.advisor.declaration import Rule
from kzn.advisor.proposal import Change, Draft, Move
from kzn.advisor.service_change import patch_service
from kzn.advisor.world import World


def propose(world: World) -> Iterator[Draft]:
    """See the module."""
    for traffic in world.traffic:
        service = traffic.service
        if service.type not in ("NodePort", "LoadBalancer") or service.external_policy == "Local":
            continue
        hops = [flow for flow in traffic.flows if flow.client.kind == "Node"]
        moves = tuple(Move(flow.number, flow.bytes) for flow in hops if flow.crosses)
        if not moves:
            continue
        yield Draft(
            subject=str(service),
            title=f"{service}: outside traffic crosses from the node that took it",
            change=Change(
                f"Service {service}: spec.externalTrafficPolicy: Local, or a balancer whose targets"
                " are pods (target type ip)",
                (patch_service(service, {"externalTrafficPolicy": "Local"}),),
            ),
            flows=tuple(flow.number for flow in hops),
            moves=moves,
            service=str(service),
            workloads=service.parties,
            verdict="warning",
            risks=(
                "nodes without an endpoint fail the balancer's health check; without one, or with"
                " clients that name a node, their connections are dropped",
                "balancers share among nodes, not endpoints: a node with one endpoint of many gets"
                " as much as the others",
                "the balancer may now cross zones itself: some clouds bill that, some do not",
            ),
            confidence="medium",
            why=("the clients of these bytes are nodes, as after masquerading of a second hop",),
            unknown=("host-network pods are nodes here, too: their bytes would stay as they are",),
        )


RULE = Rule("node-port", "second hops of NodePort and load balancer traffic", propose)
