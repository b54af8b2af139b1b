"""The top pairs: which pairs get and lose a series, and where all other bytes are counted."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kzn.server.ledger.series import SeriesTable
from kzn.server.ledger.top_pairs import TopPairs, _Candidates

WINDOW = 100.0


def add(pairs: TopPairs, amounts: dict[int, int], now: float = 0.0) -> None:
    pairs.add(np.array([*amounts], np.int64), np.array([*amounts.values()], np.uint64), now)


def totals(pairs: TopPairs) -> dict[int, int]:
    return dict(zip(pairs.top.keys.tolist(), pairs.top.bytes.tolist(), strict=True))


def full(now: float = 0.0) -> TopPairs:
    pairs = TopPairs(SeriesTable(2), WINDOW)
    pairs.end_window(now)
    add(pairs, {1: 100, 2: 50}, now)
    return pairs


def test_bytes_of_pairs_beyond_the_limit_go_to_other() -> None:
    pairs = full()
    add(pairs, {1: 1, 3: 70})
    assert totals(pairs) == {1: 101, 2: 50}
    assert pairs.top.other.bytes == 70


def test_a_pair_that_sends_more_than_twice_the_smallest_replaces_it_and_starts_at_zero() -> None:
    pairs = full()
    add(pairs, {3: 101})
    pairs.end_window(WINDOW)
    assert totals(pairs) == {1: 100, 3: 0}
    add(pairs, {3: 5, 2: 6})
    assert totals(pairs) == {1: 100, 3: 5}
    assert (pairs.top.other.bytes, pairs.top.retired) == (107, 50)


def test_a_pair_that_sends_exactly_twice_the_smallest_does_not_replace_it() -> None:
    pairs = full()
    add(pairs, {3: 100})
    pairs.end_window(WINDOW)
    assert totals(pairs) == {1: 100, 2: 50}


def test_only_bytes_of_the_current_window_are_compared() -> None:
    pairs = full()
    pairs.end_window(WINDOW)
    add(pairs, {1: 1, 2: 30, 3: 3})
    pairs.end_window(2 * WINDOW)
    assert totals(pairs) == {2: 80, 3: 0}


def test_nothing_changes_within_a_window() -> None:
    pairs = full()
    add(pairs, {3: 1000})
    pairs.end_window(WINDOW - 1)
    assert totals(pairs) == {1: 100, 2: 50}


def test_the_largest_candidate_replaces_an_ended_series() -> None:
    pairs = full()
    add(pairs, {3: 60, 4: 5})
    pairs.drop(np.array([False, True]))
    pairs.end_window(WINDOW)
    assert totals(pairs) == {1: 100, 3: 0}


def test_of_too_many_candidates_the_smallest_are_evicted_not_the_newest() -> None:
    pairs = full()
    for number in range(10, 200):
        add(pairs, {number: 1})
        add(pairs, {5: 1, 6: 2})
    pairs.end_window(WINDOW)
    assert totals(pairs) == {1: 100, 6: 0}
    assert pairs.top.other.bytes == 190 * 4


def test_a_pair_that_sends_most_of_its_slot_is_promoted_beside_thousands_of_small_ones() -> None:
    pairs = full()
    many = np.arange(1_000, 21_000)
    for first in range(0, len(many), 1_000):
        keys = np.append(many[first : first + 1_000], [7, 7])
        pairs.add(keys, np.array([*[10] * 1_000, 300, 300], np.uint64), 0.0)
    pairs.end_window(WINDOW)
    assert 7 in totals(pairs)
    assert pairs.top.other.bytes == 20_000 * 10 + 20 * 600


def test_a_pair_that_shares_its_slot_with_others_is_not_promoted_by_their_bytes() -> None:
    pairs = full()
    for key in range(1_000, 9_000):  # several a slot, 49 bytes each: none twice 50
        add(pairs, {key: 49})
    pairs.end_window(WINDOW)
    assert totals(pairs) == {1: 100, 2: 50}


@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 40), st.integers(1, 10**9)), max_size=30), max_size=8
    )
)
def test_no_candidate_has_more_than_it_sent(adds: list[list[tuple[int, int]]]) -> None:
    candidates, sent = _Candidates(4), dict.fromkeys(range(41), 0)
    candidates._keys, candidates._balances = candidates._keys[:4], candidates._balances[:4]
    candidates._shift = np.uint64(62)
    for amounts in adds:
        keys, sizes = zip(*amounts, strict=True) if amounts else ((), ())
        candidates.add(np.array(keys, np.int64), np.array(sizes, np.uint64))
        for key, size in amounts:
            sent[key] += size
    keys, sizes = (column.tolist() for column in candidates.largest())
    assert sizes == sorted(sizes, reverse=True)
    assert all(size <= sent[key] for key, size in zip(keys, sizes, strict=True))


@pytest.mark.slow
@given(
    st.lists(st.dictionaries(st.integers(0, 8), st.integers(1, 10**9)), max_size=12),
    st.integers(0, 4),
)
def test_series_other_and_retired_sum_to_all_added_bytes(
    adds: list[dict[int, int]], limit: int
) -> None:
    pairs, total = TopPairs(SeriesTable(limit), WINDOW), 0
    for number, amounts in enumerate(adds):
        now = number * WINDOW / 2
        pairs.end_window(now)
        before = totals(pairs)
        add(pairs, amounts, now)
        total += sum(amounts.values())
        after = totals(pairs)
        assert all(after[key] >= was for key, was in before.items())
        assert len(after) <= limit
        assert sum(after.values()) + pairs.top.other.bytes + pairs.top.retired == total


def test_labels_of_candidates_are_in_use_until_the_window_ends() -> None:
    pairs = full()
    add(pairs, {3: 1, 4: 1})
    assert set(pairs.candidate_keys().tolist()) >= {3, 4}
    pairs.end_window(WINDOW)
    assert not {3, 4} & set(pairs.candidate_keys().tolist())
