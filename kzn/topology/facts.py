"""Facts: the fields kept of a Pod, Node, Service, controller and network; the rest is dropped."""

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import NamedTuple

from kzn.topology.routing_facts import ServiceRouting

CLOCK_MARGIN = 2.0
"""Seconds that node and server clocks may differ without losing a pod's first bytes."""

CidrNetwork = IPv4Network | IPv6Network


class Workload(NamedTuple):
    """The workload of a pod: ("Deployment", "web"), or ("Pod", its own name) without one."""

    kind: str
    name: str


class OwnerRef(NamedTuple):
    """The entry of metadata.ownerReferences with controller=true.

    ``kind`` of Kubernetes' own workloads and of nodes is that alone; others have version and group:
    "Rollout.v1alpha1.argoproj.io", "ReplicationController.v1.".
    """

    kind: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class PodFacts:
    """A pod at one version of its object.

    ``addresses`` are 16 bytes each. ``started`` (status.startTime, else creationTimestamp) and
    ``finished`` (the end of the last container of a finished pod) are seconds since the epoch by
    the cluster's clocks, None when unknown. It has its addresses since CLOCK_MARGIN before
    ``started`` at the earliest. ``version`` is metadata.resourceVersion as a number, 0
    when it is not a number. ``account`` is its ServiceAccount, NAMESPACE/NAME. ``groups`` are its
    values of the keys of groups (groups.py), empty if it has none of them.
    """

    uid: str
    namespace: str
    name: str
    node: str = ""
    addresses: tuple[bytes, ...] = ()
    host_network: bool = False
    is_finished: bool = False
    is_deleting: bool = False
    started: float | None = None
    finished: float | None = None
    controller: OwnerRef | None = None
    version: int = 0
    account: str = ""
    groups: tuple[str, ...] = ()

    @property
    def own_addresses(self) -> tuple[bytes, ...]:
        """Its addresses; none on the host network, where they are the node's."""
        return () if self.host_network else self.addresses

    @property
    def noted_addresses(self) -> tuple[bytes, ...]:
        """Addresses that only an annotation has, of further interfaces."""
        return ()

    @property
    def price_class(self) -> str:
        """See `Network`; only a static pod has one."""
        return ""


@dataclass(frozen=True, slots=True)
class PodWithNetworks(PodFacts):
    """A pod with further interfaces; ``noted`` are their addresses by its network-status."""

    noted: tuple[bytes, ...] = ()

    @property
    def noted_addresses(self) -> tuple[bytes, ...]:
        """Addresses that only an annotation has, of further interfaces."""
        return () if self.host_network else self.noted


@dataclass(frozen=True, slots=True)
class PodWithPrice(PodFacts):
    """A pod of a static file with a price class, which no pod of Kubernetes has."""

    priced_as: str = ""

    @property
    def price_class(self) -> str:
        """See `Network`."""
        return self.priced_as


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """A node at one version of its object; ``zone`` and ``region`` are empty when unknown.

    ``zone_id`` is the cloud's name of the zone that is the same in all accounts (AWS), else empty.
    ``pod_cidrs`` are spec.podCIDRs, empty where the CNI plugin assigns addresses otherwise.
    ``noted_addresses`` are those that its CNI plugin noted in annotations (of tunnels, of devices).
    ``provider_id`` is spec.providerID, ``provider`` the name of its cloud ("aws", "gcp"), empty
    without one. ``is_agentless``: no agent can run on it. ``price_class``: see `Network`.
    ``kubelet`` is the version of its kubelet ("v1.34.2"), empty when not known.
    """

    uid: str
    name: str
    zone: str = ""
    region: str = ""
    addresses: tuple[bytes, ...] = ()
    started: float | None = None
    version: int = 0
    zone_id: str = ""
    pod_cidrs: tuple[CidrNetwork, ...] = ()
    noted_addresses: tuple[bytes, ...] = ()
    provider: str = ""
    is_agentless: bool = False
    provider_id: str = ""
    price_class: str = ""
    kubelet: str = ""

    @property
    def own_addresses(self) -> tuple[bytes, ...]:
        """Its addresses, all of them its own."""
        return self.addresses


@dataclass(frozen=True, slots=True)
class NamespaceFacts:
    """A namespace, with its values of the keys of groups (groups.py)."""

    uid: str
    name: str
    groups: tuple[str, ...] = ()
    version: int = 0


@dataclass(frozen=True, slots=True)
class ServiceFacts:
    """A Service and its cluster IPs, which are destinations until they are translated.

    ``outer_addresses`` are those of its load balancers (status.loadBalancer.ingress[].ip) and
    spec.externalIPs; ``captured_addresses`` are those of them that each node translates itself: not
    the addresses of load balancers with ipMode Proxy, and none without a cluster IP. ``routing`` is
    how its endpoints are chosen.
    """

    uid: str
    namespace: str
    name: str
    addresses: tuple[bytes, ...] = ()
    version: int = 0
    outer_addresses: tuple[bytes, ...] = ()
    captured_addresses: tuple[bytes, ...] = ()
    routing: ServiceRouting = ServiceRouting()


@dataclass(frozen=True, slots=True)
class OwnerFacts:
    """A controller (a ReplicaSet, a Job, ...), reduced to its own controller.

    ``created`` is its creationTimestamp in seconds since the epoch, None when not known.
    """

    uid: str
    name: str
    controller: OwnerRef | None = None
    version: int = 0
    namespace: str = ""
    created: float | None = None


@dataclass(frozen=True, slots=True)
class Network:
    """A named address range outside the pods: a database, a subnet, a load balancer.

    ``is_zone_unknown``: it has a zone, which cannot be compared with those of the nodes
    (zones.py). Without it and without a zone it is in none. ``price_class`` says what bytes to and
    from it cost that ordinary ones do not ("free", "managed-database"), a word of price lists.
    """

    name: str
    kind: str
    cidrs: tuple[CidrNetwork, ...]
    zone: str = ""
    region: str = ""
    is_zone_unknown: bool = False
    price_class: str = ""


def address_range(cidr: CidrNetwork) -> tuple[bytes, bytes]:
    """The first and the last address of a CIDR, 16 bytes each."""
    mapped = 0xFFFF << 32 if cidr.version == 4 else 0
    ends = int(cidr.network_address), int(cidr.broadcast_address)
    first, last = ((mapped + end).to_bytes(16, "big") for end in ends)
    return first, last


def is_older(facts: PodFacts | NodeFacts, known: PodFacts | NodeFacts) -> bool:
    """Whether ``facts`` are of an earlier version than ``known``; False without a version."""
    return 0 < facts.version < known.version
