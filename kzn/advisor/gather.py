"""The facts of rules from a topology and the rows of a history. Pure.

In: routing, pods with their workloads, nodes, owners of endpoints' addresses, an answer of the
history. Out: a `World`. Never: an endpoint whose address nothing owns.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from re import fullmatch

from kzn.advisor.facts import (
    Cluster,
    Endpoint,
    Flow,
    Party,
    Service,
    Window,
    Workload,
    version_of,
)
from kzn.advisor.prices import PriceOf
from kzn.advisor.world import World
from kzn.history.query import Answer
from kzn.model import ip
from kzn.model.endpoint import POD
from kzn.model.endpoint import Endpoint as Owner
from kzn.topology.facts import NodeFacts, PodFacts
from kzn.topology.facts import Workload as WorkloadName
from kzn.topology.routing import RoutingView
from kzn.topology.routing_facts import ZONE_HINT, ControllerFacts, Member, SliceFacts, VolumeFacts

DIMENSIONS = (
    "src_kind",
    "src_namespace",
    "src_workload_kind",
    "src_workload",
    "src_zone",
    "dst_kind",
    "dst_namespace",
    "dst_workload_kind",
    "dst_workload",
    "dst_zone",
    "port",
    "protocol",
    "class",
    "reason",
    "initiator",
)
"""What the history is asked by."""
PROXIES = {
    "kube-proxy": "kube-proxy",
    "cilium": "cilium",
    "ovnkube-node": "ovn-kubernetes",
    "kube-router": "kube-router",
    "antrea-agent": "antrea",
}
"""DaemonSets that choose endpoints, in the order in which one of them counts."""
MESHES = {"istiod": "Istio", "linkerd-destination": "Linkerd"}


@dataclass(frozen=True, slots=True)
class Topology:
    """The topology at one moment, in copies. ``owners`` are by address (16 bytes)."""

    routing: RoutingView
    nodes: Sequence[NodeFacts] = ()
    pods: Sequence[tuple[PodFacts, WorkloadName | None]] = ()
    owners: Mapping[bytes, Owner] = field(default_factory=dict)


MOST = 0.9
"""Share of nodes whose agents must report here for the whole to be seen, as far as shares go."""


@dataclass(frozen=True, slots=True)
class Reporting:
    """Of ``known`` nodes that have an agent, ``here`` are those whose agents report here."""

    here: int = 0
    known: int = 0


def world_of(
    answer: Answer, topology: Topology, price_of: PriceOf, reporting: Reporting = Reporting()
) -> World:
    """The world of an answer to a query by `DIMENSIONS`."""
    routing = topology.routing
    notes = []
    if not reporting.here and reporting.known:
        notes.append(
            f"no agent reports to this server at present, of {reporting.known} nodes that should"
            " have one: what is counted meanwhile is not in here"
        )
    elif reporting.here < reporting.known:
        notes.append(
            f"{reporting.here} of {reporting.known} nodes report to this server: what agents of"
            " the others count is not in here, so that shares, loads and refusals are of a part;"
            " savings of several servers add up"
        )
    if answer.of > len(answer.rows):
        notes.append(f"the {len(answer.rows)} largest of {answer.of} groups of flows are looked at")
    if routing.missing:
        names = ", ".join(f"{name} ({why})" for name, why in sorted(routing.missing.items()))
        notes.append(f"not known: {names}")
    return World(
        window=window_of(answer),
        flows=tuple(flows_of(answer)),
        services=tuple(services_of(topology)),
        workloads=workloads_of(topology),
        cluster=cluster_of(topology),
        price_of=price_of,
        unseen_bytes=max(0, answer.other.bytes),
        notes=tuple(notes),
        is_part=reporting.here < MOST * reporting.known,
    )


def window_of(answer: Answer) -> Window:
    """The span of an answer, and the seconds of it that have data."""
    begin, end = answer.query.begin, answer.query.end
    if answer.complete_from is None:
        return Window(begin, end, 0, answer.step)
    first = min(max(begin, answer.complete_from), end)
    last = min(end, answer.complete_to) if answer.complete_to is not None else end
    missing, known_to = 0, first
    for gap in sorted(answer.gaps, key=lambda one: one.begin):  # several may lack the same time
        gap_begin, gap_end = max(gap.begin, known_to), min(gap.end, last)
        if gap_end > gap_begin:
            missing += gap_end - gap_begin
            known_to = gap_end
    return Window(begin, end, max(0, last - first - missing), answer.step)


def flows_of(answer: Answer) -> Iterable[Flow]:
    """The rows of an answer as flows."""
    by = answer.query.by
    for number, row in enumerate(answer.rows):
        found = dict(zip(by, row.values, strict=True))
        ends = [
            Party(
                *(
                    str(found[f"{side}_{name}"])
                    for name in ("kind", "namespace", "workload_kind", "workload")
                )
            )
            for side in ("src", "dst")
        ]
        yield Flow(
            number=number,
            src=ends[0],
            src_zone=str(found["src_zone"]),
            dst=ends[1],
            dst_zone=str(found["dst_zone"]),
            port=int(found["port"]),
            protocol=str(found["protocol"]),
            cls=str(found["class"]),
            reason=str(found["reason"]),
            initiator=str(found["initiator"]),
            bytes=row.measure.bytes,
            series=row.measure.series or (),
        )


def party_of(owner: Owner) -> Party:
    """An owner of an address as the history names it."""
    return Party(owner.kind, owner.namespace, owner.workload_kind, owner.workload)


def services_of(topology: Topology) -> Iterable[Service]:
    """The Services that have a ready endpoint, or an address of a balancer."""
    slices: dict[tuple[str, str], list[SliceFacts]] = {}
    for one in topology.routing.slices:
        slices.setdefault((one.namespace, one.service), []).append(one)
    zones = {node.name: node.zone for node in topology.nodes}
    for facts in topology.routing.services:
        found = slices.get((facts.namespace, facts.name), [])
        endpoints = tuple(
            endpoint
            for member in _members(found)
            if (endpoint := _endpoint(member, topology.owners, zones)) is not None
        )
        if not endpoints and not facts.outer_addresses:
            continue
        routing = facts.routing
        ports = {
            (port.number, port.protocol.lower())
            for one in found
            for port in one.ports
            if port.number
        }
        yield Service(
            namespace=facts.namespace,
            name=facts.name,
            type=routing.type,
            is_headless=routing.is_headless,
            distribution=routing.distribution,
            internal_policy=routing.internal_policy,
            external_policy=routing.external_policy,
            topology_mode=routing.topology_mode,
            target_ports=frozenset(ports),
            endpoints=endpoints,
            outer_addresses=tuple(map(ip.text, facts.outer_addresses)),
        )


def _members(slices: Iterable[SliceFacts]) -> Iterable[Member]:
    """The ready endpoints, each once: a pod of two address families is in two slices."""
    seen: set[bytes] = set()
    families = {len(one.addresses) and one.addresses[:12] == _MAPPED for one in slices if len(one)}
    for one in slices:
        is_v4 = one.addresses[:12] == _MAPPED
        if len(families) > 1 and not is_v4:
            continue
        for member in one.members():
            if member.is_ready and member.address not in seen:
                seen.add(member.address)
                yield member


_MAPPED = bytes(10) + b"\xff\xff"


def _endpoint(
    member: Member, owners: Mapping[bytes, Owner], zones: Mapping[str, str]
) -> Endpoint | None:
    owner = owners.get(member.address)
    if owner is None:
        return None
    node = member.node or owner.node
    zone = zones.get(node) or owner.zone or member.zone
    has_hint = bool(member.flags & ZONE_HINT)
    return Endpoint(party_of(owner), node, zone, has_hint, bool(member.zone))


def workloads_of(topology: Topology) -> Mapping[Party, Workload]:
    """The workloads of all running pods."""
    zones = {node.name: node.zone for node in topology.nodes}
    pods: dict[Party, dict[str, int]] = {}
    nodes: dict[Party, set[str]] = {}
    for pod, name in topology.pods:
        if name is None or pod.is_finished or not pod.node:
            continue
        party = Party(POD, pod.namespace, name.kind, name.name)
        zone = zones.get(pod.node, "")
        counts = pods.setdefault(party, {})
        counts[zone] = counts.get(zone, 0) + 1
        nodes.setdefault(party, set()).add(pod.node)
    controllers = {(one.namespace, one.kind, one.name): one for one in topology.routing.controllers}
    volumes = {(one.namespace, one.claim): one for one in topology.routing.volumes}
    return {
        party: _workload(
            party,
            counts,
            frozenset(nodes[party]),
            controllers.get((party.namespace, party.workload_kind, party.workload)),
            volumes,
        )
        for party, counts in pods.items()
    }


def _workload(
    party: Party,
    pods: Mapping[str, int],
    nodes: frozenset[str],
    controller: ControllerFacts | None,
    volumes: Mapping[tuple[str, str], VolumeFacts],
) -> Workload:
    if controller is None:
        return Workload(party, pods, nodes)
    zones = {zone for volume in _volumes(controller, volumes) for zone in volume.zones}
    return Workload(
        party=party,
        pods=pods,
        nodes=nodes,
        replicas=controller.replicas,
        spread=controller.spread,
        zones=controller.zones,
        not_zones=controller.not_zones,
        is_pinned=controller.is_pinned,
        has_claims=bool(controller.claims),
        volume_zones=tuple(sorted(zones)),
        selector=controller.selector,
        is_known=True,
    )


def _volumes(
    controller: ControllerFacts, volumes: Mapping[tuple[str, str], VolumeFacts]
) -> Iterable[VolumeFacts]:
    """The volumes of its claims; those of templates are numbered from 0 (or where it begins)."""
    for claim in controller.claims:
        if (one := volumes.get((controller.namespace, claim))) is not None:
            yield one
        if not claim.endswith("-"):
            continue
        for number in range(min(controller.replicas or 0, _MOST_REPLICAS)):
            if (one := volumes.get((controller.namespace, f"{claim}{number}"))) is not None:
                yield one


_MOST_REPLICAS = 1_000


def cluster_of(topology: Topology) -> Cluster:
    """Versions, zones and data plane."""
    routing = topology.routing
    zones: dict[str, int] = {}
    for node in topology.nodes:
        zones[node.zone] = zones.get(node.zone, 0) + 1
    kubelets = [version for node in topology.nodes if (version := version_of(node.kubelet))]
    daemons = {one.name for one in routing.controllers if one.kind == "DaemonSet"}
    others = {one.name for one in routing.controllers if one.kind == "Deployment"}
    proxy = next((name for daemon, name in PROXIES.items() if daemon in daemons), "")
    return Cluster(
        api_version=version_of(routing.api_version),
        kubelet=min(kubelets, default=None),
        newest_kubelet=max(kubelets, default=None),
        proxy=proxy,
        meshes=tuple(
            name
            for prefix, name in MESHES.items()
            if any(fullmatch(f"{prefix}(-.*)?", other) for other in others)
        ),
        cilium=routing.cilium,
        zones={zone: number for zone, number in zones.items() if zone},
        unlabelled=tuple(sorted(node.name for node in topology.nodes if not node.zone)),
        missing=routing.missing,
    )
