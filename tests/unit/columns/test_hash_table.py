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
