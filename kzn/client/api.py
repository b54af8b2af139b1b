"""Values of the answers of a server's /api/v1."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple


class ZonePair(NamedTuple):
    """From a zone to a zone, empty where there is none."""

    src: str
    dst: str
    crossed: str


class Workload(NamedTuple):
    """A workload; a node has no namespace."""

    namespace: str
    kind: str
    name: str


class Pair(NamedTuple):
    """From a workload in a zone to another."""

    src_namespace: str
    src: str
    src_zone: str
    dst_namespace: str
    dst: str
    dst_zone: str


@dataclass(frozen=True, slots=True)
class Status:
    """The server in a line; sums of bytes over all nodes."""

    version: str
    why_not_ready: str
    agents: int
    nodes: int
    batches: int
    seen: int
    unresolved: int
    missed: int


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """All sums at one moment of a monotonic clock.

    Columns of a workload: ``sent`` and ``received`` across zones or regions, and
    ``egress_CLASS``, ``ingress_CLASS`` of the other classes. ``cut`` is how many rows of workloads
    the server kept to itself.
    """

    at: float
    status: Status
    zones: Mapping[ZonePair, int]
    workloads: Mapping[Workload, Mapping[str, int]]
    pairs: Mapping[Pair, int]
    cut: int = 0
