"""Distinct rows: one of each kind, also when hashes collide."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kzn.columns.distinct_rows import distinct_rows


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2**64 - 1)), max_size=20))
def test_each_row_equals_the_row_of_its_kind(found: list[tuple[int, int]]) -> None:
    words = np.array(found, np.uint64).reshape(-1, 2)
    first, index = distinct_rows(words)
    assert len(first) == len(set(found))
    assert words[first][index].tolist() == words.tolist()


def test_rows_with_the_same_hash_stay_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kzn.columns.distinct_rows._MIX", np.uint64(0))
    words = np.array([[1, 7], [2, 7], [1, 7], [3, 7]], np.uint64)
    first, index = distinct_rows(words)
    assert words[first, 0].tolist() == [1, 2, 3]
    assert index.tolist() == [0, 1, 0, 2]
