"""kzn/wire/sequences.py: a sequence is applied once, and memory is bounded."""

from hypothesis import given
from hypothesis import strategies as st

from kzn.wire.sequences import AppliedSequences, SequenceCheck

KEY = ("node-a", 1)


def connected(*keys: tuple[str, int], max_absent: int = 10) -> AppliedSequences:
    book = AppliedSequences(max_absent)
    for key in keys:
        book.opened(key)
    return book


def test_the_first_sequence_of_an_epoch_may_be_any() -> None:
    assert connected(KEY).check(KEY, 41) is SequenceCheck.NEXT


def test_a_sequence_is_next_duplicate_or_after_a_gap() -> None:
    book = connected(KEY)
    book.applied(KEY, 5)
    verdicts = [book.check(KEY, n) for n in (4, 5, 6, 7)]
    assert verdicts == [
        SequenceCheck.DUPLICATE,
        SequenceCheck.DUPLICATE,
        SequenceCheck.NEXT,
        SequenceCheck.GAP,
    ]


def test_a_check_changes_nothing() -> None:
    book = connected(KEY)
    book.applied(KEY, 5)
    book.check(KEY, 6)
    assert book.check(KEY, 6) is SequenceCheck.NEXT


def test_a_sequence_survives_its_connection() -> None:
    book = connected(KEY)
    book.applied(KEY, 5)
    book.closed(KEY)
    book.opened(KEY)
    assert book.last(KEY) == 5


def test_two_connections_of_one_epoch_share_its_sequence() -> None:
    book = connected(KEY, KEY)
    book.applied(KEY, 5)
    book.closed(KEY)
    assert book.check(KEY, 5) is SequenceCheck.DUPLICATE


def test_epochs_of_a_node_are_independent() -> None:
    other = ("node-a", 2)
    book = connected(KEY, other)
    book.applied(KEY, 5)
    assert book.last(other) is None


def test_the_longest_absent_epoch_is_evicted_first_and_counted() -> None:
    keys = [("n", i) for i in range(1, 5)]
    book = connected(*keys, max_absent=2)
    for key in keys:
        book.applied(key, 9)
    for key in keys[:3]:
        book.closed(key)
    for key in keys[:3]:
        book.opened(key)
    assert [book.last(key) for key in keys] == [None, 9, 9, 9]
    assert book.evicted == 1


def test_an_epoch_without_a_batch_is_not_kept() -> None:
    book = connected(KEY)
    book.closed(KEY)
    assert len(book) == 0


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 4)), max_size=60))
def test_no_sequence_is_applied_twice_and_memory_is_bounded(
    tries: list[tuple[int, int]],
) -> None:
    book = AppliedSequences(max_absent=6)
    applied = []
    for epoch, number in tries:
        key = ("n", epoch)
        book.opened(key)
        if book.check(key, number) is not SequenceCheck.DUPLICATE:
            book.applied(key, number)
            applied.append((epoch, number))
        book.closed(key)
    assert len(applied) == len(set(applied))
    assert len(book) <= 6
