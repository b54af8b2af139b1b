"""The files of a history by day, so that looking after them costs what there is to do.

In: segments as they are made and removed. Out: listings of days, what is to be made, sizes. Only
days whose files have changed are looked at again. Never: the file system.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from kzn.history.segments import DAY, FOLDERS, Level, Listing, Segment, arranged
from kzn.history.upkeep.tasks import Task, oldest_hour, tasks_of

_NOTHING = arranged({})


@dataclass(frozen=True, slots=True)
class _Day:
    found: Listing
    tasks: tuple[Task, ...]
    size: int
    closed: int


class Catalog:
    """Segments with the sizes of their files in bytes."""

    def __init__(self, sizes: Mapping[Segment, int] | None = None) -> None:
        self._sizes: dict[int, dict[Segment, int]] = {}
        self._days: dict[int, _Day] = {}
        self._changed: set[int] = set()
        self._size = 0
        self._with: dict[Level, list[int]] = {level: [] for level in FOLDERS}
        """Days with files of a level that count, ascending; so are the next three."""
        self._with_tasks: list[int] = []
        self._with_closed: list[int] = []
        self._with_covered: list[int] = []
        for one, size in (sizes or {}).items():
            self.add(one, size)

    def __len__(self) -> int:
        """How many files there are."""
        return sum(map(len, self._sizes.values()))

    def add(self, one: Segment, size: int) -> None:
        """A file that is there now."""
        day = one.begin // DAY * DAY
        self._sizes.setdefault(day, {})[one] = size
        self._changed.add(day)

    def remove(self, one: Segment) -> None:
        """A file that is no longer there, or does not count any more."""
        day = one.begin // DAY * DAY
        if self._sizes.get(day, {}).pop(one, None) is not None:
            self._changed.add(day)

    def size(self) -> int:
        """Bytes of the files that count."""
        self._refresh()
        return self._size

    def size_of(self, one: Segment) -> int:
        """Bytes of a file, 0 of one that is not there."""
        return self._sizes.get(one.begin // DAY * DAY, {}).get(one, 0)

    def oldest_hour(self) -> int:
        """The first hour whose raw data may still grow: later hours have all that was recorded."""
        self._refresh()
        return self._days[self._with_closed[-1]].closed if self._with_closed else 0

    def first(self, level: Level) -> int:
        """When the first file of a level begins, 0 without any."""
        for found in self.days(level):
            return found.levels[level][0].begin
        return 0

    def days(self, level: Level) -> Iterator[Listing]:
        """The days that have files of a level that count, the oldest first."""
        self._refresh()
        for day in self._with[level]:
            yield self._days[day].found

    def tasks(self) -> Iterator[Task]:
        """What is to be made, the oldest first."""
        self._refresh()
        for day in tuple(self._with_tasks):
            yield from self._days[day].tasks

    def covered(self) -> list[Segment]:
        """Files that a merge left behind."""
        self._refresh()
        return [one for day in self._with_covered for one in self._days[day].found.covered]

    def _refresh(self) -> None:
        for day in self._changed:
            before = self._days.pop(day, None)
            sizes = self._sizes.get(day)
            if not sizes:
                self._sizes.pop(day, None)
            found = arranged(sizes) if sizes else _NOTHING
            now = _Day(found, tuple(tasks_of(found)), found.size(), oldest_hour(found))
            if sizes:
                self._days[day] = now
            self._size += now.size - (before.size if before is not None else 0)
            for level in FOLDERS:
                _keep(self._with[level], day, is_in=bool(found.levels[level]))
            _keep(self._with_tasks, day, is_in=bool(now.tasks))
            _keep(self._with_closed, day, is_in=bool(now.closed))
            _keep(self._with_covered, day, is_in=bool(found.covered))
        self._changed.clear()


def _keep(days: list[int], day: int, *, is_in: bool) -> None:
    at = bisect_left(days, day)
    was_in = at < len(days) and days[at] == day
    if is_in and not was_in:
        insort(days, day)
    elif was_in and not is_in:
        del days[at]
