"""The names of history files, and which files of a directory count.

A name has all that a reader needs: ``m1795651200-4f1d02aa-73.parquet`` is minute data of the hour
that begins at that Unix time, written by that server as its segment number 73. The merged file
``h1795651200-4f1d02aa-90.parquet`` has everything of this hour in segments up to number 90, so
those files count no more, whether they are still there or not. Rollups are named the same way.

So a merge is: write the merged file under a temporary name, sync, rename, then remove what it
covers. Killed at any point, the files that count add up to the same. The minutes of an hour are
removed newest first: where the rollup is newer than all that is left, they count no more.
"""

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Literal

MINUTE, HOUR, DAY = 60, 3600, 86_400

Level = Literal["raw", "hour", "day", "node_hour", "node_day"]
LEVELS: tuple[Level, ...] = ("raw", "hour", "day")
"""Minutes and the rollups of pairs of workloads, finest first."""
OF_NODES: dict[Level, Level] = {"raw": "raw", "hour": "node_hour", "day": "node_day"}
"""The rollups of nodes that are as fine, which are kept as long."""
FOLDERS: tuple[Level, ...] = (*LEVELS, "node_hour", "node_day")
KINDS: dict[str, Level] = {
    "m": "raw",
    "h": "raw",
    "r": "hour",
    "d": "day",
    "nr": "node_hour",
    "nd": "node_day",
}
"""First letters of names: segments of minutes, merged segments of an hour, rollups."""
TEMPORARY = ".tmp"
_NOT_THERE = (FileNotFoundError, NotADirectoryError, PermissionError)
_NAMES = 1 << 13
"""Names of files whose meaning is kept from one listing to the next."""

_NAME = re.compile(r"(m|h|r|d|nr|nd)([0-9]{1,12})-([0-9a-f]{8})-([0-9]{1,12})\.parquet")


@dataclass(frozen=True, slots=True, order=True)
class Segment:
    """A file: its span begins at ``begin`` (Unix seconds) and is an hour or a day long.

    It has all that ``server`` recorded for its span with segment numbers up to ``number``; a file
    of kind m has that number alone.
    """

    begin: int
    server: str
    number: int
    kind: str

    @property
    def level(self) -> Level:
        """The folder."""
        return KINDS[self.kind]

    @property
    def end(self) -> int:
        """The end of the span, exclusive."""
        return self.begin + (DAY if self.kind in {"d", "nd"} else HOUR)

    @property
    def name(self) -> str:
        """The file's name."""
        return f"{self.kind}{self.begin}-{self.server}-{self.number}.parquet"

    def path(self, root: Path) -> Path:
        """Where it lies: in a folder of its day."""
        day = datetime.fromtimestamp(self.begin - self.begin % DAY, UTC).strftime("%Y-%m-%d")
        return root / self.level / day / self.name

    @staticmethod
    def of_name(name: str) -> "Segment | None":
        """The segment of a file's name; None for any other file."""
        return _of_name(name)


@dataclass(frozen=True, slots=True)
class Listing:
    """Files of a history: those that count, by level, and those that a merge left behind."""

    levels: dict[Level, list[Segment]]
    covered: list[Segment]
    temporary: list[Path]
    sizes: Mapping[Segment, int]

    def size(self) -> int:
        """Bytes of the files that count."""
        return sum(self.sizes.get(one, 0) for found in self.levels.values() for one in found)


def listing(root: Path, *, has_sizes: bool = True) -> Listing:
    """The files below ``root``; files with other names are ignored.

    Without ``has_sizes`` all sizes are 0: a history of a year has 2,500 files, and each question
    needs their names alone.
    """
    temporary: list[Path] = []
    sizes: dict[Segment, int] = {}
    for level in FOLDERS:
        for file in _files(root / level):
            if file.name.endswith(TEMPORARY):
                temporary.append(Path(file.path))
                continue
            segment = _of_name(file.name)
            if segment is None or segment.level != level:
                continue
            try:
                sizes[segment] = file.stat().st_size if has_sizes else 0
            except FileNotFoundError:  # merged away since it was listed
                continue
    return arranged(sizes, temporary)


def _files(folder: Path) -> Iterator["os.DirEntry[str]"]:
    """What is in the folders below ``folder``, some of which may be removed meanwhile."""
    with suppress(*_NOT_THERE), os.scandir(folder) as days:
        for day in days:
            if day.is_dir():
                with suppress(*_NOT_THERE), os.scandir(day.path) as files:
                    yield from files


@lru_cache(_NAMES)
def _of_name(name: str) -> Segment | None:
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    kind, begin, server, number = found.groups()
    return Segment(int(begin), server, int(number), kind)


def arranged(sizes: Mapping[Segment, int], temporary: Iterable[Path] = ()) -> Listing:
    """The listing of segments with their sizes in bytes."""
    counting, covered = _counting(sizes)
    counting, left = _without_removed_hours(counting)
    covered += left
    levels: dict[Level, list[Segment]] = {level: [] for level in FOLDERS}
    for segment in sorted(counting):
        levels[segment.level].append(segment)
    return Listing(levels, covered, list(temporary), sizes)


def _without_removed_hours(counting: list[Segment]) -> tuple[list[Segment], list[Segment]]:
    """Without the minutes of hours whose removal was not finished, and these.

    The minutes of an hour are removed newest first, so what is left has not all that its rollup
    has: to read it, or to roll it up again with a late minute, would lose the rest.
    """
    newest: dict[tuple[int, str], int] = {}
    rolled: dict[tuple[int, str], int] = {}
    for one in counting:
        if one.level in {"raw", "hour"}:
            of = newest if one.level == "raw" else rolled
            key = (one.begin, one.server)
            of[key] = max(of.get(key, -1), one.number)
    removed = {key for key, number in newest.items() if number < rolled.get(key, -1)}
    if not removed:
        return counting, []
    is_left = [one.level == "raw" and (one.begin, one.server) in removed for one in counting]
    return (
        [one for one, left in zip(counting, is_left, strict=True) if not left],
        [one for one, left in zip(counting, is_left, strict=True) if left],
    )


def _counting(found: Iterable[Segment]) -> tuple[list[Segment], list[Segment]]:
    """The segments that count, and those that a merged one of the same level and span covers."""
    groups: defaultdict[tuple[Level, int, str], list[Segment]] = defaultdict(list)
    for segment in found:
        groups[segment.level, segment.begin, segment.server].append(segment)
    counting: list[Segment] = []
    covered: list[Segment] = []
    for group in groups.values():
        merged = [one for one in group if one.kind != "m"]
        last = max(merged, key=lambda one: one.number, default=None)
        for one in group:
            counts = one is last or (one.kind == "m" and (last is None or one.number > last.number))
            (counting if counts else covered).append(one)
    return counting, covered
