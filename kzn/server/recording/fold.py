"""Folds settled flows by minute, ends, port, protocol, verdict and initiator.

In: settled flows with the owners of their addresses, batch by batch.
Out: rows of SETTLED by hour, and the ends that their numbers mean. Pure; used by one thread.
Never: more than ``max_rows`` rows, or a sum of one take that exceeds `MAX_SUM`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kzn.columns.arrays import I64, U64
from kzn.model.settled import SETTLED, ByClass, End, Sum, added
from kzn.server.config import ExternalAddresses
from kzn.server.recording.batches import SettledBatch
from kzn.server.recording.ends import MAX_ENDS, Ends
from kzn.server.recording.owners import OwnerNumbers
from kzn.server.recording.rest import RestOfZones
from kzn.server.recording.words import Rows, Words
from kzn.server.settled_totals import by_class

MAX_ROWS = 1_000_000
"""40 MB: the minute of a cluster of some 40,000 pods."""
MAX_SUM = 1 << 53
"""9 PB in a minute; the sums of a day of such minutes fit into 64 bits."""
_COMPACT = 1 << 18
MAX_OF_HOUR = 1 << 16
"""Rows without detail beyond which the smaller ones are added up by zone: the hour in memory keeps
a fraction of them, and to group a million again and again would cost more than all else."""
_TOGETHER = 1 << 16
"""Rows of batches whose ends are looked up together: each call in this thread may wait for the
event loop's."""


@dataclass(frozen=True, slots=True, eq=False)
class Taken:
    """Everything that was folded since the last take: rows by hour, and their sums.

    ``ends`` is by number; it may grow, and ``generation`` changes when numbers begin anew.
    """

    hours: tuple[Rows, ...]
    sums: tuple[ByClass, ...]
    ends: list[End]
    number_of_ends: int
    generation: int


class Fold:
    """Accumulates batches; ``external`` is how addresses of external ends are kept.

    Without ``has_detail`` ends have no pod, node and address, and of more than `MAX_OF_HOUR` rows
    the smaller half is added up by zone.
    """

    def __init__(
        self,
        external: ExternalAddresses = "full",
        *,
        max_rows: int = MAX_ROWS,
        has_detail: bool = True,
    ) -> None:
        self._has_detail = has_detail
        self._ends = Ends(external)
        number_of = self._ends.owner_number if has_detail else self._ends.of_owner
        self._owners = OwnerNumbers(number_of)
        self._rest = RestOfZones(self._ends.numbered)
        self._max_rows = max_rows
        self._generation = 0
        self._begin()

    def _begin(self) -> None:
        self._batches: list[SettledBatch] = []
        """Whose ends have no numbers yet."""
        self._rows_of_batches = self._ends_of_batches = 0
        self._parts: list[Words] = []
        self._rows = self._loose = 0
        """All rows, and those that are not grouped."""
        self._sums: ByClass = {}

    def add(self, batch: SettledBatch) -> str:
        """Add a batch; an empty string, or the reason why all of it is left out."""
        if self._owners.are_others(batch.learned):
            self._number_ends()  # of batches from before
        self._owners.learn(batch.learned)
        sums = added(self._sums, batch.sums)
        if max(_total(sums)) >= MAX_SUM:
            return "overflow"
        if self._rows + len(batch) > self._max_rows:
            self._compact()
            if self._rows + len(batch) > self._max_rows:
                return "full"
        if len(self._ends.list) + self._ends_of_batches + len(batch.ends) > MAX_ENDS:
            self._number_ends()
            if len(self._ends.list) + len(batch.ends) > MAX_ENDS:
                return "full"
        self._sums = sums
        self._batches.append(batch)
        self._rows_of_batches += len(batch)
        self._ends_of_batches += len(batch.ends)
        self._rows += len(batch)
        self._loose += len(batch)
        if self._rows_of_batches >= _TOGETHER:
            self._number_ends()
        # In proportion to what is grouped already: to group it again costs as much.
        if self._loose >= max(_COMPACT, self._rows - self._loose):
            self._compact()
        return ""

    def take(self) -> Taken:
        """Everything so far, which is forgotten."""
        self._compact()
        rows = self._parts[0].rows() if self._parts else np.zeros(0, SETTLED)
        parts, sums = _by_hour(rows), [self._sums]
        if len(parts) != 1:
            sums = [by_class(part["verdict"], part["packets"], part["bytes"]) for part in parts]
        self._begin()
        ends = self._ends.list
        taken = Taken(parts, tuple(sums), ends, len(ends), self._generation)
        if len(ends) > MAX_ENDS // 2:  # numbers begin anew with the next minute
            self.forget()
        return taken

    def forget(self) -> None:
        """Begin anew after an error in any state; numbers of ends begin anew, too."""
        self._begin()
        self._ends.begin_anew()
        self._owners.begin_anew()
        self._rest.begin_anew()
        self._generation += 1

    def _compact(self) -> None:
        self._number_ends()
        if len(self._parts) > 1 or self._loose:
            words = Words.joined(self._parts).grouped()
            if not self._has_detail and len(words.ends) > MAX_OF_HOUR:
                words = self._limited(words)
            self._parts = [words]
            self._rows = len(words.ends)
        self._loose = 0

    def _limited(self, words: Words) -> Words:
        kept, others = words.largest(MAX_OF_HOUR // 2)
        rest = others.without_ports(lambda numbers: self._rest.of(numbers, self._ends.list))
        return Words.joined([kept, rest.grouped()])

    def _number_ends(self) -> None:
        """Give the ends of the batches their numbers; the rows are loose then."""
        batches, self._batches = self._batches, []
        self._rows_of_batches = self._ends_of_batches = 0
        if not batches:
            return
        if self._ends.is_full():
            self._ends.forget_addresses()
            self._owners.begin_anew()
        at, low = 0, self._numbers_of(batches).view(np.uint64)
        high = low << np.uint64(32)
        for batch in batches:
            part = slice(at, at + len(batch.ends))
            ends: U64 = high[part].take(batch.src) | low[part].take(batch.dst)
            words = Words.of(ends, batch.minutes, batch.rest, batch.packets, batch.bytes)
            self._parts.append(words)
            at = part.stop

    def _numbers_of(self, batches: Sequence[SettledBatch]) -> I64:
        """The number of each end of all ``batches``."""
        owners = self._owners.of(np.concatenate([batch.ends.owners for batch in batches]))
        if not self._has_detail:
            return owners
        return self._ends.of_addresses(
            np.concatenate([batch.ends.addresses for batch in batches]),
            owners,
            np.concatenate([batch.ends.is_external for batch in batches]),
        )


def _by_hour(rows: Rows) -> tuple[Rows, ...]:
    """The rows of each hour; nearly always there is one."""
    if not len(rows):
        return ()
    hours = rows["time"] // 3600
    if hours.min() == hours.max():
        return (rows,)
    return tuple(rows[hours == hour] for hour in np.unique(hours))


def minute_of(closed: float) -> int:
    """The minute in which an interval ended; one that ends with a minute belongs to it."""
    return (math.ceil(closed / 60) - 1) * 60


def _total(sums: ByClass) -> Sum:
    return added({"": Sum()}, *({"": amount} for amount in sums.values()))[""]
