"""The books of a node: every number has its place, also when the node's own do not add up."""

from hypothesis import given
from hypothesis import strategies as st

from kzn.model.totals import Counts, Totals
from kzn.server.ledger.node_totals import NodeTotalRow, NodeTotals, TotalsByNode

COUNTS = st.builds(Counts, st.integers(0, 10**6), st.integers(0, 10**12))
REASONS = st.sampled_from(["map_full", "parse", "loopback", "made_up", ""])
TOTALS = st.builds(
    Totals, COUNTS, st.dictionaries(REASONS, COUNTS), st.dictionaries(REASONS, COUNTS)
)


def rows(book: NodeTotals) -> dict[tuple[str, str], Counts]:
    return {key: counts for key, counts in book.totals.items() if counts != Counts()}


def test_totals_that_add_up_are_entered_as_they_are() -> None:
    book = NodeTotals()
    missed, ignored = {"map_full": Counts(1, 10)}, {"loopback": Counts(2, 20)}
    mismatch = book.take(Totals(Counts(6, 60), missed, ignored), Counts(3, 30))
    book.add("attributed", "", Counts(3, 30))
    assert mismatch == Counts()
    assert rows(book) == {
        ("seen", ""): Counts(6, 60),
        ("missed", "map_full"): Counts(1, 10),
        ("ignored", "loopback"): Counts(2, 20),
        ("attributed", ""): Counts(3, 30),
    }
    assert book.gap() == Counts()


def test_what_no_flow_holds_is_missed() -> None:
    book = NodeTotals()
    assert book.take(Totals(Counts(5, 50)), Counts(3, 30)) == Counts(2, 20)
    assert rows(book)["missed", "not_in_flows"] == Counts(2, 20)


def test_what_the_flows_hold_beyond_the_totals_was_seen() -> None:
    book = NodeTotals()
    assert book.take(Totals(Counts(5, 50)), Counts(6, 70)) == Counts(1, 20)
    assert rows(book) == {("seen", ""): Counts(6, 70)}


def test_a_reason_that_the_kernel_cannot_give_is_other() -> None:
    book = NodeTotals()
    book.take(Totals(Counts(1, 9), {"made_up": Counts(1, 9)}), Counts())
    assert ("missed", "other") in book.totals


@given(st.lists(st.tuples(TOTALS, COUNTS)))
def test_the_identity_holds_whatever_a_node_says(batches: list[tuple[Totals, Counts]]) -> None:
    book = NodeTotals()
    for totals, accounted in batches:
        book.take(totals, accounted)
        book.hold(accounted)
        assert book.gap() == Counts()


def test_held_may_return() -> None:
    book = NodeTotals()
    book.hold(Counts(2, 20))
    book.hold(Counts(1, 15), release=True)
    assert book.held == Counts(1, 5)


def test_nodes_beyond_the_limit_share_the_book_of_other() -> None:
    books = TotalsByNode(1)
    books.of("a")
    assert books.of("b") is books.of("c")
    assert [node for node, _ in books.items()] == ["a", "other"]


def test_an_idle_node_goes_when_it_holds_nothing() -> None:
    books = TotalsByNode(10)
    books.of("a").touched = books.of("b").touched = 1.0
    books.of("b").hold(Counts(1, 1))
    books.of("c").touched = 5.0
    books.close_idle(2.0)
    assert [node for node, _ in books.items()] == ["b", "c"]


def test_saved_rows_loaded_again_are_the_same() -> None:
    books, again = TotalsByNode(10), TotalsByNode(10)
    books.of("a").take(Totals(Counts(5, 50), {"parse": Counts(1, 10)}), Counts(4, 40))
    again.load(books.rows(), now=7.0)
    assert sorted(again.rows()) == sorted(books.rows())
    assert NodeTotalRow("a", "seen", "", Counts(5, 50)) in again.rows()
