"""Windows of a comparison: their defaults, and what cannot be compared."""

import pytest

from kzn.errors import UsageError
from kzn.reports.comparison.window import Window, windows

NOW = 1_796_000_000 // 60 * 60
DAY = 86_400


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (None, None, (Window(NOW - 8 * DAY, NOW - 7 * DAY), Window(NOW - DAY, NOW))),
        (None, "6h", (Window(NOW - 7 * DAY - 21_600, NOW - 7 * DAY), Window(NOW - 21_600, NOW))),
        (None, "10d", (Window(NOW - 24 * DAY, NOW - 14 * DAY), Window(NOW - 10 * DAY, NOW))),
        ("9d..7d", None, (Window(NOW - 9 * DAY, NOW - 7 * DAY), Window(NOW - 2 * DAY, NOW))),
        ("3h..1h", None, (Window(NOW - 10_800, NOW - 3600), Window(NOW - 3600, NOW))),
        ("7d..", None, (Window(NOW - 7 * DAY, NOW - 6 * DAY), Window(NOW - DAY, NOW))),
        ("7d", None, (Window(NOW - 7 * DAY, NOW - 6 * DAY), Window(NOW - DAY, NOW))),
        ("2d..", "2h", (Window(NOW - 2 * DAY, NOW - 2 * DAY + 7200), Window(NOW - 7200, NOW))),
        ("90m..", "1h", (Window(NOW - 5400, NOW - 3600), Window(NOW - 3600, NOW))),
        (
            f"{NOW - 7200}..{NOW - 3600}",
            "1h..",
            (Window(NOW - 7200, NOW - 3600), Window(NOW - 3600, NOW)),
        ),
        (
            "2w..1w",
            "2d..1d",
            (Window(NOW - 14 * DAY, NOW - 7 * DAY), Window(NOW - 2 * DAY, NOW - DAY)),
        ),
    ],
)
def test_windows_have_the_same_weekdays_unless_they_are_given(
    before: str | None, after: str | None, expected: tuple[Window, Window]
) -> None:
    assert windows(before, after, NOW + 31.5) == expected


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("1h..", "1h..", "overlap"),
        ("2h..30m", "1h..", "overlap"),
        ("1h..2h", None, "ends before it begins"),
        ("..1h", None, "has no begin"),
        ("yesterday", None, "not a time"),
        (None, "yesterday", "not a duration"),
        ("yesterday..", None, "not a time"),
        ("1h..", None, "overlap"),
        (f"1h..{NOW}", None, "nothing after"),
    ],
)
def test_what_cannot_be_compared_is_named(
    before: str | None, after: str | None, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        windows(before, after, float(NOW))
