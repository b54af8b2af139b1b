"""Rows of hours that are not merged yet, so that a merge need not read what was just written.

In: the rows of segments, as they are written. Out: all rows of an hour, or their sums, if they are
all here. Never: more than `MAX_ROWS` rows and sums: what is more is read from its files again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from kzn.history.segments import Segment
from kzn.history.writing.end_names import EndNames
from kzn.history.writing.rollups import Sums, joined, sums_of

Rows = npt.NDArray[np.void]
MAX_ROWS = 3_000_000
"""120 MB; a group of a sum counts as a row."""
MAX_OF_HOUR = 1_000_000
"""Rows of one hour; of a larger one, whose files are not merged, only the sums are held."""


@dataclass(slots=True)
class _Hour:
    files: set[Segment] = field(default_factory=set)
    rows: list[Rows] | None = field(default_factory=list)
    """None in an hour of which only the sums are held."""
    sums: list[Sums] = field(default_factory=list)
    """The first has those of all before the others."""

    def __len__(self) -> int:
        return sum(map(len, self.rows or ())) + sum(map(len, self.sums))


class HeldHours:
    """Rows by the begin of their hour; all of them are forgotten when the names of ends change."""

    def __init__(self) -> None:
        self._hours: dict[int, _Hour] = {}

    def add(self, segment: Segment, rows: Rows, names: EndNames) -> None:
        """The rows of a segment that is durable, whose ends have these names."""
        hour = self._hours.setdefault(segment.begin, _Hour())
        hour.files.add(segment)
        if hour.rows is not None:
            hour.rows.append(rows)
            if sum(map(len, hour.rows)) <= MAX_OF_HOUR:
                self._limit()
                return
            rows, hour.rows = np.concatenate(hour.rows), None
        hour.sums.append(sums_of(rows, names))
        # In proportion to what is joined already: sorting it again costs as much.
        if sum(map(len, hour.sums[1:])) >= len(hour.sums[0]):
            hour.sums = [joined(hour.sums, names)]
        self._limit()

    def rows_of(self, files: Sequence[Segment]) -> Rows | None:
        """The rows of these files of one hour, None if they are not just those that are here."""
        hour = self._hour_of(files)
        if hour is None or hour.rows is None:
            return None
        return np.concatenate(hour.rows)

    def sums_of(self, files: Sequence[Segment], names: EndNames) -> Sums | None:
        """Their sums; None as for `rows_of`."""
        hour = self._hour_of(files)
        if hour is None:
            return None
        if not hour.sums:
            return sums_of(np.concatenate(hour.rows or []), names)
        hour.sums = [joined(hour.sums, names)]
        return hour.sums[0]

    def merged(self, into: Segment, files: Sequence[Segment]) -> None:
        """``into`` has now what ``files`` had."""
        hour = self._hour_of(files)
        if hour is not None:
            hour.files = {into}
        else:
            self.forget(into.begin)

    def forget(self, begin: int) -> None:
        """Forget an hour."""
        self._hours.pop(begin, None)

    def clear(self) -> None:
        """Forget all rows."""
        self._hours.clear()

    def _hour_of(self, files: Sequence[Segment]) -> _Hour | None:
        hour = self._hours.get(files[0].begin)
        return hour if hour is not None and hour.files == set(files) else None

    def _limit(self) -> None:
        while sum(map(len, self._hours.values())) > MAX_ROWS:
            self.forget(max(self._hours, key=lambda begin: len(self._hours[begin])))
