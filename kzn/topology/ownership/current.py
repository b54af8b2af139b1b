"""Who has an address with a history now, and since when that is beyond doubt: rows by number.

In: the last owner of each address that had several, as that changes. Out: for thousands of rows at
once, the owner where a question falls into the certain time. Never: an answer about the past.
"""

from collections.abc import Sequence
from math import inf

import numpy as np

from kzn.columns.arrays import BOOL, I32, I64

_FIRST_ROWS = 64


class CurrentOwners:
    """Rows of an owner's number and the seconds from which on and before which it is certain."""

    __slots__ = ("_free", "_rows")

    def __init__(self) -> None:
        self._rows = np.full((_FIRST_ROWS, 3), inf)
        self._free = list(range(_FIRST_ROWS))

    def add(self) -> int:
        """A new row, certain of nothing yet."""
        if not self._free:
            size = len(self._rows)
            self._rows = np.concatenate([self._rows, np.full((size, 3), inf)])
            self._free.extend(range(size, 2 * size))
        return self._free.pop()

    def put(self, rows: Sequence[int], values: Sequence[tuple[int, float, float]]) -> None:
        """The owner, since and until of each row."""
        self._rows[list(rows)] = values

    def drop(self, row: int) -> None:
        """This row is needed no more."""
        self._rows[row] = inf
        self._free.append(row)

    def find(self, rows: I32, opened: float, closed: float) -> tuple[I64, BOOL]:
        """The owner of each of ``rows`` (n,), and whether it is the one of [opened, closed]."""
        owner, since, until = self._rows.take(rows, axis=0).T
        certain = (since <= opened) & (closed < until)
        return np.where(certain, owner, 0).astype(np.int64), certain
