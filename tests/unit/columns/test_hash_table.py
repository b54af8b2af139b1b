"""kzn/columns/hash_table.py: numbers of keys against those of a dict, with collisions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kzn.columns.arrays import I64, U64
from kzn.columns.hash_table import EMPTY, REMOVED, HashTable, KeyTable

KEYS = st.lists(st.integers(0, 2**63 - 1) | st.integers(0, 50), max_size=400)


@given(st.lists(KEYS, max_size=5), KEYS)
def test_every_key_keeps_the_row_of_its_insertion(
    batches: list[list[int]], asked: list[int]
) -> None:
    table, truth = KeyTable(), dict[int, int]()
    for batch in batches:
        new = [key for key in dict.fromkeys(batch) if key not in truth]
        truth |= {key: len(truth) + i for i, key in enumerate(new)}
        table.insert(np.array(new, np.int64))
    asked += list(truth)
    rows = table.find(np.array(asked, np.int64))
    assert rows.tolist() == [truth.get(key, -1) for key in asked]
    assert table.size == len(truth)


def test_keys_with_equal_low_bits_are_found() -> None:
    keys = np.arange(100_000, dtype=np.int64) << 20  # low bits all equal: a weak hash would crawl
    table = KeyTable(keys)
    assert (table.find(keys) == np.arange(len(keys))).all()
    assert (table.find(keys + 1) == -1).all()


WORD = st.sampled_from([0, 1, -1, 7, EMPTY, REMOVED])
CHANGES = st.dictionaries(st.tuples(WORD, WORD), st.integers(-9, 9) | st.none(), min_size=1)


def one_chain(keys: I64) -> U64:
    """A hash under which all keys collide at the end of the table, so that probing wraps."""
    return np.full(len(keys), 2**64 - 1, np.uint64)


@pytest.mark.slow
@given(st.lists(CHANGES, max_size=8))
def test_colliding_keys_of_two_words_are_replaced_and_removed(
    rounds: list[dict[tuple[int, int], int | None]],
) -> None:
    table, truth = HashTable(2, 4, one_chain), dict[tuple[int, int], int]()
    for changes in rounds:
        keys = np.array(list(changes), np.int64)
        values = np.array([REMOVED if v is None else v for v in changes.values()], np.int64)
        at, found = table.find(keys)
        new = found == EMPTY
        table.replace(at[~new], values[~new])
        table.insert(keys[new], values[new])
        truth |= {key: REMOVED if v is None else v for key, v in changes.items()}
        _, found = table.find(np.array(list(truth), np.int64))
        assert found.tolist() == list(truth.values())
        assert table.find(np.array([[5, 5]], np.int64))[1].tolist() == [EMPTY]


def test_removed_keys_are_dropped_when_the_table_grows() -> None:
    table = HashTable(1, 2, lambda keys: keys[:, 0].view(np.uint64) << np.uint64(54))
    for first in range(0, 100_000, 100):
        keys = np.arange(first, first + 100)[:, np.newaxis]
        table.insert(keys, keys[:, 0])
        at, _ = table.find(keys[:99])
        table.replace(at, np.full(99, REMOVED))
    left = np.arange(99, 100_000, 100)
    assert (table.find(left[:, np.newaxis])[1] == left).all()
    assert table.slots < 16 * len(left)


KEYS_AND_ROWS = st.lists(st.integers(0, 60), max_size=30)


@given(st.lists(st.tuples(KEYS_AND_ROWS, KEYS_AND_ROWS), max_size=8))
def test_rows_that_are_dropped_are_filled_by_the_last_ones(
    rounds: list[tuple[list[int], list[int]]],
) -> None:
    table, rows = KeyTable(), list[int]()
    for added, dropped in rounds:
        new = [key for key in dict.fromkeys(added) if key not in rows]
        table.insert(np.array(new, np.int64))
        rows += new
        out = [key for key in dict.fromkeys(dropped) if key in rows]
        left = len(rows) - len(out)
        gaps = [row for row in range(left) if rows[row] in out]
        moved = [key for key in rows[left:] if key not in out]
        table.drop(np.array(out, np.int64), np.array(moved, np.int64), np.array(gaps, np.int64))
        for row, key in zip(gaps, moved, strict=True):
            rows[row] = key
        del rows[left:]
        found = table.find(np.arange(61))
        assert found.tolist() == [rows.index(key) if key in rows else -1 for key in range(61)]
        assert table.size == len(rows)


def numbered(first: int, number: int) -> I64:
    return np.arange(first, first + number, dtype=np.int64)[:, np.newaxis] * 0x9E3779B1


def growing(number: int) -> HashTable:
    """A table of ``number`` keys, of which the last ones made it grow."""
    table = HashTable(1, 2, lambda keys: keys[:, 0].view(np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    table.insert(numbered(0, number - 40), np.arange(number - 40))
    room = table.slots // 3 - number + 40
    table.insert(numbered(10 * number, room), np.zeros(room, np.int64))
    assert not table.is_moving
    table.insert(numbered(number - 40, 40), np.arange(number - 40, number))
    assert table.is_moving
    return table


def test_a_table_that_grows_finds_changes_and_removes_keys_in_both_places() -> None:
    table = growing(50_000)
    at, found = table.find(numbered(0, 50_000))
    assert (found == np.arange(50_000)).all()
    assert (at >= table.slots).any()  # some are found where they were
    table.replace(at[::2], np.full(25_000, REMOVED))
    table.replace(at[1::2], -found[1::2])
    _, found = table.find(numbered(0, 50_000))
    gone = numbered(0, 50_000)[::2][(found[::2] == EMPTY)]
    table.insert(gone, gone[:, 0])  # removed before it was moved: inserted anew
    again = np.isin(numbered(0, 50_000)[:, 0], gone[:, 0])
    assert again.any()
    while table.is_moving:
        table.find(numbered(0, 1))
    _, found = table.find(numbered(0, 50_000))
    assert (found[1::2] == -np.arange(50_000)[1::2]).all()
    assert (found[::2][again[::2]] == gone[:, 0]).all()
    assert (found[::2][~again[::2]] == REMOVED).all()
    assert (table.find(numbered(50_000, 1000))[1] == EMPTY).all()


def test_no_step_of_a_growing_table_moves_more_than_some_thousand_slots() -> None:
    table, calls = growing(50_000), 0
    while table.is_moving:
        calls += 1
        table.find(numbered(0, 1))
    assert calls >= table.slots // 2 // 4096 - 2
