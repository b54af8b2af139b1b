"""kzn/history/upkeep: what there is to do, found without a look at all files."""

from typing import Any

from calls import calls_of
from hypothesis import given
from hypothesis import strategies as st

from kzn.history.retention import Keep, to_remove
from kzn.history.segments import DAY, FOLDERS, HOUR, Segment, arranged
from kzn.history.upkeep.catalog import Catalog
from kzn.history.upkeep.tasks import MAX_MERGED, MERGE_DELAY, oldest_hour, tasks_of

SERVER, OTHER = "0a0b0c0d", "0e0f0a0b"
KINDS_OF_DAYS = frozenset(("d", "nd"))
SEGMENTS = st.builds(
    lambda kind, hour, number, server: Segment(
        (hour - (hour % 24 if kind in KINDS_OF_DAYS else 0)) * HOUR, server, number, kind
    ),
    st.sampled_from(["m", "h", "r", "d", "nr", "nd"]),
    st.integers(0, 4 * 24),
    st.integers(1, 9),
    st.sampled_from([SERVER, OTHER]),
)


def seen(catalog: Catalog) -> Any:
    """Everything that a catalog says."""
    return (
        catalog.size(),
        catalog.oldest_hour(),
        [*catalog.tasks()],
        sorted(catalog.covered()),
        [catalog.first(level) for level in FOLDERS],
        [to_remove(catalog, Keep(2 * HOUR, 2 * DAY, 3 * DAY, size), 5 * DAY) for size in (30, 999)],
    )


@given(st.lists(st.tuples(st.booleans(), SEGMENTS), max_size=40))
def test_what_changes_is_seen_as_in_a_new_catalog(changes: list[tuple[bool, Segment]]) -> None:
    catalog, files = Catalog(), dict[Segment, int]()
    for number, (is_added, one) in enumerate(changes):
        if is_added or one not in files:
            files[one] = number
            catalog.add(one, number)
        else:
            del files[one]
            catalog.remove(one)
        if number % 3 == 0:
            seen(catalog)
    assert seen(catalog) == seen(Catalog(files))
    whole = arranged(files)
    assert catalog.size() == whole.size()
    assert catalog.oldest_hour() == oldest_hour(whole)
    assert set(catalog.tasks()) == {*tasks_of(whole)}
    assert sorted(catalog.covered()) == sorted(whole.covered)
    assert len(catalog) == len(files)


def test_a_minute_of_a_long_history_costs_as_much_as_one_of_a_young_one() -> None:
    def costs(days: int) -> int:
        keep = Keep(raw=days * DAY, hour=days * DAY, day=days * DAY, size=1 << 40)
        files = [Segment(hour * HOUR, SERVER, 1, kind) for hour in range(24 * days)
                 for kind in ("h", "r", "nr")]  # fmt: skip
        files += [
            Segment(day * DAY, SERVER, 1, kind) for day in range(days) for kind in ("d", "nd")
        ]
        catalog = Catalog(dict.fromkeys(files, 10))
        now = days * DAY
        assert to_remove(catalog, keep, now) == []

        def minute() -> None:
            catalog.add(Segment(now, SERVER, 2, "m"), 10)
            assert catalog.oldest_hour() == 0
            assert to_remove(catalog, keep, now + 60) == []
            assert [task for task in catalog.tasks() if task.after <= now] == []

        return calls_of(minute)

    assert costs(365) < 1.2 * costs(10)


def test_an_hour_is_merged_then_rolled_up_then_its_day() -> None:
    minutes = [Segment(0, SERVER, number, "m") for number in (1, 2)]
    (task,) = tasks_of(arranged(dict.fromkeys(minutes, 10)))
    assert (task.target, task.parts) == (Segment(0, SERVER, 2, "h"), tuple(minutes))
    assert task.after == HOUR + MERGE_DELAY
    found = arranged({task.target: 10})
    assert [one.target.kind for one in tasks_of(found)] == ["nr", "r"]
    found = arranged({task.target: 10, Segment(0, SERVER, 2, "r"): 10})
    assert [one.target.kind for one in tasks_of(found)] == ["nr", "d"]
    found = arranged(dict.fromkeys([*found.sizes, Segment(0, SERVER, 2, "nr")], 10))
    assert [(one.target.kind, one.after) for one in tasks_of(found)] == [
        ("d", DAY + HOUR),
        ("nd", DAY + HOUR),
    ]


def test_a_large_hour_is_only_rolled_up() -> None:
    minutes = {Segment(0, SERVER, number, "m"): MAX_MERGED // 2 + 1 for number in (1, 2)}
    assert [one.target.kind for one in tasks_of(arranged(minutes))] == ["nr", "r"]


def test_hours_of_two_servers_are_not_mixed() -> None:
    files = {Segment(0, server, 1, kind): 1 for server in (SERVER, OTHER) for kind in ("h", "r")}
    found = tasks_of(arranged(files | {Segment(0, OTHER, 1, "nr"): 1}))
    assert [(one.target.kind, one.target.server) for one in found] == [
        ("nr", SERVER),
        ("d", SERVER),
        ("d", OTHER),
        ("nd", OTHER),
    ]
