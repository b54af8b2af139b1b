"""kzn/reports/extent.py: what a history has, in whole minutes."""

from dataclasses import replace

import pytest
from asking import asking
from questions import T0

from kzn.history.query import TrafficQuery
from kzn.reports.extent import extent, hint_of_period, hint_of_windows


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        (None, None, None),
        (T0, None, None),
        (T0, T0 + 59, None),
        (T0 + 1, T0 + 119, None),
        (T0 + 1, T0 + 185, (T0 + 60, T0 + 180)),
    ],
)
def test_only_whole_minutes_are_offered(
    first: int | None, last: int | None, expected: tuple[int, int] | None
) -> None:
    answer = asking([], T0)(TrafficQuery(T0, T0 + 60))
    answer = replace(answer, complete_from=first, complete_to=last)
    assert extent(answer) == expected
    if expected is None:
        assert hint_of_windows(answer) == hint_of_period(answer)
        assert "when it is over" in hint_of_period(answer)


def test_a_single_minute_cannot_be_compared() -> None:
    answer = replace(asking([], T0)(TrafficQuery(T0, T0 + 60)), complete_from=T0)
    assert "two windows need two minutes" in hint_of_windows(replace(answer, complete_to=T0 + 60))
    found = hint_of_windows(replace(answer, complete_to=T0 + 120))
    assert found.endswith(
        "--before 2026-11-26T00:00:00Z..2026-11-26T00:01:00Z"
        " --after 2026-11-26T00:01:00Z..2026-11-26T00:02:00Z"
    )
