"""The books of a history: ledger = recorded + dropped + lost, at each start."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kzn.errors import KznError
from kzn.history.books import FILE, MAX_GAPS, Books, Gap, load, save
from kzn.model.settled import ByClass, Sum, added

SUMS = st.dictionaries(
    st.sampled_from(["same_zone", "cross_zone"]),
    st.builds(Sum, st.integers(0, 1 << 70), st.integers(0, 1 << 70)),
)


@given(SUMS, SUMS, SUMS, SUMS)
def test_what_the_ledger_has_and_the_books_have_not_is_lost(
    recorded: ByClass, dropped: ByClass, lost: ByClass, ledger: ByClass
) -> None:
    books = Books(5, 3, recorded, {"disk_full": dropped}, lost)
    opened = books.opened(5, ledger)
    left = added(opened.accounted(), {n: Sum().minus(a) for n, a in ledger.items()})
    assert {n: a for n, a in left.items() if a != Sum()} == {}
    assert opened.dropped == books.dropped
    assert opened.number == 3


def test_another_ledger_begins_anew_and_numbers_go_on() -> None:
    gap = Gap(1, 2, "restart", 5)
    books = Books(5, 8, {"same_zone": Sum(1, 2)}, gaps=(gap,), until=60)
    opened = books.opened(6, {})
    assert opened == Books(6, 8, gaps=(gap,), until=60)


def test_a_segment_is_in_the_books_once() -> None:
    books = Books(5, 3).with_segment(4, {"same_zone": Sum(1, 2)})
    assert books.with_segment(4, {"same_zone": Sum(1, 2)}) == books
    assert books.recorded == {"same_zone": Sum(1, 2)}


def test_books_are_read_as_they_were_saved(tmp_path: Path) -> None:
    books = Books(
        5,
        3,
        {"same_zone": Sum(1, 1 << 70)},
        {"io": {"external": Sum(3, 4)}},
        {"cross_zone": Sum(1, 1)},
        (Gap(60, 120, "io", 4),),
        120,
    )
    assert load(tmp_path) is None
    save(tmp_path, books)
    assert load(tmp_path) == books
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "Expecting value"),
        ("{}", "key 'instance' is missing"),
        ('{"instance": 1}', "key 'number' is missing"),
        ("[]", "a value of another type"),
        ('{"instance": 1, "number": 1, "recorded": []}', "a value of another type"),
    ],
)
def test_damaged_books_are_an_error_with_a_hint(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(KznError, match=f"cannot be read: {why}") as caught:
        load(tmp_path)
    assert "move it away" in caught.value.hint


def test_the_oldest_gaps_are_forgotten() -> None:
    books = Books()
    for number in range(MAX_GAPS + 3):
        books = books.with_gap(Gap(number, number + 1, "io", 1))
    assert len(books.gaps) == MAX_GAPS
    assert books.gaps[0].begin == 3
