"""Current owners of addresses that had several, and the time in which each is certain.

In: the current owner of an address, as it changes. Out: for thousands of rows at once, the owner
where the interval asked for lies in the certain time. Never: past owners (intervals.py).
"""

from collections.abc import Sequence
from math import inf

import numpy as np

from kzn.columns.arrays import BOOL, F64, I32, I64

_FIRST_ROWS = 64


class CurrentOwners:
    """Rows of (owner id, since, until): the owner is certain in [since, until) seconds."""

    __slots__ = ("_free", "_rows")

    def __init__(self) -> None:
        self._rows = np.full((_FIRST_ROWS, 3), inf)
        self._free = list(range(_FIRST_ROWS))

    def add(self) -> int:
        """A new row without a certain time."""
        if not self._free:
            size = len(self._rows)
            self._rows = np.concatenate([self._rows, np.full((size, 3), inf)])
            self._free.extend(range(size, 2 * size))
        return self._free.pop()

    def put(self, rows: Sequence[int], values: Sequence[tuple[int, float, float]]) -> None:
        """Set (owner id, since, until) of each row."""
        self._rows[list(rows)] = values

    def drop(self, row: int) -> None:
        """Free a row."""
        self._rows[row] = inf
        self._free.append(row)

    def find(self, rows: I32, opened: float | F64, closed: float | F64) -> tuple[I64, BOOL]:
        """The owner of each of ``rows`` (n,), and whether it is certain for [opened, closed]."""
        owner, since, until = self._rows.take(rows, axis=0).T
        certain = (since <= opened) & (closed < until)
        return np.where(certain, owner, 0).astype(np.int64), certain
