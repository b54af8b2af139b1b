"""Months, years and what came before them."""

import datetime as dt

import pytest

from kzn.errors import UsageError
from kzn.reports.period import Period, before, month, month_of, year


def at(text: str) -> int:
    return int(dt.datetime.fromisoformat(f"{text}T00:00:00+00:00").timestamp())


@pytest.mark.parametrize(
    ("found", "begin", "end", "previous"),
    [
        (month("2026-11"), "2026-11-01", "2026-12-01", "2026-10"),
        (month("2026-12"), "2026-12-01", "2027-01-01", "2026-11"),
        (month("2027-01"), "2027-01-01", "2027-02-01", "2026-12"),
        (month("2028-02"), "2028-02-01", "2028-03-01", "2028-01"),
        (month("2100-02"), "2100-02-01", "2100-03-01", "2100-01"),  # no leap year
        (month("2026-03"), "2026-03-01", "2026-04-01", "2026-02"),  # clocks change in it
        (month("2000-01"), "2000-01-01", "2000-02-01", "1999-12"),
        (year("2026"), "2026-01-01", "2027-01-01", "2025"),
        (year("2000"), "2000-01-01", "2001-01-01", "1999"),
        (month_of(at("2026-11-30") + 86_399.9), "2026-11-01", "2026-12-01", "2026-10"),
    ],
)
def test_a_period_begins_and_ends_at_midnight_in_utc(
    found: Period, begin: str, end: str, previous: str
) -> None:
    assert (found.begin, found.end) == (at(begin), at(end))
    assert before(found).name == previous
    assert before(found).end == found.begin


def test_before_another_span_is_as_long_a_one() -> None:
    assert before(Period("the last 7d", 1000, 1600)) == Period("the span before", 400, 1000)


@pytest.mark.parametrize(
    "text",
    [
        "2026",
        "2026-13",
        "2026-00",
        "1969-12",
        "9999-12",
        "November",
        "",
        "26-11",
        "\u0662\u0660\u0662\u0666-\u0661\u0661",
    ],
)
def test_what_is_not_a_month_is_named(text: str) -> None:
    with pytest.raises(UsageError, match="is not a month"):
        month(text)


@pytest.mark.parametrize("text", ["26", "1969", "9999", "2026-11", "", "\u0662\u0660\u0662\u0666"])
def test_what_is_not_a_year_is_named(text: str) -> None:
    with pytest.raises(UsageError, match="is not a year"):
        year(text)
