"""Facts: the fields kept of a Pod, Node, Service, controller and network; the rest is dropped."""

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import NamedTuple

CidrNetwork = IPv4Network | IPv6Network


class Workload(NamedTuple):
    """The workload of a pod: ("Deployment", "web"), or ("Pod", its own name) without one."""

    kind: str
    name: str


class OwnerRef(NamedTuple):
    """The entry of metadata.ownerReferences with controller=true."""

    kind: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class PodFacts:
    """A pod at one version of its object.

    ``addresses`` are 16 bytes each. ``started`` (status.startTime, else creationTimestamp) and
    ``finished`` (the end of the last container of a finished pod) are seconds since the epoch by
    the cluster's clocks, None when unknown. ``version`` is metadata.resourceVersion as a number, 0
    when it is not a number. ``account`` is its ServiceAccount, NAMESPACE/NAME.
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

    @property
    def own_addresses(self) -> tuple[bytes, ...]:
        """Its addresses; none on the host network, where they are the node's."""
        return () if self.host_network else self.addresses


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """A node at one version of its object; ``zone`` and ``region`` are empty when unknown.

    ``zone_id`` is the cloud's name of the zone that is the same in all accounts (AWS), else empty.
    ``pod_cidrs`` are spec.podCIDRs, empty where the CNI plugin assigns addresses otherwise.
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

    @property
    def own_addresses(self) -> tuple[bytes, ...]:
        """Its addresses, all of them its own."""
        return self.addresses


@dataclass(frozen=True, slots=True)
class ServiceFacts:
    """A Service and its cluster IPs, which are destinations until they are translated."""

    uid: str
    namespace: str
    name: str
    addresses: tuple[bytes, ...] = ()
    version: int = 0


@dataclass(frozen=True, slots=True)
class OwnerFacts:
    """A ReplicaSet or Job, reduced to its own controller."""

    uid: str
    name: str
    controller: OwnerRef | None = None
    version: int = 0


@dataclass(frozen=True, slots=True)
class Network:
    """A named address range outside the pods: a database, a subnet, a load balancer."""

    name: str
    kind: str
    cidrs: tuple[CidrNetwork, ...]
    zone: str = ""
    region: str = ""


def is_older(facts: PodFacts | NodeFacts, known: PodFacts | NodeFacts) -> bool:
    """Whether ``facts`` are of an earlier version than ``known``; False without a version."""
    return 0 < facts.version < known.version
