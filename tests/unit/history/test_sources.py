"""From when on a source has data."""

import pytest

from kzn.history.segments import DAY, HOUR
from kzn.history.sources import first_minute

T0 = 20 * DAY
YOUNG = T0 + 5 * HOUR


@pytest.mark.parametrize(
    ("begin", "hour", "minute", "expected"),
    [
        (YOUNG, YOUNG, YOUNG + 60, YOUNG + 60),
        (T0, YOUNG, YOUNG + 60, YOUNG + 60),
        (T0, YOUNG, YOUNG + 9 * HOUR, YOUNG),  # minutes are kept for less long than a day
        (T0, T0 + 2 * DAY, T0 + 2 * DAY + 60, T0),
        (YOUNG, 0, YOUNG + 60, YOUNG + 60),
        (T0, 0, 0, T0),
    ],
)
def test_a_young_source_begins_with_its_first_minute(
    begin: int, hour: int, minute: int, expected: int
) -> None:
    assert first_minute(begin, hour, minute) == expected
