"""Which files of a history are removed: by age and by size, the finest first. Pure.

An hour's raw files are removed only when its rollup has all of them, and an hour's rollup only when
that of its day has it. What is removed early because of the size is what is oldest and finest.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from kzn.errors import UsageError
from kzn.history.segments import DAY, HOUR, LEVELS, Level, Listing, Segment

DEFAULT_KEEP = "raw=72h,hour=35d,day=400d"
DEFAULT_SIZE = 10 << 30
_UNITS = {"h": HOUR, "d": DAY}
_SIZES = {"": 1, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}
MIN_SIZE = 16 << 20


@dataclass(frozen=True, slots=True)
class Keep:
    """Seconds for which each level is kept, and bytes for all of them."""

    raw: int = 72 * HOUR
    hour: int = 35 * DAY
    day: int = 400 * DAY
    size: int = DEFAULT_SIZE

    def of(self, level: Level) -> int:
        """Seconds of a level."""
        return {"raw": self.raw, "hour": self.hour, "day": self.day}[level]


def parse_keep(text: str, size: int = DEFAULT_SIZE) -> Keep:
    """``raw=72h,hour=35d,day=400d``, each optional; UsageError with what is wrong."""
    kept: dict[str, int] = {}
    for part in text.split(","):
        level, _, duration = part.strip().partition("=")
        number, unit = duration[:-1], duration[-1:]
        if level not in LEVELS or level in kept:
            raise UsageError(
                f"--history-keep: {part!r} is not a level and a duration",
                hint="write raw=72h,hour=35d,day=400d",
            )
        if unit not in _UNITS or not (number.isascii() and number.isdigit()) or len(number) > 6:
            raise UsageError(
                f"--history-keep: {duration!r} is not a number of hours or days",
                hint="write 72h or 35d",
            )
        kept[level] = int(number) * _UNITS[unit]
    keep = Keep(**kept, size=size)
    if not 2 * HOUR <= keep.raw <= keep.hour <= keep.day:
        raise UsageError(
            f"--history-keep {text!r}: raw must be at least 2h, hour not less than raw, and day not"
            " less than hour"
        )
    if keep.hour < 2 * DAY:
        raise UsageError("--history-keep: hour must be at least 2d", hint="days are made of hours")
    return keep


def parse_size(text: str) -> int:
    """``10Gi`` or ``500Mi`` as bytes; UsageError for anything else or less than 16Mi."""
    number = text.rstrip("KMGTi")
    unit = text[len(number) :]
    if unit not in _SIZES or not (number.isascii() and number.isdigit()) or len(number) > 15:
        raise UsageError(f"--history-size: {text!r} is not a size", hint="write 500Mi or 10Gi")
    size = int(number) * _SIZES[unit]
    if size < MIN_SIZE:
        raise UsageError(f"--history-size: {text!r} is too small", hint="16Mi or more")
    return size


def to_remove(found: Listing, keep: Keep, now: float) -> list[Segment]:
    """The files to remove now."""
    removable = {level: list(_removable(found, level)) for level in LEVELS}
    removed = [
        one
        for level, segments in removable.items()
        for one in segments
        if one.end <= now - keep.of(level)
    ]
    gone = set(removed)
    size = found.size() - sum(found.sizes[one] for one in removed)
    for level in LEVELS:
        for one in removable[level]:
            if size <= keep.size:
                return removed
            if one not in gone:
                removed.append(one)
                size -= found.sizes[one]
    return removed


def oldest_hour(found: Listing) -> int:
    """The first hour whose raw data may still grow: later hours have all that was recorded."""
    raw = {(one.begin, one.server) for one in found.levels["raw"]}
    removed = [one.end for one in found.levels["hour"] if (one.begin, one.server) not in raw] + [
        one.end for one in found.levels["day"] if not _has_hours(found, one)
    ]
    return max(removed, default=0)


def _removable(found: Listing, level: Level) -> Iterator[Segment]:
    """The files of a level whose content a coarser level has, the oldest first."""
    segments = found.levels[level]
    if level == "day":
        yield from segments
        return
    coarser = found.levels["hour" if level == "raw" else "day"]
    span = HOUR if level == "raw" else DAY
    covers: Mapping[tuple[int, str], int] = {(one.begin, one.server): one.number for one in coarser}
    floor = oldest_hour(found)
    for one in segments:
        begin = one.begin - one.begin % span
        if level == "hour" and begin + DAY > max(floor, _first_raw(found)):
            continue  # a day is rolled up from its hours as long as one of them may grow
        if covers.get((begin, one.server), -1) >= one.number:
            yield one


def _first_raw(found: Listing) -> int:
    return min((one.begin for one in found.levels["raw"]), default=0)


def _has_hours(found: Listing, day: Segment) -> bool:
    return any(
        day.begin <= one.begin < day.end and one.server == day.server
        for one in (*found.levels["raw"], *found.levels["hour"])
    )
