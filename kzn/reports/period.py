"""Calendar months, years and other spans of a report, in UTC. Pure."""

import datetime as dt
import re
from dataclasses import dataclass

from kzn.errors import UsageError

_MONTH = re.compile(r"([0-9]{4})-([0-9]{2})")
_YEAR = re.compile(r"[0-9]{4}")
FIRST_YEAR, LAST_YEAR = 2000, 9998


@dataclass(frozen=True, slots=True)
class Period:
    """``name`` as it is written, and the span from ``begin`` to ``end`` in Unix seconds."""

    name: str
    begin: int
    end: int

    @property
    def seconds(self) -> int:
        """Its length."""
        return self.end - self.begin


def month(text: str) -> Period:
    """``2026-11``; UsageError."""
    found = _MONTH.fullmatch(text)
    if found is None or not 1 <= int(found[2]) <= 12 or not _is_year(int(found[1])):
        raise UsageError(f"{text[:40]!r} is not a month", hint="write YYYY-MM")
    return _month(int(found[1]), int(found[2]))


def year(text: str) -> Period:
    """``2026``; UsageError."""
    if _YEAR.fullmatch(text) is None or not _is_year(int(text)):
        raise UsageError(f"{text[:40]!r} is not a year", hint="write YYYY")
    return _year(int(text))


def month_of(now: float) -> Period:
    """The month that has this time."""
    today = dt.datetime.fromtimestamp(now, dt.UTC)
    return _month(today.year, today.month)


def before(period: Period) -> Period:
    """The month before a month, the year before a year, else the span of the same length before."""
    first = dt.datetime.fromtimestamp(period.begin, dt.UTC)
    if _MONTH.fullmatch(period.name):
        return _month(*_shift(first.year, first.month, -1))
    if _YEAR.fullmatch(period.name):
        return _year(first.year - 1)
    return Period("the span before", period.begin - period.seconds, period.begin)


def _is_year(number: int) -> bool:
    """Whether the year, and the one that follows, can be reckoned with."""
    return FIRST_YEAR <= number <= LAST_YEAR


def _year(number: int) -> Period:
    return Period(f"{number:04}", _begin(number, 1), _begin(number + 1, 1))


def _month(year: int, number: int) -> Period:
    return Period(f"{year:04}-{number:02}", _begin(year, number), _begin(*_shift(year, number, 1)))


def _shift(year: int, number: int, by: int) -> tuple[int, int]:
    months = year * 12 + number - 1 + by
    return months // 12, months % 12 + 1


def _begin(year: int, number: int) -> int:
    return int(dt.datetime(year, number, 1, tzinfo=dt.UTC).timestamp())
