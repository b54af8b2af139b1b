"""Pods that reach a Service of their own cluster by the address of its load balancer.

Signature: bytes from pods to an address that a Service of the cluster has in
status.loadBalancer.ingress or spec.externalIPs; the flow ends there, not at a pod.
Arithmetic: those bytes at their price, where one is known, times the share of endpoints that are in
the client's zone: the rest crosses afterwards. The way behind the balancer is not seen.
"""

from collections.abc import Iterator

from kzn.advisor.declaration import Rule
from kzn.advisor.facts import Flow, Service
from kzn.advisor.proposal import Change, Draft, Move
from kzn.advisor.world import World


def propose(world: World) -> Iterator[Draft]:
    """See the module."""
    found: dict[tuple[str, str], list[Flow]] = {}
    for flow in world.flows:
        for end, other in ((flow.dst, flow.src), (flow.src, flow.dst)):
            if end.kind == "Service" and other.kind == "Pod":
                found.setdefault((end.namespace, end.workload), []).append(flow)
                break
    services = {(one.namespace, one.name): one for one in world.services}
    for key, flows in sorted(found.items()):
        service = services.get(key)
        if service is None or not service.outer_addresses:
            continue
        moves = tuple(
            Move(flow.number, flow.bytes * share)
            for flow in flows
            if (share := _share_inside(service, _client_zone(flow)))
        )
        if not moves:
            continue
        clients = {flow.src if flow.src.kind == "Pod" else flow.dst for flow in flows}
        total = sum(flow.bytes for flow in flows)
        yield Draft(
            subject=str(service),
            title=f"{service}: pods use the address of its load balancer",
            change=Change(
                f"use {service.name}.{service.namespace}.svc in the clients, in place of"
                f" {', '.join(service.outer_addresses[:4])}"
            ),
            flows=tuple(flow.number for flow in flows),
            moves=moves,
            service=str(service),
            workloads=(*sorted(clients)[:10], *service.parties),
            effort=4,
            risks=("the balancer's TLS, its filters and its access log are left out",),
            confidence="high",
            why=(
                "the destination is an address that only this Service has",
                f"{sum(move.bytes for move in moves) / total:.0%} of the bytes would stay in the"
                " client's zone, as its endpoints are now",
            ),
            unknown=(
                "what the bytes cost beyond the balancer, and what the balancer itself costs",
            ),
        )


def _client_zone(flow: Flow) -> str:
    return flow.src_zone if flow.src.kind == "Pod" else flow.dst_zone


def _share_inside(service: Service, zone: str) -> float:
    """The share of connections that endpoints of the client's zone would get."""
    here = service.by_zone.get(zone, 0) if zone else 0
    if here and service.prefers_zone and not service.topology_mode and service.keeps_to_zone:
        return 1.0
    return here / len(service.endpoints) if here else 0.0


RULE = Rule("public-address", "pods that reach their own cluster's Service from outside", propose)
