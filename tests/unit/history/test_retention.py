"""What is removed from a history: by age, by size, and never what no rollup has."""

import pytest

from kzn.errors import UsageError
from kzn.history.retention import Keep, oldest_hour, parse_keep, parse_size, to_remove
from kzn.history.segments import DAY, HOUR, Listing, Segment, arranged

SERVER = "0a0b0c0d"


def segment(kind: str, hour: int, number: int = 1) -> Segment:
    return Segment(hour * HOUR, SERVER, number, kind)


def history(*, raw: range, hours: range, days: range, size: int = 10) -> Listing:
    files = [
        *(segment("h", hour) for hour in raw),
        *(segment("r", hour) for hour in hours),
        *(segment("d", 24 * day) for day in days),
    ]
    return arranged(dict.fromkeys(files, size))


def removed(found: Listing, keep: Keep, hour: int) -> dict[str, list[int]]:
    gone: dict[str, list[int]] = {}
    for one in to_remove(found, keep, hour * HOUR):
        gone.setdefault(one.kind, []).append(one.begin // HOUR)
    return gone


def test_each_level_ends_at_its_age() -> None:
    found = history(raw=range(100, 240), hours=range(240), days=range(10))
    keep = Keep(raw=72 * HOUR, hour=5 * DAY, day=9 * DAY)
    assert removed(found, keep, 240) == {
        "h": [*range(100, 168)],
        "r": [*range(96)],  # whole days without raw data alone, so that a day can be made again
        "d": [0],
    }


def test_nothing_is_removed_that_no_rollup_has() -> None:
    files = [segment("h", 1, 5), segment("h", 2, 5), segment("r", 1, 4), segment("m", 3)]
    assert removed(arranged(dict.fromkeys(files, 1)), Keep(), 10_000) == {}


def test_when_it_is_too_large_minutes_go_first_then_hours_then_days() -> None:
    found = history(raw=range(48, 72), hours=range(72), days=range(3))  # 24 + 72 + 3 files of 10
    keep = Keep(size=900)
    assert removed(found, keep, 80) == {"h": [*range(48, 57)]}
    keep = Keep(size=500)
    assert removed(found, keep, 80) == {"h": [*range(48, 72)], "r": [*range(25)]}
    assert sorted(removed(found, Keep(size=20), 80)) == ["d", "h", "r"]


def test_an_hour_whose_minutes_were_removed_takes_no_late_ones() -> None:
    found = history(raw=range(50, 60), hours=range(60), days=range(2))
    assert oldest_hour(found) == 50 * HOUR
    assert oldest_hour(history(raw=range(5), hours=range(5), days=range(0))) == 0


def test_durations_and_sizes() -> None:
    assert parse_keep("raw=3d") == Keep()
    assert parse_keep("raw=24h,hour=10d,day=30d", 1 << 30) == Keep(
        24 * HOUR, 10 * DAY, 30 * DAY, 1 << 30
    )
    assert parse_size("500Mi") == 500 << 20


@pytest.mark.parametrize(
    "text",
    ["", "raw", "raw=", "raw=5", "raw=5m", "week=3d", "raw=1h", "raw=5d,hour=4d", "hour=500d",
     "raw=2h,raw=3h", "raw=-1h", "raw=2h,hour=1d"],
)  # fmt: skip
def test_what_is_not_a_retention_is_named(text: str) -> None:
    with pytest.raises(UsageError, match="history-keep"):
        parse_keep(text)


@pytest.mark.parametrize("text", ["", "x", "10", "1Ki", "-5Gi", "5G", "5 Gi", "1e3Mi"])
def test_what_is_not_a_size_is_named(text: str) -> None:
    with pytest.raises(UsageError, match="history-size"):
        parse_size(text)
