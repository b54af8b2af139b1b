"""What rules read: measured flows, Services with their endpoints, workloads, the cluster. Values.

Zones are those of the history, so that measured bytes and endpoints compare.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from re import match
from typing import NamedTuple

POD = "Pod"
CROSSING = ("cross_zone", "cross_region")
"""Classes of flows whose ends are in two zones."""
MONTH_SECONDS = 730 * 3600
"""A month of 730 hours, as clouds count it."""


class Party(NamedTuple):
    """One end of a flow without its place; ``kind`` as in kzn.model.settled.End."""

    kind: str
    namespace: str
    workload_kind: str
    workload: str

    def __str__(self) -> str:
        name = self.workload or self.kind.lower()
        return f"{self.namespace}/{name}" if self.namespace else name

    @property
    def key(self) -> str:
        """KIND/NAMESPACE/NAME, which no other has: two kinds may have one name."""
        kinds = (self.kind if self.kind != POD else "", self.workload_kind)
        kind = "/".join(dict.fromkeys(one for one in kinds if one))
        return f"{kind}/{self}" if kind else str(self)


@dataclass(frozen=True, slots=True)
class Flow:
    """A measured group of flows; ``number`` is its place in `World.flows`.

    ``port`` is that of the end that was connected to, ``protocol`` in small letters. ``series`` are
    its bytes by hour (or by minute in a window of at most an hour), empty if not known.
    """

    number: int
    src: Party
    src_zone: str
    dst: Party
    dst_zone: str
    port: int
    protocol: str
    cls: str
    reason: str
    initiator: str
    bytes: int
    series: tuple[int, ...] = ()

    @property
    def crosses(self) -> bool:
        """Whether its ends are in two zones."""
        return self.cls in CROSSING

    @property
    def is_request(self) -> bool:
        """Whether it goes to the end that was connected to; the same if that is not known."""
        return self.initiator != "destination"

    @property
    def client(self) -> Party:
        """The end that opened the connection."""
        return self.src if self.is_request else self.dst

    @property
    def client_zone(self) -> str:
        """Its zone."""
        return self.src_zone if self.is_request else self.dst_zone

    @property
    def server(self) -> Party:
        """The end that was connected to."""
        return self.dst if self.is_request else self.src

    @property
    def server_zone(self) -> str:
        """Its zone."""
        return self.dst_zone if self.is_request else self.src_zone


@dataclass(frozen=True, slots=True)
class Window:
    """What was measured: [begin, end) in Unix seconds, of which ``seconds`` have data."""

    begin: int
    end: int
    seconds: int
    step: int = 3600

    @property
    def per_month(self) -> float:
        """By what an amount of the window is multiplied to be one of a month."""
        return MONTH_SECONDS / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A ready endpoint of a Service; ``zone`` is its node's, ``has_hint`` whether it has any."""

    party: Party
    node: str
    zone: str
    has_hint: bool
    is_labelled: bool = True
    """Whether its EndpointSlice has its zone; kube-proxy reads that, not the node."""


@dataclass(frozen=True)
class Service:
    """A Service with its ready endpoints.

    ``target_ports`` are the ports of its endpoints with their protocols, in small letters.
    ``outer_addresses`` are texts. The fields of routing are as in ServiceRouting.
    """

    namespace: str
    name: str
    type: str = "ClusterIP"
    is_headless: bool = False
    distribution: str = ""
    internal_policy: str = ""
    external_policy: str = ""
    topology_mode: str = ""
    target_ports: frozenset[tuple[int, str]] = frozenset()
    endpoints: tuple[Endpoint, ...] = ()
    outer_addresses: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    @cached_property
    def by_zone(self) -> Mapping[str, int]:
        """Number of ready endpoints by zone."""
        found: dict[str, int] = {}
        for one in self.endpoints:
            found[one.zone] = found.get(one.zone, 0) + 1
        return found

    @cached_property
    def parties(self) -> tuple[Party, ...]:
        """The workloads of its endpoints."""
        return tuple(sorted({one.party for one in self.endpoints}))

    @cached_property
    def nodes(self) -> frozenset[str]:
        """The nodes of its endpoints."""
        return frozenset(one.node for one in self.endpoints)

    @property
    def prefers_zone(self) -> bool:
        """Whether its field asks for endpoints of the client's zone."""
        return self.distribution in ("PreferClose", "PreferSameZone")

    @property
    def keeps_to_zone(self) -> bool:
        """Whether kube-proxy follows the hints: all ready endpoints have them."""
        return bool(self.endpoints) and all(one.has_hint for one in self.endpoints)


@dataclass(frozen=True, slots=True)
class Workload:
    """The pods of a workload, and what its controller says where that could be read.

    ``pods`` is the number by zone, ``replicas`` is None if not known. ``volume_zones`` are the
    zones of its volumes; ``has_claims`` whether it has any that may be of one zone. ``zones``,
    ``not_zones`` and ``is_pinned`` are what it requires of nodes, as in ControllerFacts.
    """

    party: Party
    pods: Mapping[str, int] = field(default_factory=dict)
    nodes: frozenset[str] = frozenset()
    replicas: int | None = None
    spread: str = ""
    zones: tuple[str, ...] = ()
    not_zones: tuple[str, ...] = ()
    is_pinned: bool = False
    has_claims: bool = False
    volume_zones: tuple[str, ...] = ()
    selector: tuple[tuple[str, str], ...] = ()
    is_known: bool = False
    """Whether its controller could be read."""

    @property
    def is_bound(self) -> bool:
        """Whether it requires some zones or nodes and not others."""
        return bool(self.zones or self.not_zones or self.is_pinned)

    def may_run_in(self, zone: str) -> bool:
        """Whether all that it requires of nodes is known to allow every node of a zone."""
        is_allowed = zone in self.zones if self.zones else zone not in self.not_zones
        return is_allowed and not self.is_pinned


@dataclass(frozen=True, slots=True)
class Cluster:
    """Versions and data plane, as far as they show.

    ``kubelet`` is the oldest of all nodes', ``newest_kubelet`` the newest. ``cilium`` are keys of
    its configuration, None if not known. ``missing`` says why a fact is not known.
    """

    api_version: tuple[int, int] | None = None
    kubelet: tuple[int, int] | None = None
    newest_kubelet: tuple[int, int] | None = None
    proxy: str = ""
    """kube-proxy, cilium, ovn-kubernetes, ...; empty if not known."""
    meshes: tuple[str, ...] = ()
    cilium: Mapping[str, str] | None = None
    zones: Mapping[str, int] = field(default_factory=dict)
    """Number of nodes by zone."""
    unlabelled: tuple[str, ...] = ()
    """Nodes without a zone label."""
    missing: Mapping[str, str] = field(default_factory=dict)


def version_of(text: str) -> tuple[int, int] | None:
    """The first two numbers of a version ("v1.34.2-eks-1"); None if it has none.

    Nodes write their kubelet's version themselves: only ASCII digits, and few, are a number.
    """
    found = match(r"v?([0-9]{1,4})\.([0-9]{1,4})(?![0-9])", text)
    return (int(found[1]), int(found[2])) if found else None
