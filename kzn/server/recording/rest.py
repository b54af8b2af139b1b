"""The rest of each zone: an end for the workloads of a zone whose rows are too small to be kept.

In: numbers of ends. Out: the numbers of the ends that stand for the rest of their zones. Pure.
"""

from collections.abc import Callable, Sequence

import numpy as np

from kzn.columns.arrays import I32, I64
from kzn.model.settled import End

OTHER = "other"
"""The workload of flows that were added up because there were too many."""


class RestOfZones:
    """Remembers the number of the rest by the number of an end; ``numbered`` numbers a new end."""

    def __init__(self, numbered: Callable[[End], int]) -> None:
        self._numbered = numbered
        self._rest: I32 = np.zeros(0, np.int32)

    def of(self, numbers: I32 | I64, ends: Sequence[End]) -> I32:
        """The number of the rest of the zone of each of ``numbers``, which are rows of ``ends``."""
        missing = len(ends) - len(self._rest)
        if missing > 0:
            self._rest = np.append(self._rest, np.full(2 * missing + 1024, -1, np.int32))
        found = self._rest.take(numbers)
        if (new := found < 0).any():
            for number in np.unique(numbers[new]).tolist():
                end = ends[number]
                rest = End(end.kind, "", "", OTHER, "", "", end.zone, end.region, "")
                self._rest[number] = self._numbered(rest)
            found = self._rest.take(numbers)
        return found

    def begin_anew(self) -> None:
        """Numbers that were given are no longer valid."""
        self._rest = np.zeros(0, np.int32)
