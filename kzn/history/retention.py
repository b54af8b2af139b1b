"""Which files of a history are removed: by age and by size, the finest first. Pure.

An hour's raw files are removed only when its rollup has all of them, and an hour's rollup only when
that of its day has it. What is removed early because of the size is what is oldest and finest.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from kzn.errors import UsageError
from kzn.history.segments import DAY, FOLDERS, HOUR, LEVELS, Level, Listing, Segment
from kzn.history.upkeep.catalog import Catalog

DEFAULT_KEEP = "raw=72h,hour=35d,day=400d"
DEFAULT_SIZE = 10 << 30
_UNITS = {"h": HOUR, "d": DAY}
_SIZES = {"": 1, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}
MIN_SIZE = 16 << 20
_COARSER: dict[Level, tuple[Level, ...]] = {
    "raw": ("hour", "node_hour"),
    "hour": ("day",),
    "node_hour": ("node_day",),
    "day": (),
    "node_day": (),
}
"""The rollups that must have all of a file before it may go."""
_FINEST_FIRST: tuple[Level, ...] = ("raw", "hour", "node_hour", "day", "node_day")


@dataclass(frozen=True, slots=True)
class Keep:
    """Seconds for which each level is kept, and bytes for all of them."""

    raw: int = 72 * HOUR
    hour: int = 35 * DAY
    day: int = 400 * DAY
    size: int = DEFAULT_SIZE

    def of(self, level: Level) -> int:
        """Seconds of a level."""
        if level == "raw":
            return self.raw
        return self.hour if level in {"hour", "node_hour"} else self.day


def parse_keep(text: str, size: int = DEFAULT_SIZE, option: str = "--history-keep") -> Keep:
    """``raw=72h,hour=35d,day=400d``, each optional; UsageError with what is wrong."""
    kept: dict[str, int] = {}
    for part in text.split(","):
        level, _, duration = part.strip().partition("=")
        number, unit = duration[:-1], duration[-1:]
        if level not in LEVELS or level in kept:
            raise UsageError(
                f"{option}: {part!r} is not a level and a duration",
                hint="write raw=72h,hour=35d,day=400d",
            )
        if unit not in _UNITS or not (number.isascii() and number.isdigit()) or len(number) > 6:
            raise UsageError(
                f"{option}: {duration!r} is not a number of hours or days",
                hint="write 72h or 35d",
            )
        kept[level] = int(number) * _UNITS[unit]
    keep = Keep(**kept, size=size)
    if not 2 * HOUR <= keep.raw <= keep.hour <= keep.day:
        raise UsageError(
            f"{option} {text!r}: raw must be at least 2h, hour not less than raw, and day not"
            " less than hour"
        )
    if keep.hour < 2 * DAY:
        raise UsageError(f"{option}: hour must be at least 2d", hint="days are made of hours")
    return keep


def parse_size(text: str, option: str = "--history-size") -> int:
    """``10Gi`` or ``500Mi`` as bytes; UsageError for anything else or less than 16Mi."""
    number = text.rstrip("KMGTi")
    unit = text[len(number) :]
    if unit not in _SIZES or not (number.isascii() and number.isdigit()) or len(number) > 15:
        raise UsageError(f"{option}: {text!r} is not a size", hint="write 500Mi or 10Gi")
    size = int(number) * _SIZES[unit]
    if size < MIN_SIZE:
        raise UsageError(f"{option}: {text!r} is too small", hint="16Mi or more")
    return size


def to_remove(found: Catalog, keep: Keep, now: float) -> list[Segment]:
    """The files to remove now. It looks at the days of which something may be removed, only."""
    removed = [
        one
        for level in FOLDERS
        for one in _removable(found, level, until=now - keep.of(level))
        if one.end <= now - keep.of(level)
    ]
    gone = set(removed)
    size = found.size() - sum(map(found.size_of, removed))
    for level in _FINEST_FIRST:
        if size <= keep.size:
            break
        # The minutes of an hour go together: of a part of them no rollup can be made again.
        for _, files in groupby(_removable(found, level, is_full=True), key=_span):
            if size <= keep.size:
                break
            for one in files:
                if one not in gone:
                    removed.append(one)
                    size -= found.size_of(one)
    return _newest_first(removed)


def _span(one: Segment) -> tuple[int, str]:
    return one.begin, one.server


def _newest_first(removed: list[Segment]) -> list[Segment]:
    """By span; segments.py says why the newest file of a span goes first."""
    return sorted(removed, key=lambda one: (one.begin, one.server, -one.number))


def _removable(
    found: Catalog, level: Level, *, until: float = math.inf, is_full: bool = False
) -> Iterator[Segment]:
    """The files of a level that coarser levels have, of days that begin before ``until``."""
    floor = max(found.oldest_hour(), found.first("raw"))
    for day in found.days(level):
        begin = day.levels[level][0].begin // DAY * DAY
        if begin >= until:
            return
        if level in {"hour", "node_hour"} and begin + DAY > floor:
            return  # a day is rolled up from its hours as long as one of them may grow
        yield from _removable_of_day(day, level, is_full=is_full)


def _removable_of_day(found: Listing, level: Level, *, is_full: bool) -> Iterator[Segment]:
    """The files of a day whose content coarser levels have, the oldest first.

    Where there is no room, minutes do not wait for rollups of nodes, which histories of before
    lack: else those of pairs would go first.
    """
    segments = found.levels[level]
    coarser = [
        {_span(one): one.number for one in found.levels[name]}
        for name in _COARSER[level][: 1 if is_full else None]
    ]
    span = HOUR if level == "raw" else DAY
    # Of a day with hours that have no rollup of nodes there is none of the day: they go with pairs.
    ended = {_span(one) for one in found.levels["day"]} - {
        (one.begin - one.begin % DAY, one.server) for one in found.levels["hour"]
    }
    newest: dict[tuple[int, str], int] = {}
    for one in segments:
        newest[_span(one)] = max(newest.get(_span(one), 0), one.number)
    for one in segments:
        begin = one.begin - one.begin % span
        number = newest[_span(one)]
        has_ended = level == "node_hour" and (begin, one.server) in ended
        if has_ended or all(covers.get((begin, one.server), -1) >= number for covers in coarser):
            yield one
