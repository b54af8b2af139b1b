"""A table of series: int64 key → bytes, which never decrease while the series lives.

A table of a family of money has amounts of a currency in the place of bytes.

A table has at most ``limit`` series; bytes for further keys are added to ``other``, and the bytes
of a series that ends to ``retired``. So at every moment, to the byte:
all that was ever added = the series + other + retired.

A new series is exposed at 0 until `expose` (first_scrape.py): until then its bytes are pending.

A ``priced`` table has columns for the cost meter (kzn.server.cost): what each row's bytes cost so
far, and which of its bytes were settled.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kzn.columns.arrays import BOOL, F64, I64, U64
from kzn.columns.hash_table import KeyTable
from kzn.columns.sort_order import distinct
from kzn.server.ledger.family import Amounts, RowCosts
from kzn.server.ledger.places import NONE, OTHER

_PENDING = 10_000
"""Insertions that may wait for a scrape before those are gathered that have not ended."""
_EXPOSED_AT_ONCE = 20_000
"""Series: some ten milliseconds. After a time without a scrape all are due at once."""


@dataclass(slots=True)
class OtherSeries:
    """The series `other` of a table; ``began`` and ``created`` are of its first byte.

    ``cost``, ``priced_bytes`` and ``currency`` are as in `RowCosts`.
    """

    bytes: int = 0
    is_exposed: bool = False
    began: float = 0.0
    created: float = 0.0
    changed: bool = False
    cost: float = 0.0
    priced_bytes: int = 0
    currency: int = 0

    def expose(self, begun_before: float) -> None:
        """Expose its bytes if it began before that time."""
        if self.bytes and not self.is_exposed and self.began < begun_before:
            self.is_exposed = self.changed = True


class SeriesTable:
    """Series by key; rows are in order of insertion, until some end: the last rows fill their gaps.

    With ``holds`` new series are exposed at 0 until `expose`. ``epoch`` is what to add to the
    caller's clock to get Unix time.
    """

    __slots__ = (
        "_began",
        "_bytes",
        "_caused",
        "_changed",
        "_check_at",
        "_columns",
        "_cost",
        "_created",
        "_currency",
        "_ended",
        "_epoch",
        "_exposed",
        "_holds",
        "_index",
        "_keys",
        "_pending",
        "_pending_limit",
        "_priced_bytes",
        "_route",
        "_settled",
        "_touched",
        "limit",
        "other",
        "retired",
    )

    def __init__(
        self,
        limit: int,
        *,
        holds: bool = False,
        epoch: float = 0.0,
        dtype: npt.DTypeLike = np.uint64,
        priced: bool = False,
    ) -> None:
        self.limit = limit
        self._columns = _COLUMNS + (_PRICED_COLUMNS if priced else ())
        self.other = OtherSeries()
        self.retired = 0
        self._holds = holds
        self._epoch = epoch
        self._index = KeyTable()
        self._pending: deque[tuple[float, I64]] = deque()  # when series began, and their keys
        self._pending_limit = _PENDING
        self._keys = np.zeros(0, np.int64)
        self._bytes: Amounts = np.zeros(0, dtype)
        self._touched = np.zeros(0, np.float64)
        self._check_at = np.zeros(0, np.float64)
        self._began = np.zeros(0, np.float64)
        self._created = np.zeros(0, np.float64)
        self._exposed = np.zeros(0, np.bool_)
        self._changed = np.zeros(0, np.bool_)
        self._settled = np.zeros(0, np.uint64)
        self._caused = np.zeros(0, np.uint64)
        self._cost = np.zeros(0, np.float64)
        self._priced_bytes = np.zeros(0, np.uint64)
        self._currency = np.zeros(0, np.uint8)
        self._route = np.zeros(0, np.int32)
        self._ended: list[I64] | None = None

    def __len__(self) -> int:
        return self._index.size

    @property
    def keys(self) -> I64:
        """The keys by row; a view."""
        return self._keys[: len(self)]

    @property
    def bytes(self) -> Amounts:
        """The running totals by row; a view."""
        return self._bytes[: len(self)]

    @property
    def touched(self) -> F64:
        """When each row was last added to; a view."""
        return self._touched[: len(self)]

    @property
    def check_at(self) -> F64:
        """When the caller wants to look at each row again, 0 in a new one; a view to write to."""
        return self._check_at[: len(self)]

    @property
    def exposed(self) -> BOOL:
        """Which rows are exposed with their bytes, the others at 0; a view."""
        return self._exposed[: len(self)]

    @property
    def created(self) -> F64:
        """When each row began, in Unix time, 0 where that is unknown; a view."""
        return self._created[: len(self)]

    @property
    def is_priced(self) -> bool:
        """Whether it has columns for the cost meter."""
        return len(self._columns) > len(_COLUMNS)

    @property
    def costs(self) -> RowCosts | None:
        """What the bytes of each row cost so far: views; None if it is not priced."""
        if not self.is_priced:
            return None
        size = len(self)
        return RowCosts(self._cost[:size], self._priced_bytes[:size], self._currency[:size])

    def unsettled(self) -> "UnsettledRows":
        """The rows with bytes that came since they were settled; these count as settled now."""
        size = len(self)
        rows = np.flatnonzero(self._bytes[:size] != self._settled[:size])
        counted = self._bytes.take(rows)
        amounts = counted - self._settled.take(rows)
        caused, routes = self._caused.take(rows), self._route.take(rows).astype(np.int64)
        self._settled[rows] = counted
        self._caused[rows] = 0
        return UnsettledRows(rows, self._keys.take(rows), amounts, caused, routes - 1)

    def note_routes(self, rows: I64, routes: I64) -> None:
        """Note what `unsettled` is to return as the ``routes`` of ``rows``, 0 or more."""
        self._route[rows] = routes + 1

    def forget_routes(self) -> None:
        """Forget the routes of all rows."""
        self._route[:] = 0

    def add_costs(self, rows: I64, cost: F64, priced_bytes: I64, currency: I64) -> None:
        """Add to what the bytes of distinct ``rows`` cost, all (n,); `NONE` is not a currency.

        The cost of a row whose currency is another than before begins anew. `OTHER` is several
        currencies at once: the cost is 0 then, and stays it.
        """
        known = self._currency.take(rows)
        if (known == currency).all() and not (known == OTHER).any():
            self._cost[rows] += cost
        else:
            is_mixed = (currency == OTHER) | (known == OTHER)
            differs = (currency != known) & (currency != NONE)
            added = np.where(differs, 0.0, self._cost.take(rows)) + cost
            self._cost[rows] = np.where(is_mixed, 0.0, added)
            self._currency[rows] = np.where(is_mixed, OTHER, np.where(differs, currency, known))
        self._priced_bytes[rows] += priced_bytes.view(np.uint64)
        if self._ended is not None:
            self._changed[rows] = True

    def add_costs_of_other(self, cost: float, priced_bytes: int, currency: int) -> None:
        """`add_costs` of the series `other`; with a second currency it is of several."""
        other = self.other
        if currency not in (NONE, other.currency):
            other.currency = OTHER if other.currency else currency
        other.cost = 0.0 if other.currency == OTHER else other.cost + cost
        other.priced_bytes += priced_bytes
        other.changed = True

    def find(self, keys: I64) -> I64:
        """The row of each key, -1 where there is none."""
        return self._index.find(keys)

    def add_to_rows(self, rows: I64, amounts: Amounts, now: float) -> None:
        """Add ``amounts`` to the series in ``rows`` (which may repeat), as `find` returned them."""
        self._count(rows, amounts, now)

    def add(self, keys: I64, amounts: Amounts, now: float, caused: U64 | None = None) -> I64 | None:
        """Add ``amounts`` to the series of ``keys`` (which may repeat), inserting new ones.

        ``caused`` is the part of each amount that the cost meter is told of (postings.py).
        Returns the positions in ``keys`` whose amounts went to `other` because the table was
        full, None if there are none.
        """
        rows = self._index.find(keys)
        limited = np.flatnonzero(rows < 0)
        if limited.size and len(self) < self.limit:
            new = keys.take(limited)
            self._insert(distinct(new), now)
            rows[limited] = self._index.find(new)
            limited = limited[rows.take(limited) < 0]
        if not limited.size:
            self._count(rows, amounts, now)
            if caused is not None:
                np.add.at(self._caused, rows, caused)
            return None
        counted = np.flatnonzero(rows >= 0)
        self._count(rows.take(counted), amounts.take(counted), now)
        if caused is not None:
            np.add.at(self._caused, rows.take(counted), caused.take(counted))
        self.add_to_other(amounts.take(limited).sum().item(), now)
        return limited

    def add_to_other(self, amount: int, now: float) -> None:
        """Add to the series `other`, which begins with its first byte."""
        other = self.other
        if amount and not other.bytes:
            other.is_exposed = not self._holds
            other.began, other.created = now, now + self._epoch
        other.bytes += amount
        other.changed |= amount > 0

    def load(
        self,
        keys: I64,
        amounts: Amounts,
        exposed: BOOL,
        created: F64,
        now: float,
        costs: RowCosts | None = None,
    ) -> I64 | None:
        """`add` saved series; those of them that were exposed are so again.

        Saved bytes are settled: the cost meter settles all before they are saved.
        """
        limited = self.add(keys, amounts, now)
        rows = self._index.find(keys)
        known = rows >= 0
        if costs is not None and self.is_priced:
            self._cost[rows[known]] = costs.cost[known]
            self._priced_bytes[rows[known]] = costs.priced_bytes[known]
            self._currency[rows[known]] = costs.currency[known]
            self._settled[: len(self)] = self.bytes
        self._exposed[rows[known]] = exposed[known]
        self._created[rows[known]] = created[known]
        self._pending.clear()
        if self._holds or not exposed.all():
            pending = keys[known & ~exposed]
            for first in range(0, len(pending), _EXPOSED_AT_ONCE):
                self._pending.append((now, pending[first : first + _EXPOSED_AT_ONCE]))
        return limited

    def load_other(self, amount: int, now: float, *, exposed: bool, created: float) -> None:
        """`add_to_other` what was saved."""
        self.add_to_other(amount, now)
        self.other.is_exposed, self.other.created = exposed, created

    def expose(self, begun_before: float) -> None:
        """Expose the bytes of the series that began before that time; of many, some each time.

        It costs nothing for those that began later.
        """
        self.other.expose(begun_before)
        left = _EXPOSED_AT_ONCE
        while left > 0 and self._pending and self._pending[0][0] < begun_before:
            _, keys = self._pending.popleft()
            left -= len(keys)
            rows = self._index.find(keys)
            rows = rows[rows >= 0]  # the others have ended
            # One that ended and came back began later.
            rows = rows[~self._exposed[rows] & (self._began[rows] < begun_before)]
            self._exposed[rows] = True
            if self._ended is not None:
                self._changed[rows] = True

    @property
    def waiting(self) -> int:
        """Insertions of series, perhaps ended ones, that wait for `expose`."""
        return len(self._pending)

    def drop(self, rows: BOOL) -> None:
        """End the series where ``rows`` (len(self),) is true, and retire their bytes."""
        self.retired += self.bytes[rows].sum().item()
        if self._ended is not None:
            self._ended.append(self.keys[rows])
        gaps, fillers = moves(rows)
        ended, moved = self.keys[rows], self._keys[fillers]
        for name in self._columns:
            column = getattr(self, name)
            column[gaps] = column[fillers]
        self._index.drop(ended, moved, gaps)
        if len(self._pending) > self._pending_limit:
            self._gather_pending()

    def _gather_pending(self) -> None:
        """Forget what has ended: without a scrape nothing else would, and the list would grow."""
        rows = np.flatnonzero(~self.exposed)
        rows = rows.take(np.argsort(self._began.take(rows), kind="stable"))
        self._pending.clear()
        for first in range(0, len(rows), _EXPOSED_AT_ONCE):
            part = rows[first : first + _EXPOSED_AT_ONCE]
            self._pending.append((float(self._began[part[-1]]), self._keys[part]))
        self._pending_limit = 2 * len(self._pending) + _PENDING

    def drop_to_other(self, rows: BOOL, now: float) -> None:
        """`drop`; bytes that were never exposed go to `other` instead of being retired."""
        hidden = rows & ~self.exposed
        pending = self.bytes[hidden].sum().item()
        if self.is_priced and pending:
            self._move_costs_to_other(np.flatnonzero(hidden))
        self.drop(rows)
        self.retired -= pending
        self.add_to_other(pending, now)

    def watch(self) -> None:
        """Record changes from now on, for `changed` and `ended`."""
        self._ended = []
        self._changed[:] = False
        self.other.changed = False

    def changed(self) -> I64:
        """Rows of the series that changed since the last call."""
        rows = np.flatnonzero(self._changed[: len(self)])
        self._changed[rows] = False
        return rows

    def ended(self) -> I64:
        """Keys of the series that ended since the last call; some may have been inserted again."""
        if not self._ended:
            return np.zeros(0, np.int64)
        ended, self._ended = self._ended, []
        return np.concatenate(ended)

    def total(self, key: int) -> int:
        """The total of one series, 0 without one."""
        (row,) = self._index.find(np.array([key], np.int64)).tolist()
        return int(self._bytes[row]) if row >= 0 else 0

    def _move_costs_to_other(self, rows: I64) -> None:
        for row in rows.tolist():  # few: series that began within the last minute or so
            priced_bytes, currency = int(self._priced_bytes[row]), int(self._currency[row])
            self.add_costs_of_other(float(self._cost[row]), priced_bytes, currency)

    def _count(self, rows: I64, amounts: Amounts, now: float) -> None:
        np.add.at(self._bytes, rows, amounts)
        self._touched[rows] = now
        if self._ended is not None:
            self._changed[rows] = True

    def _insert(self, keys: I64, now: float) -> None:
        keys = keys[: self.limit - len(self)]
        first, end = len(self), len(self) + len(keys)
        if end > len(self._keys):
            room = max(64, 2 * end) - len(self._keys)
            for name in self._columns:
                column = getattr(self, name)
                setattr(self, name, np.append(column, np.zeros(room, column.dtype)))
        self._keys[first:end] = keys
        for name in _AMOUNT_COLUMNS:
            getattr(self, name)[first:end] = 0
        self._check_at[first:end] = 0.0
        self._began[first:end] = now
        self._created[first:end] = now + self._epoch
        self._exposed[first:end] = not self._holds
        self._changed[first:end] = False
        if self._holds:
            self._pending.append((now, keys))
        self._index.insert(keys)


_COLUMNS = (
    "_keys",
    "_bytes",
    "_touched",
    "_check_at",
    "_began",
    "_created",
    "_exposed",
    "_changed",
)
"""The arrays by row; each may have room beyond the last row."""
_PRICED_COLUMNS = ("_settled", "_caused", "_cost", "_priced_bytes", "_currency", "_route")
"""Those that a priced table has besides."""
_AMOUNT_COLUMNS = ("_bytes", *_PRICED_COLUMNS)


@dataclass(frozen=True, slots=True, eq=False)
class UnsettledRows:
    """Bytes that came to rows since they were settled: rows, keys, bytes, and the caused part.

    ``routes`` are those of `SeriesTable.note_routes`, -1 in a row without.
    """

    rows: I64
    keys: I64
    bytes: U64
    caused: U64
    routes: I64


def moves(dropped: BOOL) -> tuple[I64, I64]:
    """The rows that are dropped and filled, and the rows behind what is left that fill them."""
    left = len(dropped) - int(np.count_nonzero(dropped))
    return np.flatnonzero(dropped[:left]), left + np.flatnonzero(~dropped[left:])
