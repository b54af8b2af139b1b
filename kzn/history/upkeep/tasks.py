"""What is to be merged and rolled up of the files of a day. Pure.

In: a listing of one day. Out: tasks, each with all files that it needs in place, for every server
whose segments there are: the one that has the directory does what others left.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from kzn.history.segments import DAY, HOUR, KINDS, Level, Listing, Segment

MERGE_DELAY = 150
"""Seconds after the end of an hour for which late minutes are awaited before it is merged."""
MAX_MERGED = 32 << 20
"""Bytes of the files of an hour up to which they are merged: larger ones are as good as one."""
_Span = tuple[int, str]
"""When it begins, and the server that recorded it."""


@dataclass(frozen=True, slots=True)
class Task:
    """``target`` is to be made of ``parts``, from the Unix time ``after`` on."""

    target: Segment
    parts: tuple[Segment, ...]
    after: int


def tasks_of(found: Listing) -> list[Task]:
    """The tasks of a day's listing, hours before the days that are made of them."""
    return [*_of_hours(found), *_of_days(found, "d", "hour"), *_of_days(found, "nd", "node_hour")]


def oldest_hour(found: Listing) -> int:
    """The first hour whose raw data may still grow: later hours have all that was recorded."""
    raw = {_span(one) for one in found.levels["raw"]}
    hours = (*found.levels["raw"], *found.levels["hour"])
    with_hours = {_day(one) for one in hours}
    removed = [one.end for one in found.levels["hour"] if _span(one) not in raw] + [
        one.end for one in found.levels["day"] if _span(one) not in with_hours
    ]
    return max(removed, default=0)


def _span(one: Segment) -> _Span:
    return one.begin, one.server


def _day(one: Segment) -> _Span:
    return one.begin - one.begin % DAY, one.server


def _numbers(found: Listing, level: Level) -> dict[_Span, int]:
    return {_span(one): one.number for one in found.levels[level]}


def _of_hours(found: Listing) -> Iterator[Task]:
    hours: defaultdict[_Span, list[Segment]] = defaultdict(list)
    for one in found.levels["raw"]:
        hours[_span(one)].append(one)
    made = {kind: _numbers(found, KINDS[kind]) for kind in ("nr", "r")}
    for span, parts in sorted(hours.items()):
        number, after = max(one.number for one in parts), parts[0].end + MERGE_DELAY
        if len(parts) > 1 and sum(found.sizes[one] for one in parts) <= MAX_MERGED:
            yield Task(Segment(*span, number, "h"), tuple(parts), after)
            continue
        for kind, numbers in made.items():
            if numbers.get(span, -1) < number:
                yield Task(Segment(*span, number, kind), tuple(parts), after)


def _of_days(found: Listing, kind: str, of_hours: Level) -> Iterator[Task]:
    rolled = _numbers(found, of_hours)
    days: defaultdict[_Span, list[Segment]] = defaultdict(list)
    for one in found.levels[of_hours]:
        days[_day(one)].append(one)
    for one in (*found.levels["raw"], *found.levels["hour"]):
        if rolled.get(_span(one), -1) < one.number:
            days.pop(_day(one), None)  # it would be made without that hour
    made = _numbers(found, KINDS[kind])
    for span, parts in sorted(days.items()):
        number = max(one.number for one in parts)
        if made.get(span, -1) < number:
            yield Task(Segment(*span, number, kind), tuple(parts), span[0] + DAY + HOUR)
