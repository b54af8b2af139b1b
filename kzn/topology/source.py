"""The protocol of a topology source, and what every source tells about itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from kzn.topology.counts import IndexCounts
from kzn.topology.index import AddressIndex


@dataclass(frozen=True, slots=True)
class ResourceStats:
    """How well one kind of object is followed.

    ``is_listed``: a full list was had once. ``staleness`` is seconds since the API server was last
    heard of this resource (a list, an event, a bookmark), or since the start when never.
    ``failures`` counts by reason; objects that could not be read are in it as "undecodable".
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
class TopologyStats:
    """What a source and its index look like now, for metrics; a file has no resources."""

    counts: IndexCounts
    resources: tuple[ResourceStats, ...] = ()


class TopologySource(Protocol):
    """Something that feeds an index; several may feed the same one."""

    @property
    def index(self) -> AddressIndex:
        """The index that this source feeds."""
        ...

    @property
    def ready(self) -> bool:
        """Whether everything that exists has been seen once."""
        ...

    async def run(self) -> None:
        """Feed the index until cancelled; returns early when nothing more can come."""
        ...

    def stats(self) -> TopologyStats:
        """What is known, and how fresh it is."""
        ...
