"""The last applied sequence of each node and epoch, so that a replayed batch is applied once.

Memory is bounded: a connected epoch has a connection, and of those that are not connected a fixed
number is kept; the one absent longest is evicted first.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

Key = tuple[str, int]
"""Node name and epoch."""


class SequenceCheck(Enum):
    """A sequence compared with the last one applied."""

    NEXT = "next"
    DUPLICATE = "duplicate"
    GAP = "gap"


@dataclass(slots=True)
class _Live:
    connections: int
    last: int | None


class AppliedSequences:
    """Last sequence by node and epoch, for all connections of one server.

    `evicted` counts evicted epochs. If such an agent comes back with a batch of which the ack was
    lost, that batch is applied twice, so the number is a metric.
    """

    def __init__(self, max_absent: int = 20_000) -> None:
        self.max_absent = max_absent
        self.evicted = 0
        self._live: dict[Key, _Live] = {}
        self._absent: OrderedDict[Key, int] = OrderedDict()
        self._changed: dict[Key, int | None] | None = None

    def __len__(self) -> int:
        return len(self._live) + len(self._absent)

    def opened(self, key: Key) -> None:
        """One more connection of ``key``; call `closed` once for each."""
        if key in self._live:
            self._live[key].connections += 1
        else:
            self._live[key] = _Live(1, self._absent.pop(key, None))

    def closed(self, key: Key) -> None:
        """One connection of ``key`` less."""
        live = self._live[key]
        live.connections -= 1
        if live.connections:
            return
        del self._live[key]
        if live.last is not None:
            self._absent[key] = live.last
        while len(self._absent) > self.max_absent:
            key, _ = self._absent.popitem(last=False)
            self.evicted += 1
            if self._changed is not None:
                self._changed[key] = None

    def last(self, key: Key) -> int | None:
        """The last sequence applied of a connected ``key``, None if unknown."""
        return self._live[key].last

    def check(self, key: Key, sequence: int) -> SequenceCheck:
        """Compare ``sequence`` of a connected ``key``; changes nothing."""
        last = self._live[key].last
        if last is None or sequence == last + 1:
            return SequenceCheck.NEXT
        return SequenceCheck.DUPLICATE if sequence <= last else SequenceCheck.GAP

    def applied(self, key: Key, sequence: int) -> None:
        """``sequence`` of a connected ``key`` is applied; a lower one changes nothing."""
        live = self._live[key]
        live.last = sequence if live.last is None else max(live.last, sequence)
        if self._changed is not None:
            self._changed[key] = live.last

    def restore(self, rows: Iterable[tuple[Key, int]]) -> None:
        """Load sequences of an earlier process, longest absent first, before any connection."""
        self._absent.update(rows)

    def watch(self) -> None:
        """Record changes from now on, for `changed`."""
        self._changed = {}

    def changed(self) -> dict[Key, int | None]:
        """The keys changed since the last call, with their sequence; None is evicted."""
        found, self._changed = self._changed or {}, {}
        return found
