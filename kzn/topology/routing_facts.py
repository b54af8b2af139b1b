"""Facts that decide where connections go: Services, EndpointSlices, controllers, volumes."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

READY, SERVING, TERMINATING, ZONE_HINT, OTHER_HINT, NODE_HINT = (1 << bit for bit in range(6))
"""Bits of `Member.flags`. ZONE_HINT: it has hints.forZones; OTHER_HINT: its own zone is not among
them; NODE_HINT: it has hints.forNodes."""


class ServicePort(NamedTuple):
    """An entry of spec.ports; ``node_port`` is 0 without one."""

    name: str
    port: int
    protocol: str
    node_port: int


@dataclass(frozen=True, slots=True)
class ServiceRouting:
    """The fields of a Service by which its endpoints are chosen, empty where the field is absent.

    ``distribution`` is spec.trafficDistribution, ``topology_mode`` the annotation
    service.kubernetes.io/topology-mode or its predecessor.
    """

    type: str = "ClusterIP"
    is_headless: bool = False
    distribution: str = ""
    internal_policy: str = ""
    external_policy: str = ""
    topology_mode: str = ""
    ports: tuple[ServicePort, ...] = ()


class SlicePort(NamedTuple):
    """An entry of an EndpointSlice's ports; ``number`` is 0 for "all ports"."""

    name: str
    number: int
    protocol: str


class Member(NamedTuple):
    """An endpoint of a slice: its address (16 bytes), node, zone, and its conditions and hints."""

    address: bytes
    node: str
    zone: str
    flags: int

    @property
    def is_ready(self) -> bool:
        """Whether new connections are sent to it while others are ready, too."""
        return self.flags & (READY | TERMINATING) == READY


@dataclass(frozen=True, slots=True)
class SliceFacts:
    """An EndpointSlice; the columns have one entry for each endpoint, ``addresses`` 16 bytes."""

    uid: str
    namespace: str
    service: str
    ports: tuple[SlicePort, ...]
    addresses: bytes
    flags: bytes
    nodes: tuple[str, ...]
    zones: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.flags)

    def members(self) -> Iterator[Member]:
        """The endpoints."""
        for number, flags in enumerate(self.flags):
            address = self.addresses[16 * number : 16 * number + 16]
            yield Member(address, self.nodes[number], self.zones[number], flags)


@dataclass(frozen=True, slots=True)
class ControllerFacts:
    """A Deployment, StatefulSet or DaemonSet.

    ``replicas`` is spec.replicas, None for a DaemonSet. ``spread`` is whenUnsatisfiable of its
    topologySpreadConstraint by zone, empty without one. ``zones`` are those that its nodeSelector
    and its required node affinity allow, empty for all but ``not_zones``. ``is_pinned``: they name
    nodes, or no zone is left. ``claims`` are names of PersistentVolumeClaims of its pods; those of
    volumeClaimTemplates end in ``-NAME-`` and are followed by the pod's number. ``selector`` are
    spec.selector.matchLabels. ``images`` are name and image of each container of the pod template,
    one after the other. ``created`` is its creationTimestamp in seconds since the epoch.
    """

    uid: str
    kind: str
    namespace: str
    name: str
    replicas: int | None = None
    spread: str = ""
    zones: tuple[str, ...] = ()
    claims: tuple[str, ...] = ()
    selector: tuple[tuple[str, str], ...] = ()
    images: tuple[str, ...] = ()
    created: float | None = None
    not_zones: tuple[str, ...] = ()
    is_pinned: bool = False


@dataclass(frozen=True, slots=True)
class VolumeFacts:
    """A PersistentVolume, the claim that it is bound to, and the zones from which it can be used.

    ``zones`` is empty for one that every zone can use, and for one of an unknown place.
    """

    uid: str
    namespace: str
    claim: str
    zones: tuple[str, ...] = ()
