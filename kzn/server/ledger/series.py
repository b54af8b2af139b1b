"""A table of series: int64 key → bytes, which never decrease while the series lives.

A table has at most ``limit`` series; bytes for further keys are added to ``other``, and the bytes
of a series that ends to ``retired``. So at every moment, to the byte:
all that was ever added = the series + other + retired.

A new series is exposed at 0 until `expose` (first_scrape.py): until then its bytes are pending.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np

from kzn.columns.arrays import BOOL, F64, I64, U64
from kzn.columns.hash_table import KeyTable

_EXPOSED_AT_ONCE = 20_000
"""Series: some ten milliseconds. After a time without a scrape all are due at once."""


@dataclass(slots=True)
class OtherSeries:
    """The series `other` of a table; ``began`` and ``created`` are of its first byte."""

    bytes: int = 0
    is_exposed: bool = False
    began: float = 0.0
    created: float = 0.0
    changed: bool = False

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
        "_changed",
        "_check_at",
        "_created",
        "_ended",
        "_epoch",
        "_exposed",
        "_holds",
        "_index",
        "_keys",
        "_pending",
        "_touched",
        "limit",
        "other",
        "retired",
    )

    def __init__(self, limit: int, *, holds: bool = False, epoch: float = 0.0) -> None:
        self.limit = limit
        self.other = OtherSeries()
        self.retired = 0
        self._holds = holds
        self._epoch = epoch
        self._index = KeyTable()
        self._pending: deque[tuple[float, I64]] = deque()  # when series began, and their keys
        self._keys = np.zeros(0, np.int64)
        self._bytes = np.zeros(0, np.uint64)
        self._touched = np.zeros(0, np.float64)
        self._check_at = np.zeros(0, np.float64)
        self._began = np.zeros(0, np.float64)
        self._created = np.zeros(0, np.float64)
        self._exposed = np.zeros(0, np.bool_)
        self._changed = np.zeros(0, np.bool_)
        self._ended: list[I64] | None = None

    def __len__(self) -> int:
        return self._index.size

    @property
    def keys(self) -> I64:
        """The keys by row; a view."""
        return self._keys[: len(self)]

    @property
    def bytes(self) -> U64:
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

    def add(self, keys: I64, amounts: U64, now: float) -> I64 | None:
        """Add ``amounts`` to the series of ``keys`` (which may repeat), inserting new ones.

        Returns the positions in ``keys`` whose amounts went to `other` because the table was
        full, None if there are none.
        """
        rows = self._index.find(keys)
        limited = np.flatnonzero(rows < 0)
        if limited.size and len(self) < self.limit:
            new = keys.take(limited)
            self._insert(_distinct(new), now)
            rows[limited] = self._index.find(new)
            limited = limited[rows.take(limited) < 0]
        if not limited.size:
            self._count(rows, amounts, now)
            return None
        counted = np.flatnonzero(rows >= 0)
        self._count(rows.take(counted), amounts.take(counted), now)
        self.add_to_other(int(amounts.take(limited).sum()), now)
        return limited

    def add_to_other(self, amount: int, now: float) -> None:
        """Add to the series `other`, which begins with its first byte."""
        other = self.other
        if amount and not other.bytes:
            other.is_exposed = not self._holds
            other.began, other.created = now, now + self._epoch
        other.bytes += amount
        other.changed |= amount > 0

    def load(self, keys: I64, amounts: U64, exposed: BOOL, created: F64, now: float) -> I64 | None:
        """`add` saved series; those of them that were exposed are so again."""
        limited = self.add(keys, amounts, now)
        rows = self._index.find(keys)
        known = rows >= 0
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

    def drop(self, rows: BOOL) -> None:
        """End the series where ``rows`` (len(self),) is true, and retire their bytes."""
        self.retired += int(self.bytes[rows].sum())
        if self._ended is not None:
            self._ended.append(self.keys[rows])
        gaps, fillers = moves(rows)
        ended, moved = self.keys[rows], self._keys[fillers]
        for name in _COLUMNS:
            column = getattr(self, name)
            column[gaps] = column[fillers]
        self._index.drop(ended, moved, gaps)

    def drop_to_other(self, rows: BOOL, now: float) -> None:
        """`drop`; bytes that were never exposed go to `other` instead of being retired."""
        pending = int(self.bytes[rows & ~self.exposed].sum())
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

    def _count(self, rows: I64, amounts: U64, now: float) -> None:
        np.add.at(self._bytes, rows, amounts)
        self._touched[rows] = now
        if self._ended is not None:
            self._changed[rows] = True

    def _insert(self, keys: I64, now: float) -> None:
        keys = keys[: self.limit - len(self)]
        first, end = len(self), len(self) + len(keys)
        if end > len(self._keys):
            room = max(64, 2 * end) - len(self._keys)
            for name in _COLUMNS:
                column = getattr(self, name)
                setattr(self, name, np.append(column, np.zeros(room, column.dtype)))
        self._keys[first:end] = keys
        self._bytes[first:end] = 0
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


def moves(dropped: BOOL) -> tuple[I64, I64]:
    """The rows that are dropped and filled, and the rows behind what is left that fill them."""
    left = len(dropped) - int(np.count_nonzero(dropped))
    return np.flatnonzero(dropped[:left]), left + np.flatnonzero(~dropped[left:])


def _distinct(keys: I64) -> I64:
    """Sorted, without repeats; np.unique hashes, which is several times slower here."""
    keys = np.sort(keys)
    first: BOOL = np.append(True, keys[1:] != keys[:-1])
    return keys[first]
