"""Spans of which there are rollups of pairs and none of nodes. Pure.

An older version that served in between, a damaged file or a disk that was full leave them.
"""

from collections.abc import Iterator

from kzn.history.query import Source, TrafficQuery
from kzn.history.segments import DAY, HOUR, Level, Listing

_Key = tuple[int, str]
"""When a span begins, and the server that recorded it."""


def node_holes(found: Listing, query: TrafficQuery, source: Source) -> tuple[tuple[int, int], ...]:
    """The spans of an aligned query that minutes and rollups of nodes lack, in order."""
    spans = {*_hours(found, with_days=source == "days")}
    if source == "days":
        spans |= {*_days(found)}
    joined: list[tuple[int, int]] = []
    for first, last in sorted(spans):
        begin, end = max(first, query.first), min(last, query.end)
        if begin >= end:
            continue
        if joined and begin <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((begin, end))
    return tuple(joined)


def _numbers(found: Listing, level: Level) -> dict[_Key, int]:
    return {(one.begin, one.server): one.number for one in found.levels[level]}


def _day(key: _Key) -> _Key:
    return key[0] - key[0] % DAY, key[1]


def _hours(found: Listing, *, with_days: bool) -> Iterator[tuple[int, int]]:
    """Hours whose rollup of nodes is not there, or is older than that of pairs."""
    raw, had = _numbers(found, "raw"), _numbers(found, "node_hour")
    days = _numbers(found, "node_day") if with_days else {}
    for key, number in _numbers(found, "hour").items():
        if key not in raw and max(had.get(key, -1), days.get(_day(key), -1)) < number:
            yield key[0], key[0] + HOUR


def _days(found: Listing) -> Iterator[tuple[int, int]]:
    """Such days whose hours are gone; of others the hours tell."""
    with_hours = {_day(key) for key in _numbers(found, "hour")}
    had = _numbers(found, "node_day")
    for key, number in _numbers(found, "day").items():
        if key not in with_hours and had.get(key, -1) < number:
            yield key[0], key[0] + DAY
