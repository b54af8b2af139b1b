"""Sorting by packed words: the order of numpy.lexsort, for any width of the columns."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kzn.columns.sort_order import distinct, sort_order

few, wide = st.integers(0, 2), st.integers(0, 2**64 - 1)


@given(st.lists(st.tuples(few, wide, few, wide), max_size=20))
def test_the_order_is_that_of_lexsort(found: list[tuple[int, int, int, int]]) -> None:
    rows = np.array(found, np.uint64).reshape(-1, 4)
    columns: list[npt.NDArray[Any]]
    columns = [rows[:, 0].astype(np.uint8), rows[:, 1], rows[:, 2] > 1, rows[:, 3]]
    assert sort_order(columns).tolist() == np.lexsort(columns).tolist()


@pytest.mark.parametrize("rows", [1, 255, 256, 257, 4096])
def test_equal_rows_keep_their_order_at_any_number_of_rows(rows: int) -> None:
    chance = np.random.default_rng(rows)
    columns = [chance.integers(0, most, rows, np.uint64) for most in (3, 1 << 40, 1 << 63, 2)]
    assert sort_order(columns).tolist() == np.lexsort(columns).tolist()


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint64])
@given(values=st.lists(st.integers(0, 9)))
def test_distinct_values_are_sorted_and_appear_once(
    dtype: type[np.integer[Any]], values: list[int]
) -> None:
    found = distinct(np.array(values, dtype))
    assert (found.dtype, found.tolist()) == (np.dtype(dtype), sorted(set(values)))
