"""kzn/columns/hash_table.py: numbers of keys against those of a dict, with collisions."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kzn.columns.hash_table import KeyTable

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
