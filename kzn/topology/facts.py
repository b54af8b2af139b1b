"""Facts: what is kept of a Pod, a Node, an owner and a network; all else is forgotten at once."""

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import NamedTuple

CidrNetwork = IPv4Network | IPv6Network


class Workload(NamedTuple):
    """What a pod belongs to: ("Deployment", "web"), or ("Pod", its own name)."""

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

    ``addresses`` are 16 bytes each. ``started`` and ``finished`` are seconds of the epoch as the
    cluster's clocks tell them (status.startTime, else the creation; the end of the last container
    of a finished pod), None when not told. ``version`` is metadata.resourceVersion as a number, 0
    when it is none. ``account`` is its ServiceAccount, NAMESPACE/NAME.
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
        """Those that are not its node's: the kubelet takes status.hostIPs from the node's own."""
        return () if self.host_network else self.addresses


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """A node at one version of its object; ``zone`` and ``region`` are empty when not known.

    ``zone_id`` is what the cloud calls the zone in every account, where it tells. ``pod_cidrs`` are
    the ranges that the node gives addresses to its pods from, where the cluster cuts them so.
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
        """All of them."""
        return self.addresses


@dataclass(frozen=True, slots=True)
class ServiceFacts:
    """A Service: the addresses that stand for its pods until they are translated."""

    uid: str
    namespace: str
    name: str
    addresses: tuple[bytes, ...] = ()
    version: int = 0


@dataclass(frozen=True, slots=True)
class OwnerFacts:
    """A ReplicaSet or Job: only who controls it."""

    uid: str
    name: str
    controller: OwnerRef | None = None
    version: int = 0


@dataclass(frozen=True, slots=True)
class Network:
    """A named range of addresses that are no pods: a database, a subnet, a load balancer."""

    name: str
    kind: str
    cidrs: tuple[CidrNetwork, ...]
    zone: str = ""
    region: str = ""


def is_older(facts: PodFacts | NodeFacts, known: PodFacts | NodeFacts) -> bool:
    """Whether these are facts of an earlier version than the known ones; False when not told."""
    return 0 < facts.version < known.version
