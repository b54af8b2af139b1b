"""What is removed from a history: by age, by size, and never what no rollup has."""

import pytest

from kzn.errors import UsageError
from kzn.history.retention import Keep, parse_keep, parse_size, to_remove
from kzn.history.segments import DAY, HOUR, Segment
from kzn.history.upkeep.catalog import Catalog

SERVER = "0a0b0c0d"


def segment(kind: str, hour: int, number: int = 1) -> Segment:
    return Segment(hour * HOUR, SERVER, number, kind)


def history(*, raw: range, hours: range, days: range, size: int = 10) -> Catalog:
    files = [
        *(segment("h", hour) for hour in raw),
        *(segment(kind, hour) for hour in hours for kind in ("r", "nr")),
        *(segment(kind, 24 * day) for day in days for kind in ("d", "nd")),
    ]
    return Catalog(dict.fromkeys(files, size))


def removed(found: Catalog, keep: Keep, hour: int) -> dict[str, list[int]]:
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
        "nr": [*range(96)],
        "d": [0],
        "nd": [0],
    }


def test_nothing_is_removed_that_no_rollup_has() -> None:
    files = [segment("h", 1, 5), segment("h", 2, 5), segment("m", 3)]
    files += [segment("r", 1, 4), segment("nr", 1, 4), segment("r", 2, 5)]
    assert removed(Catalog(dict.fromkeys(files, 1)), Keep(), 10_000) == {}
    files.append(segment("nr", 2, 5))
    assert removed(Catalog(dict.fromkeys(files, 1)), Keep(), 10_000) == {"h": [2]}


def test_minutes_of_an_older_version_go_before_its_hours_where_there_is_no_room() -> None:
    files = [segment(kind, hour) for kind in ("h", "r") for hour in range(48)]
    files += [segment("d", 0), segment("d", 24)]
    found = Catalog(dict.fromkeys(files, 10))
    assert removed(found, Keep(size=900), 60) == {"h": [*range(8)]}


def test_when_it_is_too_large_minutes_go_first_then_hours_then_days() -> None:
    found = history(raw=range(48, 72), hours=range(72), days=range(3))  # 24 + 144 + 6 files of 10
    keep = Keep(size=1650)
    assert removed(found, keep, 80) == {"h": [*range(48, 57)]}
    keep = Keep(size=1250)
    assert removed(found, keep, 80) == {"h": [*range(48, 72)], "r": [*range(25)]}
    keep = Keep(size=700)
    assert removed(found, keep, 80)["nr"] == [*range(32)]
    assert sorted(removed(found, Keep(size=20), 80)) == ["d", "h", "nd", "nr", "r"]


def test_the_minutes_of_an_hour_go_together_and_the_newest_first() -> None:
    """A part of them would be rolled up in place of all by the next late minute."""
    files = [segment("m", 1, number) for number in range(1, 6)] + [segment("h", 2, 9)]
    files += [segment(kind, hour, 9) for hour in (1, 2) for kind in ("r", "nr")]
    files[5:5] = [segment("m", 1, 9)]
    found = Catalog(dict.fromkeys(files, 10))
    gone = to_remove(found, Keep(size=len(files) * 10 - 5), 10 * HOUR)
    assert [(one.kind, one.number) for one in gone] == [("m", n) for n in (9, 5, 4, 3, 2, 1)]
    for left in range(6):  # a kill between two of them
        found = Catalog(dict.fromkeys([one for one in files if one not in gone[: left + 1]], 10))
        (day,) = found.days("raw")
        assert [one.begin for one in day.levels["raw"]] == [2 * HOUR]
        assert len(found.covered()) == 5 - left
        assert found.oldest_hour() == 2 * HOUR  # and no late minute begins it anew


def test_an_hour_with_a_late_minute_is_kept_until_it_is_rolled_up() -> None:
    files = [segment("h", 1, 5), segment("m", 1, 7), segment("r", 1, 5), segment("nr", 1, 5)]
    found = Catalog(dict.fromkeys(files, 10))
    assert to_remove(found, Keep(size=1), 10_000 * HOUR) == []


def test_hours_of_nodes_without_a_day_go_with_those_of_pairs() -> None:
    files = [segment("nr", 3, 5), segment("d", 0, 5)]
    assert removed(Catalog(dict.fromkeys(files, 1)), Keep(), 24 * 36) == {"nr": [3]}
    files.append(segment("r", 3, 5))
    assert removed(Catalog(dict.fromkeys(files, 1)), Keep(), 24 * 35 + 1) == {}


def test_an_hour_whose_minutes_were_removed_takes_no_late_ones() -> None:
    found = history(raw=range(50, 60), hours=range(60), days=range(2))
    assert found.oldest_hour() == 50 * HOUR
    assert history(raw=range(5), hours=range(5), days=range(0)).oldest_hour() == 0


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
