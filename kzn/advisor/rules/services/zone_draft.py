"""The draft of "clients keep to endpoints of their zone", which several rules share. Pure."""

from collections.abc import Sequence
from dataclasses import replace

from kzn.advisor.facts import Flow, Service
from kzn.advisor.proposal import Change, Confidence, Draft, Move
from kzn.advisor.service_change import (
    CILIUM_HINT,
    CILIUM_STEPS,
    label_steps,
    obeys_zones,
    old_nodes,
    set_distribution,
    zone_value,
)
from kzn.advisor.what_if import completed, distance, judge, kept_in_zone, zone_loads
from kzn.advisor.world import ServiceTraffic, World

_DNS_PORTS = (53, 5353)
_AS_RANDOM, _NOT_RANDOM = 0.1, 0.3
"""Distances (what_if.distance) up to which measured bytes agree with random choice, and from which
on something else than the Service chose."""
LABEL = (
    "label the nodes with their zones (put the zone of each in place of ZONE), and restart their"
    " pods of this Service if the endpoints stay without"
)
LONG_LIVED = "connections that are open stay where they are until they are opened anew"


def zone_moves(flows: Sequence[Flow], zones: Sequence[str]) -> tuple[Move, ...]:
    """What stays in its zone once clients of ``zones`` keep to theirs."""
    return tuple(
        Move(flow.number, flow.bytes)
        for flow in flows
        if flow.crosses and flow.client_zone in zones
    )


def is_dns(service: Service) -> bool:
    """Whether it answers DNS, maybe beside other things: kube-dns has metrics at another port."""
    return any((port, "udp") in service.target_ports for port in _DNS_PORTS)


def has_no_preference(service: Service) -> bool:
    """Whether a preference of zones would be the first thing that decides for its endpoints."""
    is_set = service.distribution or service.topology_mode or service.internal_policy == "Local"
    return not service.is_headless and not is_set


def zone_draft(world: World, traffic: ServiceTraffic, *, as_labelled: bool = False) -> Draft | None:
    """The draft for a Service; None if nothing crosses that could stay.

    ``refused`` without the field, or where most clients have no endpoint in their zone.
    ``as_labelled``: as if each endpoint had its zone already.
    """
    service, cluster = traffic.service, world.cluster
    endpoints = {zone: number for zone, number in service.by_zone.items() if zone}
    moves = zone_moves(traffic.flows, tuple(endpoints))
    if not moves:
        return None
    value = zone_value(cluster)
    after, peak = kept_in_zone(traffic.matrix, endpoints), completed(traffic.peak, endpoints)
    zones = zone_loads(
        traffic.matrix, after, (peak, kept_in_zone(peak, endpoints)), (endpoints, endpoints)
    )
    verdict, risks = judge(zones)
    obeys, by = obeys_zones(cluster)
    commands = [set_distribution(service, value)] if value and not service.prefers_zone else []
    summary = f"Service {service}: spec.trafficDistribution: {value}"
    effort = 1
    if obeys == "no" and cluster.proxy == "cilium":
        commands[:0] = CILIUM_STEPS
        summary += f", after Cilium's loadBalancer.serviceTopology is on; {CILIUM_HINT}"
        effort = 2
    elif obeys == "no":
        verdict, risks = "refused", (f"{by}: the field would have no effect", *risks)
    if not value:
        summary = f"Service {service}: needs trafficDistribution, that is Kubernetes 1.31"
        verdict, risks = "refused", ("this API server is older than 1.31", *risks)
    elif obeys != "no" and (old := old_nodes(cluster)):
        verdict = "warning" if verdict == "proposed" else verdict
        risks = (f"{old}: clients there go on crossing until it is upgraded", *risks)
    if traffic.own_crossing:
        risks = (
            *risks,
            "its pods send each other bytes at this port, too: where they find each other by this"
            " Service, they keep to those of their zone",
        )
    confidence, why = _confidence(world, traffic, obeys)
    draft = Draft(
        subject=str(service),
        title=f"{service}: keep clients to endpoints of their zone",
        change=Change(summary, tuple(commands)),
        flows=tuple(flow.number for flow in traffic.flows),
        moves=moves,
        service=str(service),
        workloads=(*service.parties, *traffic.clients[:10]),
        verdict=verdict,
        effort=2 if effort == 2 else 1,
        zones=zones,
        risks=(*risks, LONG_LIVED),
        confidence=confidence,
        why=(by, *why),
        unknown=_unknown(world, traffic, obeys),
    )
    return draft if as_labelled else label_first(draft, service)


def label_first(draft: Draft, service: Service) -> Draft:
    """The draft after labels for the nodes whose endpoints have no zone, where there are any."""
    lacking = [one for one in service.endpoints if not one.is_labelled]
    if not lacking:
        return draft
    steps = label_steps(service)
    risk = (
        f"{len(lacking)} of {len(service.endpoints)} endpoints have no zone: until each of them has"
        " one, all clients use all endpoints"
    )
    change = draft.change
    verdict = "warning" if draft.verdict == "proposed" else draft.verdict
    return replace(
        draft,
        change=replace(
            change,
            summary=f"{LABEL}; then {change.summary}",
            commands=(*steps, *change.commands),
        ),
        verdict=verdict if steps else "refused",
        risks=(risk, *draft.risks),
    )


def _confidence(
    world: World, traffic: ServiceTraffic, obeys: str
) -> tuple[Confidence, tuple[str, ...]]:
    service = traffic.service
    far = distance(traffic.matrix, service.by_zone)
    sure: Confidence = "high"
    if far <= _AS_RANDOM:
        why = [f"the bytes are spread as random choice does, within {far:.0%}"]
    else:
        why = [f"{far:.0%} of the bytes go elsewhere than random choice would send them"]
        sure = "low" if far > _NOT_RANDOM else "medium"
    if obeys == "unknown" and sure == "high":
        sure = "medium"
    if any(one.is_headless for one in traffic.namesakes):
        sure = "low"
        why.append("the same endpoints have a headless Service, whose clients choose themselves")
    elif traffic.namesakes and sure == "high":
        sure = "medium"
    if (world.cluster.meshes or old_nodes(world.cluster)) and sure == "high":
        sure = "medium"
    return sure, tuple(why)


def _unknown(world: World, traffic: ServiceTraffic, obeys: str) -> tuple[str, ...]:
    found = [
        "endpoints are those of now, bytes those of the window",
        "bytes inside a node, which are not counted: load is reckoned as if chosen at random",
    ]
    if world.cluster.api_version is None:
        found.append("the version of the API server, hence the oldest name of the value")
    if obeys == "unknown":
        found.append("whether the data plane follows zone hints")
    if traffic.namesakes:
        names = ", ".join(map(str, traffic.namesakes))
        found.append(f"which of these carried the bytes: {traffic.service}, {names}")
    found += [
        f"what {mesh} makes of it: a mesh chooses endpoints itself" for mesh in world.cluster.meshes
    ]
    return tuple(found)


def with_change(draft: Draft, title: str, change: Change, *why: str) -> Draft:
    """The same draft with another way to get there."""
    return replace(draft, title=title, change=change, why=(*why, *draft.why))
