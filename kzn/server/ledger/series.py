"""A table of series: int64 key → bytes, which never decrease while the series lives.

A table has at most ``limit`` series; bytes for further keys are added to ``other``, and the bytes
of a series that ends to ``retired``. So at every moment, to the byte:
all that was ever added = the series + other + retired.
"""

import numpy as np

from kzn.columns.arrays import BOOL, F64, I64, U64
from kzn.columns.hash_table import KeyTable


class SeriesTable:
    """Series by key; rows are in order of insertion, without gaps."""

    __slots__ = (
        "_bytes",
        "_changed",
        "_ended",
        "_index",
        "_keys",
        "_touched",
        "limit",
        "other",
        "retired",
    )

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.other = 0
        self.retired = 0
        self._index = KeyTable()
        self._keys = np.zeros(0, np.int64)
        self._bytes = np.zeros(0, np.uint64)
        self._touched = np.zeros(0, np.float64)
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

    def add(self, keys: I64, amounts: U64, now: float) -> I64 | None:
        """Add ``amounts`` to the series of ``keys`` (which may repeat), inserting new ones.

        Returns the positions in ``keys`` whose amounts went to `other` because the table was
        full, None if there are none.
        """
        rows = self._index.find(keys)
        limited = np.flatnonzero(rows < 0)
        if limited.size and len(self) < self.limit:
            new = keys.take(limited)
            self._insert(_distinct(new))
            rows[limited] = self._index.find(new)
            limited = limited[rows.take(limited) < 0]
        if not limited.size:
            self._count(rows, amounts, now)
            return None
        counted = np.flatnonzero(rows >= 0)
        self._count(rows.take(counted), amounts.take(counted), now)
        self.other += int(amounts.take(limited).sum())
        return limited

    def drop(self, rows: BOOL) -> None:
        """End the series where ``rows`` (len(self),) is true, and retire their bytes."""
        self.retired += int(self.bytes[rows].sum())
        if self._ended is not None:
            self._ended.append(self.keys[rows])
        stay = ~rows
        self._changed = self._changed[: len(self)][stay]
        self._bytes, self._touched = self.bytes[stay], self.touched[stay]
        self._keys = self.keys[stay]
        self._index = KeyTable(self._keys)

    def watch(self) -> None:
        """Record changes from now on, for `changed` and `ended`."""
        self._ended = []
        self._changed[:] = False

    def changed(self) -> tuple[I64, U64]:
        """Keys and totals of the series that changed since the last call."""
        rows = np.flatnonzero(self._changed[: len(self)])
        self._changed[rows] = False
        return self._keys[rows], self._bytes[rows]

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

    def _insert(self, keys: I64) -> None:
        keys = keys[: self.limit - len(self)]
        first, end = len(self), len(self) + len(keys)
        if end > len(self._keys):
            room = max(64, 2 * end) - len(self._keys)
            self._keys = np.append(self._keys, np.zeros(room, np.int64))
            self._bytes = np.append(self._bytes, np.zeros(room, np.uint64))
            self._touched = np.append(self._touched, np.zeros(room))
            self._changed = np.append(self._changed, np.zeros(room, np.bool_))
        self._keys[first:end] = keys
        self._index.insert(keys)


def _distinct(keys: I64) -> I64:
    """Sorted, without repeats; np.unique hashes, which is several times slower here."""
    keys = np.sort(keys)
    first: BOOL = np.append(True, keys[1:] != keys[:-1])
    return keys[first]
