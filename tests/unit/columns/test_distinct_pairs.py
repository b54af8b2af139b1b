"""Kinds of keys of two words are those of a dictionary, also where hashes collide."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kzn.columns import distinct_pairs as module
from kzn.columns.distinct_pairs import distinct_pairs

WORD = 1 << 64


def check(keys: list[tuple[int, int]]) -> None:
    first, second = (np.array([key[at] for key in keys], np.uint64) for at in (0, 1))
    rows, kinds = distinct_pairs(first, second)
    assert len({keys[row] for row in rows.tolist()}) == len(rows) == len(set(keys))
    assert [keys[rows[kind]] for kind in kinds.tolist()] == keys


@given(st.lists(st.tuples(*[st.integers(0, 3) | st.integers(0, WORD - 1)] * 2), max_size=50))
def test_each_row_has_the_kind_of_its_key(keys: list[tuple[int, int]]) -> None:
    check(keys)


def test_many_keys_that_differ_in_few_bits() -> None:
    check([(src << 32 | src % 7, port << 6) for src in range(500) for port in range(3)] * 2)


@pytest.mark.parametrize("turns", [0, 1])
def test_what_is_left_after_all_turns_is_sorted(
    turns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_TURNS", turns)
    check([(number % 40, number % 3) for number in range(200)])
    check([])


def test_keys_of_equal_hashes_are_told_apart() -> None:
    low, high = map(int, module._SEEDS)
    back = pow(low, -1, WORD)
    keys = [((5 ^ (second + 1) * high) % WORD * back % WORD, second) for second in range(20)]
    hashes = {(first * low ^ (second + 1) * high) % WORD for first, second in keys}
    assert hashes == {5}
    check(keys * 2)
