"""Zones with clients and without an endpoint: spread the endpoints, then keep clients to zones.

Signature: clients of a Service are in zones without a ready endpoint, and its pods may run there: a
Deployment or StatefulSet of known replicas (a pod that is not ready is one, too) without volumes,
whose nodeSelector and required node affinity allow these zones, and which has no peers elsewhere.
Arithmetic: with an endpoint in each client zone and PreferSameZone, all crossing bytes stay. The
spread alone saves nothing: random choice crosses with 1 - 1/zones all the same.
"""

from collections.abc import Iterator

from kzn.advisor.declaration import Rule
from kzn.advisor.facts import Party, Workload
from kzn.advisor.proposal import SAFE_ENDPOINTS, Change, Draft
from kzn.advisor.rules.services.zone_draft import LONG_LIVED, label_first, zone_moves
from kzn.advisor.service_change import (
    obeys_zones,
    old_nodes,
    patch_pods,
    set_distribution,
    zone_value,
)
from kzn.advisor.what_if import completed, judge, kept_in_zone, zone_loads
from kzn.advisor.world import ServiceTraffic, World

_KINDS = ("Deployment", "StatefulSet")
_HARD = "DoNotSchedule"
_TERM = """\
# spec.template.spec; put spec.selector in place of SELECTOR
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: topology.kubernetes.io/zone
    whenUnsatisfiable: {when}
    labelSelector: SELECTOR
"""


def propose(world: World) -> Iterator[Draft]:
    """See the module."""
    value = zone_value(world.cluster)
    for traffic in world.traffic:
        service = traffic.service
        if service.is_headless or service.internal_policy == "Local" or not value:
            continue
        if len(service.parties) != 1 or obeys_zones(world.cluster)[0] == "no":
            continue
        party = service.parties[0]
        draft = _draft(world, traffic, party, value)
        workload, copies = world.workload(party), world.copies
        # Members of a cluster with a workload for each are mostly of one pod.
        is_member = copies.is_placed(party) and workload.replicas == 1
        if draft is None or is_member or copies.has_copies(party):
            continue
        if _may_move(workload):
            yield draft


def _may_move(workload: Workload) -> bool:
    is_free = not workload.has_claims
    return workload.party.workload_kind in _KINDS and is_free and workload.is_known


def _draft(world: World, traffic: ServiceTraffic, party: Party, value: str) -> Draft | None:
    service = traffic.service
    before = {zone: number for zone, number in service.by_zone.items() if zone}
    lacking = [zone for zone in traffic.client_zones if not before.get(zone)]
    workload = world.workload(party)
    usable = [
        zone for zone in lacking if world.cluster.zones.get(zone) and workload.may_run_in(zone)
    ]
    if not usable:
        return None
    zones = sorted({*before, *usable})
    moves = zone_moves(traffic.flows, zones)
    if not moves or not workload.replicas:
        return None
    number = max(workload.replicas, SAFE_ENDPOINTS * len(zones))
    after = spread_over(number, zones)
    peak = completed(traffic.peak, before)
    loads = zone_loads(
        traffic.matrix,
        kept_in_zone(traffic.matrix, after),
        (peak, kept_in_zone(peak, after)),
        (before, after),
    )
    verdict, risks = judge(loads)
    more = number - workload.replicas
    extra = f", {more} more pods" if more else ""
    if old := old_nodes(world.cluster):
        verdict = "warning" if verdict == "proposed" else verdict
        risks = (f"{old}: clients there go on crossing until it is upgraded", *risks)
    commands, yaml = _spread(workload, number if more else None)
    if not service.prefers_zone:
        commands.append(set_distribution(service, value))
    draft = Draft(
        subject=str(service),
        title=f"{service}: spread endpoints over {len(zones)} zones, then keep clients to theirs",
        change=Change(
            f"{party.workload_kind} {party}: topologySpreadConstraints by zone{extra}; then Service"
            f" {service}: spec.trafficDistribution: {value}",
            tuple(commands) if not yaml else (),
            yaml,
        ),
        flows=tuple(flow.number for flow in traffic.flows),
        moves=moves,
        service=str(service),
        workloads=(party, *traffic.clients[:10]),
        verdict=verdict,
        effort=3 if more else 2,
        zones=loads,
        risks=(
            *risks,
            "when a zone is full, its pods wait (DoNotSchedule)"
            if workload.spread == _HARD
            else "the scheduler may leave a zone without a pod (ScheduleAnyway) when it is full",
            *(
                [f"{more} more pods cost what they request, which is not reckoned here"]
                if more
                else []
            ),
            LONG_LIVED,
        ),
        confidence="medium",
        why=(
            f"{', '.join(usable)}: clients, nodes, and no endpoint",
            "the pods have no volumes, and what they require of nodes allows these zones",
        ),
        unknown=(
            "whether each zone has room for the pods",
            "bytes inside a node, which are not counted: load is reckoned as if chosen at random",
            "what an autoscaler makes of the number of replicas",
        ),
    )
    return label_first(draft, service)


def spread_over(number: int, zones: list[str]) -> dict[str, int]:
    """``number`` endpoints over zones, as evenly as maxSkew 1 has them."""
    each, rest = divmod(number, len(zones))
    return {zone: each + (place < rest) for place, zone in enumerate(zones)}


def _spread(workload: Workload, replicas: int | None) -> tuple[list[str], str]:
    """The command; YAML in its place without matchLabels, as {} would select all pods.

    A patch is merged with the constraint of the same topologyKey: what that demands is kept.
    """
    when = workload.spread or "ScheduleAnyway"
    if not workload.selector:
        lines = "" if replicas is None else f"# spec.replicas: {replicas}\n"
        return [], lines + _TERM.format(when=when)
    constraint = {
        "maxSkew": 1,
        "topologyKey": "topology.kubernetes.io/zone",
        "whenUnsatisfiable": when,
        "labelSelector": {"matchLabels": dict(workload.selector)},
    }
    spec = {"topologySpreadConstraints": [constraint]}
    return [patch_pods(workload.party, spec, replicas)], ""


RULE = Rule("spread-first", "client zones without an endpoint", propose)
