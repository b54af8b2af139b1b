"""Objects of the Kubernetes API, with only the fields that kzn reads, and their facts.

In: objects that msgspec decoded. Out: facts, with names interned. Never: other fields; msgspec
skips them unparsed (a pod is about 6 kB of JSON, of which a few hundred bytes are read).
"""

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from ipaddress import ip_address, ip_network
from sys import intern

import msgspec

from kzn.model.ip import pack
from kzn.model.ip import text as text_of
from kzn.model.provider import provider_of
from kzn.topology.facts import (
    CLOCK_MARGIN,
    CidrNetwork,
    NodeFacts,
    OwnerFacts,
    OwnerRef,
    PodFacts,
    PodWithNetworks,
)

ZONE_LABELS = ("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone")
REGION_LABELS = ("topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region")
FINISHED_PHASES = ("Succeeded", "Failed")
ZONE_ID_LABEL = "topology.k8s.aws/zone-id"
AKS_LABELS = "kubernetes.azure.com/"
MAX_PROVIDER = 32
MAX_PROVIDER_ID = 512
MAX_STATUS = 65536
"""Longest network-status that is read."""
MAX_NOTED = 32
"""Most addresses of a pod that are read from it."""
_APPS, _BATCH = frozenset({"apps", "extensions"}), frozenset({"batch"})
PLAIN_KINDS = {
    "ReplicaSet": _APPS,
    "Deployment": _APPS,
    "StatefulSet": _APPS,
    "DaemonSet": _APPS,
    "Job": _BATCH,
    "CronJob": _BATCH,
    "Node": frozenset({""}),
}
"""Kinds of `OwnerRef` without version and group, and their groups: where a chain of owners ends, or
that are always followed. Other groups have kinds of the same name (Jobs of Volcano)."""
OWN_ADDRESS_TYPES = ("InternalIP", "ExternalIP")


UNREADABLE = (msgspec.MsgspecError, RecursionError, ValueError, OverflowError)
"""What decoding raises for JSON that is malformed, of another shape, too deep, or out of range."""


class Json(msgspec.Struct, gc=False, rename="camel"):
    """An object of the API; undeclared fields are skipped."""


class OwnerReference(Json):
    """An entry of metadata.ownerReferences."""

    kind: str
    name: str
    uid: str
    controller: bool | None = None
    api_version: str = ""


class Meta(Json):
    """ObjectMeta."""

    uid: str
    name: str
    namespace: str = ""
    resource_version: str = ""
    creation_timestamp: datetime | None = None
    deletion_timestamp: str | None = None
    owner_references: tuple[OwnerReference, ...] | None = None


class NodeAnnotations(Json):
    """The annotations in which CNI plugins note addresses that are the node's own.

    Calico's have a prefix length; Flannel's and Cilium's have none.
    """

    calico4: str = msgspec.field(default="", name="projectcalico.org/IPv4Address")
    calico6: str = msgspec.field(default="", name="projectcalico.org/IPv6Address")
    ipip: str = msgspec.field(default="", name="projectcalico.org/IPv4IPIPTunnelAddr")
    vxlan4: str = msgspec.field(default="", name="projectcalico.org/IPv4VXLANTunnelAddr")
    vxlan6: str = msgspec.field(default="", name="projectcalico.org/IPv6VXLANTunnelAddr")
    wireguard4: str = msgspec.field(default="", name="projectcalico.org/IPv4WireguardInterfaceAddr")
    wireguard6: str = msgspec.field(default="", name="projectcalico.org/IPv6WireguardInterfaceAddr")
    flannel4: str = msgspec.field(default="", name="flannel.alpha.coreos.com/public-ip")
    flannel6: str = msgspec.field(default="", name="flannel.alpha.coreos.com/public-ipv6")
    cilium4: str = msgspec.field(default="", name="network.cilium.io/ipv4-cilium-host")
    cilium6: str = msgspec.field(default="", name="network.cilium.io/ipv6-cilium-host")
    cilium4_old: str = msgspec.field(default="", name="io.cilium.network.ipv4-cilium-host")
    cilium6_old: str = msgspec.field(default="", name="io.cilium.network.ipv6-cilium-host")


class NodeMeta(Meta):
    """ObjectMeta of a node, with its labels."""

    labels: dict[str, str] | None = None
    annotations: NodeAnnotations | None = None


class PodAnnotations(Json):
    """The annotations in which Multus tells of all networks of a pod; the second is the old one."""

    status: str = msgspec.field(default="", name="k8s.v1.cni.cncf.io/network-status")
    old_status: str = msgspec.field(default="", name="k8s.v1.cni.cncf.io/networks-status")


class PodMeta(Meta):
    """ObjectMeta of a pod."""

    annotations: PodAnnotations | None = None


class NetworkStatus(Json):
    """An entry of network-status."""

    ips: tuple[str, ...] | None = None


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

    metadata: PodMeta
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


class NodeInfo(Json):
    """NodeSystemInfo."""

    kubelet_version: str = ""


class NodeStatus(Json):
    """NodeStatus."""

    node_info: NodeInfo = msgspec.field(default_factory=NodeInfo)
    addresses: tuple[NodeAddress, ...] | None = None


class Node(Json):
    """v1 Node."""

    metadata: NodeMeta
    spec: NodeSpec = msgspec.field(default_factory=NodeSpec)
    status: NodeStatus = msgspec.field(default_factory=NodeStatus)


class Owner(Json):
    """A controller (a ReplicaSet, a Job, ...), whole or as meta.k8s.io/v1 PartialObjectMetadata."""

    metadata: Meta


Earliest = Callable[[datetime], float | None]
"""When, by this machine's clock, what the API server stamped can have happened at the earliest."""


def pod_facts(
    pod: Pod, earliest: Earliest = lambda _stamp: None, groups: tuple[str, ...] = ()
) -> PodFacts:
    """Facts of a pod; invalid addresses are left out."""
    meta, status = pod.metadata, pod.status
    is_finished = status.phase in FINISHED_PHASES
    controller = _controller(meta)
    texts = [entry.ip for entry in status.pod_ips or ()]
    if status.pod_ip not in texts:
        texts.insert(0, status.pod_ip)
    facts = PodFacts(
        uid=meta.uid,
        namespace=intern(meta.namespace),
        name=meta.name,
        node=intern(pod.spec.node_name),
        addresses=packed_addresses(dict.fromkeys(texts)),
        host_network=pod.spec.host_network,
        is_finished=is_finished,
        is_deleting=meta.deletion_timestamp is not None,
        started=_started(pod, controller, earliest),
        finished=_last_end(status.container_statuses or ()) if is_finished else None,
        controller=controller,
        version=version_number(meta.resource_version),
        account=_account(meta.namespace, pod.spec.service_account_name),
        groups=groups,
    )
    noted = _of_networks(meta.annotations, facts.addresses) if meta.annotations else ()
    if not noted:
        return facts
    values = {field.name: getattr(facts, field.name) for field in fields(PodFacts)}
    return PodWithNetworks(**values, noted=noted)


def _of_networks(annotations: PodAnnotations, own: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """The addresses in network-status beside the pod's own, as far as a pod can have them.

    Every client that may change a pod can write it: hence no global address, and few in all.
    """
    text = annotations.status or annotations.old_status
    if not text or len(text) > MAX_STATUS:
        return ()
    try:
        networks = _NETWORKS.decode(text)
    except UNREADABLE:
        return ()
    texts = dict.fromkeys(ip for network in networks for ip in network.ips or ())
    found = dict.fromkeys(packed_addresses(list(texts)[:MAX_NOTED]))
    return tuple(one for one in found if one not in own and _is_local(one))


def _is_local(address: bytes) -> bool:
    """Whether it is not routed in the internet: of RFC 1918, RFC 6598 (100.64.0.0/10), RFC 4193."""
    found = ip_address(text_of(address))
    return not (
        found.is_global
        or found.is_loopback
        or found.is_link_local
        or found.is_unspecified
        or found.is_multicast
    )


@dataclass(frozen=True, slots=True)
class PlaceLabels:
    """The labels that have a node's zone and region, the first one that it has counts."""

    zone: tuple[str, ...] = ZONE_LABELS
    region: tuple[str, ...] = REGION_LABELS


DEFAULT_LABELS = PlaceLabels()


def node_facts(node: Node, places: PlaceLabels = DEFAULT_LABELS) -> NodeFacts:
    """Facts of a node: its addresses, zone and region."""
    meta = node.metadata
    labels = meta.labels or {}
    own = dict.fromkeys(
        a.address for a in node.status.addresses or () if a.type in OWN_ADDRESS_TYPES
    )
    provider = provider_of(node.spec.provider_id)
    zone = _first(labels, places.zone)
    if set(places.zone) <= set(ZONE_LABELS) and _is_fault_domain(zone, provider, labels):
        zone = ""
    return NodeFacts(
        uid=meta.uid,
        name=intern(meta.name),
        zone=intern(zone),
        region=intern(_first(labels, places.region)),
        addresses=packed_addresses(own),
        started=_epoch(meta.creation_timestamp),
        version=version_number(meta.resource_version),
        zone_id=intern(labels.get(ZONE_ID_LABEL, "")),
        pod_cidrs=_networks(dict.fromkeys([node.spec.pod_cidr, *(node.spec.pod_cidrs or ())])),
        noted_addresses=_noted(meta.annotations, own),
        provider=intern(provider[:MAX_PROVIDER]),
        is_agentless=is_agentless(labels),
        provider_id=node.spec.provider_id[:MAX_PROVIDER_ID],
        kubelet=intern(node.status.node_info.kubelet_version[:MAX_PROVIDER]),
    )


def is_agentless(labels: Mapping[str, str]) -> bool:
    """Whether no agent can run on a node with these labels: a virtual one, or not Linux.

    These are the nodes that the affinity of the agent's DaemonSet leaves out (deploy/base).
    """
    is_virtual = labels.get("type") == "virtual-kubelet"
    is_fargate = labels.get("eks.amazonaws.com/compute-type") == "fargate"
    return is_virtual or is_fargate or labels.get("kubernetes.io/os", "linux") != "linux"


def owner_facts(owner: Owner) -> OwnerFacts:
    """Facts of a controller."""
    meta = owner.metadata
    return OwnerFacts(
        uid=intern(meta.uid),
        name=intern(meta.name),
        controller=_controller(meta),
        version=version_number(meta.resource_version),
        namespace=intern(meta.namespace),
        created=_epoch(meta.creation_timestamp),
    )


def version_number(version: str) -> int:
    """A resourceVersion as a number (KEP-5504: comparable from 1.35 on), else 0."""
    return int(version) if version.isascii() and version.isdigit() else 0


def _started(pod: Pod, controller: OwnerRef | None, earliest: Earliest) -> float | None:
    """When the pod started by its kubelet's clock, unless it was created later than that by the
    API server's: a pod has no address before it exists. A static pod does, before its mirror.
    """
    created = pod.metadata.creation_timestamp
    started = _epoch(pod.status.start_time or created)
    if created is None or started is None or (controller and controller.kind == "Node"):
        return started
    known = earliest(created)
    return started if known is None else max(started, known + CLOCK_MARGIN)


_NETWORKS = msgspec.json.Decoder(tuple[NetworkStatus, ...])


def _account(namespace: str, name: str) -> str:
    return intern(f"{namespace}/{name}") if name else ""


def _controller(meta: Meta) -> OwnerRef | None:
    for reference in meta.owner_references or ():
        if reference.controller:
            kind = _qualified(reference.kind, reference.api_version)
            return OwnerRef(intern(kind), intern(reference.name), intern(reference.uid))
    return None


def _qualified(kind: str, api_version: str) -> str:
    if not api_version:
        return kind
    group, _, version = api_version.rpartition("/")
    if group in PLAIN_KINDS.get(kind, ()):
        return kind
    return f"{kind}.{version}.{group}"


def packed_addresses(texts: Iterable[str]) -> tuple[bytes, ...]:
    """IP addresses as 16 bytes each; what is not one is left out."""
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


def _noted(annotations: NodeAnnotations | None, own: Container[str]) -> tuple[bytes, ...]:
    if annotations is None:
        return ()
    texts = (text.partition("/")[0] for text in msgspec.structs.astuple(annotations) if text)
    return packed_addresses(dict.fromkeys(text for text in texts if text not in own))


def _is_fault_domain(zone: str, provider: str, labels: dict[str, str]) -> bool:
    """Whether the zone is the fault domain with which Azure labels nodes outside of zones.

    That is a bare number. A new node may not have its providerID yet; elsewhere "1" can be a rack.
    """
    if not zone.isdigit():
        return False
    is_azure = provider == "azure" or any(key.startswith(AKS_LABELS) for key in labels)
    return is_azure or (not provider and zone == "0")


def _first(labels: dict[str, str], names: tuple[str, ...]) -> str:
    return next((labels[name] for name in names if labels.get(name)), "")


def _last_end(statuses: Iterable[ContainerStatus]) -> float | None:
    ends = [s.state.terminated.finished_at for s in statuses if s.state.terminated is not None]
    known = [end.timestamp() for end in ends if end is not None]
    return max(known) if known and len(known) == len(ends) else None


def _epoch(moment: datetime | None) -> float | None:
    return moment.timestamp() if moment is not None else None
