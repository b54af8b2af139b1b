"""The protocol of a topology source, and the statistics that every source reports."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from kzn.topology.index import AddressIndex
from kzn.topology.records import IndexCounts


@dataclass(frozen=True, slots=True)
class ResourceStats:
    """State of the list and watch of one resource.

    ``is_listed``: a list was complete once. ``staleness`` is seconds since the last page, event or
    bookmark, or since the start before the first. ``failures`` counts by reason; objects that could
    not be decoded are in it as "undecodable".
    """

    resource: str
    is_listed: bool
    objects: int
    staleness: float
    lists: int
    watches: int
    events: int
    failures: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class FileReads:
    """Reads of the static files, by result. ``is_outdated``: the last one failed."""

    loaded: int
    failed: int
    is_outdated: bool


@dataclass(frozen=True, slots=True)
class TopologyStats:
    """State of a source and its index: ``resources`` of the API, or ``reads`` of static files."""

    counts: IndexCounts
    resources: tuple[ResourceStats, ...] = ()
    reads: FileReads | None = None


class TopologySource(Protocol):
    """Feeds an index; several sources may feed the same one."""

    @property
    def index(self) -> AddressIndex:
        """The index that this source feeds."""
        ...

    @property
    def cluster(self) -> str:
        """The uid of the cluster; empty if it is not known or there is none."""
        ...

    @property
    def ready(self) -> bool:
        """Whether all that exists has been listed once."""
        ...

    async def run(self) -> None:
        """Feed the index until cancelled; a source without updates returns at once."""
        ...

    def stats(self) -> TopologyStats:
        """The contents of the index, and how fresh they are."""
        ...
