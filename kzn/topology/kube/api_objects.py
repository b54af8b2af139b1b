"""Objects of the Kubernetes API, with only the fields that kzn reads, and their facts.

In: objects that msgspec decoded. Out: facts, with names interned. Never: other fields; msgspec
skips them unparsed (a pod is about 6 kB of JSON, of which a few hundred bytes are read).
"""

from collections.abc import Iterable
from datetime import datetime
from ipaddress import ip_network
from sys import intern

import msgspec

from kzn.model.ip import pack
from kzn.topology.facts import (
    CidrNetwork,
    NodeFacts,
    OwnerFacts,
    OwnerRef,
    PodFacts,
    ServiceFacts,
)

ZONE_LABELS = ("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone")
REGION_LABELS = ("topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region")
FINISHED_PHASES = ("Succeeded", "Failed")
ZONE_ID_LABEL = "topology.k8s.aws/zone-id"
OWN_ADDRESS_TYPES = ("InternalIP", "ExternalIP")


class Json(msgspec.Struct, gc=False, rename="camel"):
    """An object of the API; undeclared fields are skipped."""


class OwnerReference(Json):
    """An entry of metadata.ownerReferences."""

    kind: str
    name: str
    uid: str
    controller: bool | None = None


class Meta(Json):
    """ObjectMeta."""

    uid: str
    name: str
    namespace: str = ""
    resource_version: str = ""
    creation_timestamp: datetime | None = None
    deletion_timestamp: str | None = None
    owner_references: tuple[OwnerReference, ...] | None = None


class NodeMeta(Meta):
    """ObjectMeta of a node, with its labels."""

    labels: dict[str, str] | None = None


class PodSpec(Json):
    """PodSpec."""

    node_name: str = ""
    host_network: bool = False
    service_account_name: str = ""


class PodIp(Json):
    """An entry of status.podIPs."""

    ip: str = ""


class Terminated(Json):
    """ContainerStateTerminated."""

    finished_at: datetime | None = None


class ContainerState(Json):
    """ContainerState."""

    terminated: Terminated | None = None


class ContainerStatus(Json):
    """ContainerStatus."""

    state: ContainerState = msgspec.field(default_factory=ContainerState)


class PodStatus(Json):
    """PodStatus."""

    phase: str = ""
    pod_ip: str = msgspec.field(default="", name="podIP")
    pod_ips: tuple[PodIp, ...] | None = msgspec.field(default=None, name="podIPs")
    start_time: datetime | None = None
    container_statuses: tuple[ContainerStatus, ...] | None = None


class Pod(Json):
    """v1 Pod."""

    metadata: Meta
    spec: PodSpec = msgspec.field(default_factory=PodSpec)
    status: PodStatus = msgspec.field(default_factory=PodStatus)


class NodeSpec(Json):
    """NodeSpec."""

    provider_id: str = msgspec.field(default="", name="providerID")
    pod_cidr: str = msgspec.field(default="", name="podCIDR")
    pod_cidrs: tuple[str, ...] | None = msgspec.field(default=None, name="podCIDRs")


class NodeAddress(Json):
    """An entry of status.addresses."""

    type: str
    address: str


class NodeStatus(Json):
    """NodeStatus."""

    addresses: tuple[NodeAddress, ...] | None = None


class Node(Json):
    """v1 Node."""

    metadata: NodeMeta
    spec: NodeSpec = msgspec.field(default_factory=NodeSpec)
    status: NodeStatus = msgspec.field(default_factory=NodeStatus)


class ServiceSpec(Json):
    """ServiceSpec."""

    cluster_ip: str = msgspec.field(default="", name="clusterIP")
    cluster_ips: tuple[str, ...] | None = msgspec.field(default=None, name="clusterIPs")


class Service(Json):
    """v1 Service."""

    metadata: Meta
    spec: ServiceSpec = msgspec.field(default_factory=ServiceSpec)


class Owner(Json):
    """A ReplicaSet or Job, whole or as meta.k8s.io/v1 PartialObjectMetadata."""

    metadata: Meta


def pod_facts(pod: Pod) -> PodFacts:
    """Facts of a pod; invalid addresses are left out."""
    meta, status = pod.metadata, pod.status
    is_finished = status.phase in FINISHED_PHASES
    texts = dict.fromkeys([status.pod_ip, *(entry.ip for entry in status.pod_ips or ())])
    return PodFacts(
        uid=meta.uid,
        namespace=intern(meta.namespace),
        name=meta.name,
        node=intern(pod.spec.node_name),
        addresses=_packed(texts),
        host_network=pod.spec.host_network,
        is_finished=is_finished,
        is_deleting=meta.deletion_timestamp is not None,
        started=_epoch(status.start_time or meta.creation_timestamp),
        finished=_last_end(status.container_statuses or ()) if is_finished else None,
        controller=_controller(meta),
        version=version_number(meta.resource_version),
        account=_account(meta.namespace, pod.spec.service_account_name),
    )


def node_facts(node: Node) -> NodeFacts:
    """Facts of a node: its addresses, zone and region."""
    meta = node.metadata
    labels = meta.labels or {}
    own = (a.address for a in node.status.addresses or () if a.type in OWN_ADDRESS_TYPES)
    return NodeFacts(
        uid=meta.uid,
        name=intern(meta.name),
        zone=intern(_zone(labels, node.spec.provider_id)),
        region=intern(_first(labels, REGION_LABELS)),
        addresses=_packed(dict.fromkeys(own)),
        started=_epoch(meta.creation_timestamp),
        version=version_number(meta.resource_version),
        zone_id=intern(labels.get(ZONE_ID_LABEL, "")),
        pod_cidrs=_networks(dict.fromkeys([node.spec.pod_cidr, *(node.spec.pod_cidrs or ())])),
    )


def service_facts(service: Service) -> ServiceFacts:
    """Facts of a Service; a headless one (clusterIP "None") has no address."""
    meta, spec = service.metadata, service.spec
    return ServiceFacts(
        uid=meta.uid,
        namespace=intern(meta.namespace),
        name=meta.name,
        addresses=_packed(dict.fromkeys([spec.cluster_ip, *(spec.cluster_ips or ())])),
        version=version_number(meta.resource_version),
    )


def owner_facts(owner: Owner) -> OwnerFacts:
    """Facts of a ReplicaSet or Job."""
    meta = owner.metadata
    return OwnerFacts(
        uid=intern(meta.uid),
        name=intern(meta.name),
        controller=_controller(meta),
        version=version_number(meta.resource_version),
    )


def version_number(version: str) -> int:
    """A resourceVersion as a number (KEP-5504: comparable from 1.35 on), else 0."""
    return int(version) if version.isascii() and version.isdigit() else 0


def _account(namespace: str, name: str) -> str:
    return intern(f"{namespace}/{name}") if name else ""


def _controller(meta: Meta) -> OwnerRef | None:
    for reference in meta.owner_references or ():
        if reference.controller:
            return OwnerRef(intern(reference.kind), intern(reference.name), intern(reference.uid))
    return None


def _packed(texts: Iterable[str]) -> tuple[bytes, ...]:
    packed = []
    for text in texts:
        try:
            packed.append(pack(text))
        except ValueError:
            continue  # empty while pending; some clouds list host names among addresses
    return tuple(packed)


def _networks(texts: Iterable[str]) -> tuple[CidrNetwork, ...]:
    networks = []
    for text in texts:
        try:
            networks.append(ip_network(text, strict=False))
        except ValueError:
            continue  # empty where the CNI plugin assigns addresses itself
    return tuple(networks)


def _zone(labels: dict[str, str], provider_id: str) -> str:
    zone = _first(labels, ZONE_LABELS)
    # Azure labels nodes outside availability zones with their fault domain, a bare number.
    return "" if zone.isdigit() and provider_id.startswith("azure:") else zone


def _first(labels: dict[str, str], names: tuple[str, ...]) -> str:
    return next((labels[name] for name in names if labels.get(name)), "")


def _last_end(statuses: Iterable[ContainerStatus]) -> float | None:
    ends = [s.state.terminated.finished_at for s in statuses if s.state.terminated is not None]
    known = [end.timestamp() for end in ends if end is not None]
    return max(known) if known and len(known) == len(ends) else None


def _epoch(moment: datetime | None) -> float | None:
    return moment.timestamp() if moment is not None else None
