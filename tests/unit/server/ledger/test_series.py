"""A table of series is exact and bounded, and does not lose added bytes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kzn.server.ledger import series
from kzn.server.ledger.series import SeriesTable

ADDS = st.lists(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 2**50)), max_size=20), max_size=10
)


def add(table: SeriesTable, pairs: list[tuple[int, int]], now: float = 0.0) -> None:
    keys = np.array([key for key, _ in pairs], np.int64)
    table.add(keys, np.array([amount for _, amount in pairs], np.uint64), now)


def totals(table: SeriesTable) -> dict[int, int]:
    return dict(zip(table.keys.tolist(), table.bytes.tolist(), strict=True))


@pytest.mark.slow
@given(ADDS, st.integers(0, 31))
def test_series_and_other_sum_to_all_added_bytes(
    adds: list[list[tuple[int, int]]], limit: int
) -> None:
    table, truth, before = SeriesTable(limit), dict[int, int](), dict[int, int]()
    for pairs in adds:
        add(table, pairs)
        for key, amount in pairs:
            truth[key] = truth.get(key, 0) + amount
        now = totals(table)
        assert all(now[key] >= total for key, total in before.items())
        assert sum(now.values()) + table.other.bytes == sum(truth.values())
        before = now
    assert len(table) <= limit
    assert all(total == truth[key] for key, total in totals(table).items())


def test_a_dropped_series_is_retired_and_starts_again_at_zero() -> None:
    table = SeriesTable(10)
    add(table, [(1, 5), (2, 7), (3, 9)])
    table.drop(np.array([False, True, False]))
    add(table, [(2, 1), (3, 1)])
    assert totals(table) == {1: 5, 3: 10, 2: 1}
    assert (table.retired, table.other.bytes) == (7, 0)


def test_a_full_table_returns_the_rows_added_to_other() -> None:
    table = SeriesTable(1)
    add(table, [(1, 5)])
    limited = table.add(np.array([2, 1, 3]), np.array([10, 20, 30], np.uint64), 0.0)
    assert limited is not None
    assert limited.tolist() == [0, 2]
    assert table.other.bytes == 40


def test_each_series_has_the_time_of_its_last_addition() -> None:
    table = SeriesTable(10)
    add(table, [(1, 5), (2, 5)], now=1.0)
    add(table, [(2, 5)], now=2.0)
    assert table.touched.tolist() == [1.0, 2.0]


def test_series_that_end_leave_the_others_as_they_were() -> None:
    table = SeriesTable(100, holds=True)
    for key in range(50):
        add(table, [(key, key)], now=float(key))
    table.watch()
    table.drop(np.array([key % 3 == 0 for key in range(50)]))
    stay = [key for key in range(50) if key % 3]
    add(table, [(key, 100) for key in stay], now=50.0)
    assert totals(table) == {key: key + 100 for key in stay}
    assert table.retired == sum(key for key in range(50) if key % 3 == 0)
    table.expose(20.0)
    rows = zip(table.keys.tolist(), table.exposed.tolist(), strict=True)
    assert dict(rows) == {key: key < 20 for key in stay}
    assert sorted(table.ended().tolist()) == list(range(0, 50, 3))


def test_a_series_that_ended_and_came_back_is_exposed_by_its_second_begin() -> None:
    table = SeriesTable(10, holds=True)
    add(table, [(1, 5), (2, 5)], now=1.0)
    table.drop(np.array([True, False]))
    add(table, [(1, 7)], now=9.0)
    table.expose(5.0)
    assert dict(zip(table.keys.tolist(), table.exposed.tolist(), strict=True)) == {
        2: True,
        1: False,
    }
    table.expose(10.0)
    assert table.exposed.all()


def test_many_series_are_exposed_a_part_at_a_time() -> None:
    number = 50_000
    table = SeriesTable(number, holds=True)
    keys, ones = np.arange(number), np.ones(number, np.uint64)
    table.load(keys, ones, np.zeros(number, np.bool_), np.zeros(number), now=1.0)
    parts = []
    while not table.exposed.all():
        table.expose(2.0)
        parts.append(int(table.exposed.sum()))
    assert parts == [20_000, 40_000, 50_000]


def test_without_a_scrape_series_that_come_and_go_take_no_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(series, "_PENDING", 50)
    table = SeriesTable(100, holds=True)
    add(table, [(-1, 5)], now=0.0)
    for key in range(200):
        add(table, [(key, 1)], now=float(key))
        table.drop(table.keys == key)
    assert table.waiting <= 52
    add(table, [(7, 3)], now=300.0)
    table.expose(200.0)
    assert dict(zip(table.keys.tolist(), table.exposed.tolist(), strict=True)) == {
        -1: True,
        7: False,
    }
