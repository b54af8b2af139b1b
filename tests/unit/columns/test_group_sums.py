"""kzn/columns/group_sums.py: exact sums of counts of any size."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kzn.columns.group_sums import group_sums, sums


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2**58) | st.integers(0, 9))))
def test_sums_equal_python_integers(rows: list[tuple[int, int]]) -> None:
    rows = rows[:60]
    bins = np.array([at for at, _ in rows], np.int64)
    amounts = np.array([amount for _, amount in rows], np.uint64)
    expected = [sum(amount for at, amount in rows if at == number) for number in range(5)]
    if max(expected) < 2**64:
        assert sums(bins, amounts, 5).tolist() == expected
        filled = {number: total for number, total in enumerate(expected) if total}
        for size in (5, 1 << 60):
            found = (column.tolist() for column in group_sums(bins, amounts, size))
            assert {at: total for at, total in zip(*found, strict=True) if total} == filled
