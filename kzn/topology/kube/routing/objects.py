"""EndpointSlices, controllers and volumes with only the fields that kzn reads, and their facts.

In: objects that msgspec decoded. Out: facts, with names interned. Never: other fields.
"""

from collections.abc import Iterable
from sys import intern

import msgspec

from kzn.model.ip import pack
from kzn.topology.kube.api_objects import ZONE_LABELS, Json, Meta
from kzn.topology.kube.routing.node_terms import NodeAffinity, Required, allowed_zones, is_zone_key
from kzn.topology.routing_facts import (
    NODE_HINT,
    OTHER_HINT,
    READY,
    SERVING,
    TERMINATING,
    ZONE_HINT,
    ControllerFacts,
    SliceFacts,
    SlicePort,
    VolumeFacts,
)

MAX_PORTS = 100
"""Of a slice, as the API server limits them."""
MAX_CLAIMS = 32
MAX_LABELS = 32
MAX_CONTAINERS = 16
"""Whose images are kept."""
MAX_IMAGE = 256
MAX_ZONES = 100


class _SliceLabels(Json):
    service: str = msgspec.field(default="", name="kubernetes.io/service-name")


class _SliceMeta(Meta):
    labels: _SliceLabels | None = None


class Conditions(Json):
    """EndpointConditions; an absent ``ready`` is to be taken for true."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class _Name(Json):
    name: str = ""


class Hints(Json):
    """EndpointHints."""

    for_zones: tuple[_Name, ...] | None = None
    for_nodes: tuple[_Name, ...] | None = None


class SliceEndpoint(Json):
    """An entry of an EndpointSlice's endpoints; its addresses are all of one pod."""

    addresses: tuple[str, ...] | None = None
    conditions: Conditions | None = None
    node_name: str | None = None
    zone: str | None = None
    hints: Hints | None = None


class EndpointPort(Json):
    """An entry of an EndpointSlice's ports."""

    name: str | None = None
    port: int | None = None
    protocol: str | None = None


class EndpointSlice(Json):
    """discovery.k8s.io/v1 EndpointSlice."""

    metadata: _SliceMeta
    endpoints: tuple[SliceEndpoint, ...] | None = None
    ports: tuple[EndpointPort, ...] | None = None


class SpreadConstraint(Json):
    """TopologySpreadConstraint."""

    topology_key: str = ""
    when_unsatisfiable: str = ""


class _ClaimSource(Json):
    claim_name: str = ""


class _PodVolume(Json):
    persistent_volume_claim: _ClaimSource | None = None


class _Container(Json):
    name: str = ""
    image: str = ""


class _PodAffinity(Json):
    node_affinity: NodeAffinity | None = None


class _TemplateSpec(Json):
    affinity: _PodAffinity | None = None
    containers: tuple[_Container, ...] | None = None
    topology_spread_constraints: tuple[SpreadConstraint, ...] | None = None
    node_name: str | None = None
    node_selector: dict[str, str] | None = None
    volumes: tuple[_PodVolume, ...] | None = None


class _Template(Json):
    spec: _TemplateSpec = msgspec.field(default_factory=_TemplateSpec)


class _ClaimTemplate(Json):
    metadata: _Name = msgspec.field(default_factory=_Name)


class _Selector(Json):
    match_labels: dict[str, str] | None = None


class _ControllerSpec(Json):
    replicas: int | None = None
    selector: _Selector = msgspec.field(default_factory=_Selector)
    template: _Template = msgspec.field(default_factory=_Template)
    volume_claim_templates: tuple[_ClaimTemplate, ...] | None = None


class Controller(Json):
    """apps/v1 Deployment, StatefulSet or DaemonSet."""

    metadata: Meta
    spec: _ControllerSpec = msgspec.field(default_factory=_ControllerSpec)


class _VolumeMeta(Meta):
    labels: dict[str, str] | None = None


class _ClaimRef(Json):
    namespace: str = ""
    name: str = ""


class _VolumeAffinity(Json):
    required: Required | None = None


class _VolumeSpec(Json):
    claim_ref: _ClaimRef | None = None
    node_affinity: _VolumeAffinity | None = None


class Volume(Json):
    """v1 PersistentVolume."""

    metadata: _VolumeMeta
    spec: _VolumeSpec = msgspec.field(default_factory=_VolumeSpec)


def slice_facts(found: EndpointSlice) -> SliceFacts:
    """Facts of an EndpointSlice; an endpoint without an IP address (a host name) is left out."""
    addresses, flags = bytearray(), bytearray()
    nodes, zones = [], []
    for endpoint in found.endpoints or ():
        address = _first(endpoint.addresses or ())
        if address is None:
            continue
        addresses += address
        flags.append(_flags(endpoint))
        nodes.append(intern(endpoint.node_name or ""))
        zones.append(intern(endpoint.zone or ""))
    labels = found.metadata.labels
    return SliceFacts(
        uid=found.metadata.uid,
        namespace=intern(found.metadata.namespace),
        service=intern(labels.service) if labels is not None else "",
        ports=tuple(
            SlicePort(intern(port.name or ""), port.port or 0, intern(port.protocol or "TCP"))
            for port in (found.ports or ())[:MAX_PORTS]
        ),
        addresses=bytes(addresses),
        flags=bytes(flags),
        nodes=tuple(nodes),
        zones=tuple(zones),
    )


def _first(texts: Iterable[str]) -> bytes | None:
    for text in texts:
        try:
            return pack(text)
        except ValueError:
            continue
    return None


def _flags(endpoint: SliceEndpoint) -> int:
    """The bits of an endpoint, with the API's meaning of absent conditions."""
    conditions, hints = endpoint.conditions or Conditions(), endpoint.hints or Hints()
    is_ready = conditions.ready is not False
    is_serving = is_ready if conditions.serving is None else conditions.serving
    zones = {one.name for one in hints.for_zones or ()}
    return (
        READY * is_ready
        | SERVING * is_serving
        | TERMINATING * bool(conditions.terminating)
        | ZONE_HINT * bool(zones)
        | OTHER_HINT * (bool(zones) and (endpoint.zone or "") not in zones)
        | NODE_HINT * bool(hints.for_nodes)
    )


def controller_facts(kind: str, found: Controller) -> ControllerFacts:
    """Facts of a controller of ``kind``; an absent spec.replicas is 1."""
    meta, spec, created = found.metadata, found.spec, found.metadata.creation_timestamp
    pod = spec.template.spec
    by_zone = [
        one.when_unsatisfiable
        for one in pod.topology_spread_constraints or ()
        if one.topology_key in ZONE_LABELS
    ]
    affinity = pod.affinity.node_affinity if pod.affinity is not None else None
    allowed = allowed_zones(pod.node_selector, affinity)
    named = tuple(intern(zone) for zone in sorted(allowed.zones)[:MAX_ZONES])
    claims = [
        one.persistent_volume_claim.claim_name
        for one in pod.volumes or ()
        if one.persistent_volume_claim is not None
    ]
    claims += [f"{one.metadata.name}-{meta.name}-" for one in spec.volume_claim_templates or ()]
    replicas = 1 if spec.replicas is None else spec.replicas
    return ControllerFacts(
        uid=meta.uid,
        kind=kind,
        namespace=intern(meta.namespace),
        name=intern(meta.name),
        replicas=None if kind == "DaemonSet" else replicas,
        spread=intern(min(by_zone, default="")),
        zones=() if allowed.is_but else named,
        not_zones=named if allowed.is_but else (),
        is_pinned=bool(pod.node_name) or allowed.is_pinned or not (allowed.is_but or named),
        claims=tuple(claims[:MAX_CLAIMS]),
        selector=tuple(sorted((spec.selector.match_labels or {}).items()))[:MAX_LABELS],
        images=tuple(
            intern(text[:MAX_IMAGE])
            for one in (pod.containers or ())[:MAX_CONTAINERS]
            for text in (one.name, one.image)
        ),
        created=created.timestamp() if created is not None else None,
    )


def volume_facts(found: Volume) -> VolumeFacts:
    """Facts of a volume; its zones are those of its node affinity, else of its label."""
    claim = found.spec.claim_ref or _ClaimRef()
    affinity = found.spec.node_affinity
    terms = affinity.required.node_selector_terms if affinity and affinity.required else None
    zones = {
        zone
        for term in terms or ()
        for one in term.match_expressions or ()
        if one.operator == "In" and is_zone_key(one.key)
        for zone in one.values or ()
    }
    labels = found.metadata.labels or {}
    if not zones:
        zones = {one for key in ZONE_LABELS for one in labels.get(key, "").split("__") if one}
    return VolumeFacts(
        found.metadata.uid,
        intern(claim.namespace),
        claim.name,
        tuple(intern(zone) for zone in sorted(zones)),
    )
