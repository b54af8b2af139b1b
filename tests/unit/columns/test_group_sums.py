"""kzn/columns/group_sums.py: exact sums of counts of any size."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kzn.columns.group_sums import group_sums, group_sums_and_parts, sums


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


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2**58) | st.integers(0, 9), st.booleans()))
)
def test_sums_of_parts_are_in_the_bins_of_their_amounts(rows: list[tuple[int, int, bool]]) -> None:
    rows = rows[:60]
    bins = np.array([at for at, *_ in rows], np.int64)
    amounts = np.array([amount for _, amount, _ in rows], np.uint64)
    is_part = np.array([part for *_, part in rows], np.bool_)
    for size in (5, 1 << 60):
        at, found, parts = group_sums_and_parts(
            bins, amounts, bins[is_part], amounts[is_part], size
        )
        expected = {number: [0, 0] for number in set(bins.tolist())}
        for number, amount, part in rows:
            expected[number][0] += amount
            expected[number][1] += amount * part
        columns = (column.tolist() for column in (at, found, parts))
        sums_by_bin = {number: [*both] for number, *both in zip(*columns, strict=True) if both[0]}
        assert sums_by_bin == {number: both for number, both in expected.items() if both[0]}
