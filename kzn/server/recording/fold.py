"""Folds settled flows by minute, ends, port, protocol, verdict and initiator.

In: settled flows with the owners of their addresses, batch by batch.
Out: rows of SETTLED by hour, and the ends that their numbers mean. Pure; used by one thread.
Never: more than ``max_rows`` rows, or a sum of one take that exceeds `MAX_SUM`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kzn.columns.arrays import I64
from kzn.model.settled import SETTLED, ByClass, End, Sum, added
from kzn.server.config import ExternalAddresses
from kzn.server.recording.batches import SettledBatch
from kzn.server.recording.ends import MAX_ENDS, Ends
from kzn.server.recording.owners import OwnerNumbers
from kzn.server.recording.rest import RestOfZones
from kzn.server.recording.words import Rows, Words, words_of_ends
from kzn.server.settled_totals import by_class

MAX_ROWS = 1_000_000
"""40 MB: the minute of a cluster of some 40,000 pods."""
MAX_SUM = 1 << 53
"""9 PB in a minute; the sums of a day of such minutes fit into 64 bits."""
_COMPACT = 1 << 18
"""Rows whose ends are looked up and which are grouped together, at least: each call of numpy in the
folding thread may have to wait for the event loop's, so a few large ones cost less than many."""
MAX_BATCHES = 1 << 12
"""Batches that wait for being grouped: of a few flows each they take far more memory than rows."""
MAX_OF_HOUR = 1 << 16
"""Rows without detail beyond which the smaller ones are added up by zone: the hour in memory keeps
a fraction of them, and to group a million again and again would cost more than all else."""


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
        self._grouped: Words | None = None
        self._numbered: list[Words] = []
        """Of rows that are not grouped yet."""
        self._batches: list[SettledBatch] = []
        """Whose ends have no numbers yet."""
        self._rows = self._loose = self._loose_ends = 0
        """All rows, those that are not grouped, and the ends of the batches."""
        self._sums: ByClass = {}

    def add(self, batch: SettledBatch) -> str:
        """Add a batch; an empty string, or the reason why all of it is left out."""
        try:
            if self._owners.are_others(batch.learned):
                self._number()  # batches from before have the owners from before
        finally:
            self._owners.learn(batch.learned)  # they are not told again soon
        sums = added(self._sums, batch.sums)
        if max(_total(sums)) >= MAX_SUM:
            return "overflow"
        if self._rows + len(batch) > self._max_rows:
            self._compact()
            if self._rows + len(batch) > self._max_rows:
                return "full"
        if len(self._ends.list) + self._loose_ends + len(batch.ends) > MAX_ENDS:
            self._number()
            if len(self._ends.list) + len(batch.ends) > MAX_ENDS:
                return "full"
        self._sums = sums
        self._batches.append(batch)
        self._rows += len(batch)
        self._loose += len(batch)
        self._loose_ends += len(batch.ends)
        # In proportion to what is grouped already: to group it again costs as much.
        is_due = self._loose >= max(_COMPACT, self._rows - self._loose)
        if is_due or len(self._batches) >= MAX_BATCHES:
            self._compact()
        return ""

    def take(self) -> Taken:
        """Everything so far, which is forgotten."""
        self._compact()
        rows = self._grouped.rows() if self._grouped is not None else np.zeros(0, SETTLED)
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

    def _number(self) -> None:
        """Make rows of the batches, which are not needed any more."""
        if self._batches:
            self._numbered.append(self._words_of_batches())
            self._batches, self._loose_ends = [], 0

    def _compact(self) -> None:
        """Group all rows."""
        self._number()
        if not self._numbered:
            return
        before = [] if self._grouped is None else [self._grouped]
        words = Words.joined([*before, *self._numbered]).grouped()
        if not self._has_detail and len(words.ends) > MAX_OF_HOUR:
            words = self._limited(words)
        self._grouped, self._numbered = words, []
        self._rows, self._loose = len(words.ends), 0

    def _limited(self, words: Words) -> Words:
        kept, others = words.largest(MAX_OF_HOUR // 2)
        rest = others.without_ports(lambda numbers: self._rest.of(numbers, self._ends.list))
        return Words.joined([kept, rest.grouped()])

    def _words_of_batches(self) -> Words:
        if self._ends.is_full():
            self._ends.forget_addresses()
            self._owners.begin_anew()
        batches = self._batches
        rows = [len(batch) for batch in batches]
        first = np.cumsum([0, *(len(batch.ends) for batch in batches[:-1])])
        offset = np.repeat(first, rows)
        src, dst = (
            numbers.take(np.concatenate(columns) + offset)
            for numbers, columns in zip(
                words_of_ends(self._numbers_of(batches)),
                ([batch.src for batch in batches], [batch.dst for batch in batches]),
                strict=True,
            )
        )
        return Words.of(
            src | dst,
            _minutes_of(batches),
            *(
                np.concatenate([getattr(batch, name) for batch in batches])
                for name in ("rest", "packets", "bytes")
            ),
        )

    def _numbers_of(self, batches: Sequence[SettledBatch]) -> I64:
        """The number of each end of all ``batches``, one after the other."""
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
    times = rows["time"]
    if times.min() // 3600 == times.max() // 3600:
        return (rows,)
    hours = times // 3600
    return tuple(rows[hours == hour] for hour in np.unique(hours))


def _minutes_of(batches: Sequence[SettledBatch]) -> I64 | int:
    """The minute of each row, or the only one."""
    minutes = [batch.minutes for batch in batches]
    first = minutes[0]
    if isinstance(first, int) and all(isinstance(one, int) and one == first for one in minutes):
        return first
    return np.concatenate(
        [np.broadcast_to(one, len(batch)) for one, batch in zip(minutes, batches, strict=True)]
    )


def minute_of(closed: float) -> int:
    """The minute in which an interval ended; one that ends with a minute belongs to it."""
    return (math.ceil(closed / 60) - 1) * 60


def _total(sums: ByClass) -> Sum:
    return added({"": Sum()}, *({"": amount} for amount in sums.values()))[""]
