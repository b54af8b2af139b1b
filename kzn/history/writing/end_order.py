"""The order of rows in files, by the numbers of their ends. Pure.

In: ends as they get their numbers; rows. Out: the order of the rows by the workload and namespace
of their destination, then of their source, then by time.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from kzn.columns.arrays import I64
from kzn.model.settled import End

Rows = npt.NDArray[np.void]


class EndOrder:
    """Ranks of ends by workload and namespace; those of new names are made when they are used."""

    def __init__(self) -> None:
        self._codes: dict[tuple[str, str], int] = {}
        self._of_end: list[int] = []
        self._ranks: I64 = np.zeros(0, np.int64)

    def add(self, ends: Sequence[End]) -> None:
        """The next ends."""
        codes = self._codes
        self._of_end += [
            codes.setdefault((end.workload, end.namespace), len(codes)) for end in ends
        ]

    def of(self, rows: Rows) -> I64:
        """The order of rows; ends that were not added come first."""
        if len(self._ranks) != len(self._of_end):
            by_code = np.zeros(len(self._codes), np.int64)
            names = list(self._codes)
            by_code[sorted(range(len(names)), key=names.__getitem__)] = np.arange(len(names))
            self._ranks = by_code.take(np.array(self._of_end, np.int64))
        src, dst = (self._rank(rows[side].astype(np.int64)) for side in ("src", "dst"))
        key, times = (dst << 32) | src, np.ascontiguousarray(rows["time"])
        if len(rows) and (times == times[0]).all():
            return np.argsort(key)
        found: I64 = np.lexsort((times, key))
        return found

    def _rank(self, numbers: I64) -> I64:
        known = (numbers >= 0) & (numbers < len(self._ranks))
        found = np.full(len(numbers), 0, np.int64)
        found[known] = self._ranks.take(numbers[known])
        return found
