"""The totals of one buffer: what the hook saw, and what of it is in no flow, by reason.

The order of `SLOTS` is the order of ``enum total`` in bpf/src/flow.h; a test compares them.
For each buffer: seen = accounted (the sum of its flows) + missed + ignored.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, NamedTuple

Kind = Literal["seen", "missed", "ignored"]


class Counts(NamedTuple):
    """Packets and L3 bytes as the wire carries them (docs/accuracy.md)."""

    packets: int = 0
    bytes: int = 0

    def plus(self, other: "Counts") -> "Counts":
        """The sum of both, column by column (``+`` on a tuple would join them)."""
        return Counts(self.packets + other.packets, self.bytes + other.bytes)


class Slot(NamedTuple):
    """One row of the kernel's totals: what kind of thing it counts, and why."""

    kind: Kind
    reason: str


SLOTS: tuple[Slot, ...] = (
    Slot("seen", ""),
    Slot("missed", "map_full"),
    Slot("missed", "no_memory"),
    Slot("missed", "busy"),
    Slot("missed", "parse"),
    Slot("missed", "dormant"),
    Slot("ignored", "loopback"),
    Slot("ignored", "multicast"),
    Slot("ignored", "link_local"),
    Slot("ignored", "local"),
    Slot("ignored", "inbound"),
    Slot("ignored", "tunnel"),
)

MAX_SLOTS = 16
"""TOTAL_MAX in bpf/src/flow.h: room for reasons without a new map layout."""

INBOUND_IN_FLOWS = MAX_SLOTS - 1
"""KZN_INBOUND_IN_FLOWS, not a reason: what is in flows and came in by an uplink."""

NO_COUNTS: Mapping[str, Counts] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Totals:
    """Seen, missed and ignored counts of one buffer; reasons with nothing counted are absent."""

    seen: Counts = Counts()
    missed: Mapping[str, Counts] = field(default_factory=lambda: NO_COUNTS)
    ignored: Mapping[str, Counts] = field(default_factory=lambda: NO_COUNTS)

    @property
    def accounted(self) -> Counts:
        """The sum that the flows must have: seen - missed - ignored."""
        other = [*self.missed.values(), *self.ignored.values()]
        return Counts(
            self.seen.packets - sum(c.packets for c in other),
            self.seen.bytes - sum(c.bytes for c in other),
        )
