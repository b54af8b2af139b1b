"""A Service with trafficDistribution whose clients cross all the same.

Signature: the field asks for the zone, the client's zone has endpoints, and more than a tenth of
the bytes of such clients leave it: in the last hours that have any, as the field may have been set,
or a reason removed, within the window.
Arithmetic: the bytes that leave, times the share of the last hours over that of the window where it
is less, if the reason is removed. Evidence is listed, the strongest first.
"""

from collections.abc import Iterator, Sequence

from kzn.advisor.declaration import Rule
from kzn.advisor.facts import Flow
from kzn.advisor.proposal import Change, Confidence, Draft, Move
from kzn.advisor.rules.services.zone_draft import LONG_LIVED, zone_moves
from kzn.advisor.service_change import CILIUM_HINT, CILIUM_STEPS, obeys_zones, old_nodes
from kzn.advisor.world import ServiceTraffic, World

SHARE = 0.1
RECENT_SECONDS = 3 * 3600
"""The last hours, or a quarter of a shorter window."""


def propose(world: World) -> Iterator[Draft]:
    """See the module."""
    for traffic in world.traffic:
        service = traffic.service
        if not service.prefers_zone or service.internal_policy == "Local":
            continue
        if service.topology_mode or not (service.keeps_to_zone or service.is_headless):
            continue  # hints-annotation and unlabelled-node say why
        zones = tuple(zone for zone in service.by_zone if zone)
        moves = zone_moves(traffic.flows, zones)
        leaving, lately = _shares(traffic.flows, zones, world.window.step)
        if min(leaving, lately) <= SHARE:
            continue
        factor = min(1.0, lately / leaving)
        moves = tuple(Move(move.flow, move.bytes * factor) for move in moves)
        change, confidence, why = _reason(world, traffic)
        yield Draft(
            subject=str(service),
            title=f"{service}: trafficDistribution is set and has no effect",
            change=change,
            flows=tuple(flow.number for flow in traffic.flows),
            moves=moves,
            service=str(service),
            workloads=(*service.parties, *traffic.clients[:10]),
            verdict="warning",
            effort=2 if change.commands else 4,
            risks=("the saving comes only if this is the reason", LONG_LIVED),
            confidence=confidence,
            why=why,
            unknown=(
                "when the field was set: what crosses is judged by the last hours that have bytes",
            ),
        )


def _shares(flows: Sequence[Flow], zones: Sequence[str], step: int) -> tuple[float, float]:
    """The share of the bytes of clients of ``zones`` that leaves them: of the window, and lately.

    Both are the same if the bytes are not known by time.
    """
    of_zones = [flow for flow in flows if flow.client_zone in zones]
    sums, leaving = _by_time(of_zones), _by_time([flow for flow in of_zones if flow.crosses])
    total = sum(flow.bytes for flow in of_zones)
    whole = sum(flow.bytes for flow in of_zones if flow.crosses) / total if total else 0.0
    last = max((at for at, size in sums.items() if size), default=-1)
    steps = max((len(flow.series) for flow in of_zones), default=0)
    number = max(1, min(RECENT_SECONDS // max(1, step), steps // 4))
    recent = range(max(0, last - number + 1), last + 1)
    size = sum(sums.get(at, 0) for at in recent)
    return whole, sum(leaving.get(at, 0) for at in recent) / size if size else whole


def _by_time(flows: Sequence[Flow]) -> dict[int, int]:
    sums: dict[int, int] = {}
    for flow in flows:
        for at, size in enumerate(flow.series):
            sums[at] = sums.get(at, 0) + size
    return sums


def _reason(world: World, traffic: ServiceTraffic) -> tuple[Change, Confidence, tuple[str, ...]]:
    service, cluster = traffic.service, world.cluster
    obeys, by = obeys_zones(cluster)
    if service.is_headless:
        why = "the Service is headless: clients get all addresses and choose themselves"
        return (
            Change("choose endpoints of the own zone in the client, or use a ClusterIP Service"),
            ("high"),
            (why,),
        )
    if old := old_nodes(cluster):
        return Change("upgrade the nodes"), "medium", (old,)
    if obeys == "no":
        summary = "make the data plane follow zone hints"
        if cluster.proxy != "cilium":
            return Change(summary), "high", (by,)
        return Change(f"{summary}; {CILIUM_HINT}", CILIUM_STEPS), "high", (by,)
    evidence = ["every ready endpoint has a zone hint, so kube-proxy keeps new connections inside"]
    if cluster.meshes:
        evidence.append(f"a mesh chooses endpoints itself: {', '.join(cluster.meshes)}")
    evidence.append("left are connections that are older than the field, and clients that choose")
    change = Change("restart the clients once; use the Service's name in those that list endpoints")
    return change, "low", (by, *evidence)


RULE = Rule("no-effect", "trafficDistribution that is set and has no effect", propose)
