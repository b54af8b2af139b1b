"""kzn/wire/sequences.py: a sequence is applied once, and memory is bounded."""

from hypothesis import given
from hypothesis import strategies as st

from kzn.wire.sequences import AppliedSequences, SequenceCheck

KEY = ("node-a", 1)


def connected(*keys: tuple[str, int], max_absent: int = 10) -> AppliedSequences:
    sequences = AppliedSequences(max_absent)
    for key in keys:
        sequences.opened(key)
    return sequences


def test_the_first_sequence_of_an_epoch_may_be_any() -> None:
    assert connected(KEY).check(KEY, 41) is SequenceCheck.NEXT


def test_a_sequence_is_next_duplicate_or_after_a_gap() -> None:
    sequences = connected(KEY)
    sequences.applied(KEY, 5)
    verdicts = [sequences.check(KEY, n) for n in (4, 5, 6, 7)]
    assert verdicts == [
        SequenceCheck.DUPLICATE,
        SequenceCheck.DUPLICATE,
        SequenceCheck.NEXT,
        SequenceCheck.GAP,
    ]


def test_a_check_changes_nothing() -> None:
    sequences = connected(KEY)
    sequences.applied(KEY, 5)
    sequences.check(KEY, 6)
    assert sequences.check(KEY, 6) is SequenceCheck.NEXT


def test_a_sequence_survives_its_connection() -> None:
    sequences = connected(KEY)
    sequences.applied(KEY, 5)
    sequences.closed(KEY)
    sequences.opened(KEY)
    assert sequences.last(KEY) == 5


def test_two_connections_of_one_epoch_share_its_sequence() -> None:
    sequences = connected(KEY, KEY)
    sequences.applied(KEY, 5)
    sequences.closed(KEY)
    assert sequences.check(KEY, 5) is SequenceCheck.DUPLICATE


def test_epochs_of_a_node_are_independent() -> None:
    other = ("node-a", 2)
    sequences = connected(KEY, other)
    sequences.applied(KEY, 5)
    assert sequences.last(other) is None


def test_the_longest_absent_epoch_is_evicted_first_and_counted() -> None:
    keys = [("n", i) for i in range(1, 5)]
    sequences = connected(*keys, max_absent=2)
    for key in keys:
        sequences.applied(key, 9)
    for key in keys[:3]:
        sequences.closed(key)
    for key in keys[:3]:
        sequences.opened(key)
    assert [sequences.last(key) for key in keys] == [None, 9, 9, 9]
    assert sequences.evicted == 1


def test_an_epoch_without_a_batch_is_not_kept() -> None:
    sequences = connected(KEY)
    sequences.closed(KEY)
    assert len(sequences) == 0


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 4)), max_size=60))
def test_no_sequence_is_applied_twice_and_memory_is_bounded(
    tries: list[tuple[int, int]],
) -> None:
    sequences = AppliedSequences(max_absent=6)
    applied = []
    for epoch, number in tries:
        key = ("n", epoch)
        sequences.opened(key)
        if sequences.check(key, number) is not SequenceCheck.DUPLICATE:
            sequences.applied(key, number)
            applied.append((epoch, number))
        sequences.closed(key)
    assert len(applied) == len(set(applied))
    assert len(sequences) <= 6
