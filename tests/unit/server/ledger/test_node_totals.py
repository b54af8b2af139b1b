"""Node totals: seen equals the sum of the other terms, even if an agent's totals do not add up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kzn.model.totals import Counts, Totals
from kzn.server.ledger.node_totals import NodeTotalRow, NodeTotals, TotalsByNode

COUNTS = st.builds(Counts, st.integers(0, 10**6), st.integers(0, 10**12))
REASONS = st.sampled_from(["map_full", "parse", "loopback", "made_up", ""])
TOTALS = st.builds(
    Totals, COUNTS, st.dictionaries(REASONS, COUNTS), st.dictionaries(REASONS, COUNTS)
)


def rows(totals: NodeTotals) -> dict[tuple[str, str], Counts]:
    return {key: counts for key, counts in totals.counts.items() if counts != Counts()}


def test_totals_that_add_up_are_added_unchanged() -> None:
    totals = NodeTotals()
    missed, ignored = {"map_full": Counts(1, 10)}, {"loopback": Counts(2, 20)}
    mismatch = totals.add_batch(Totals(Counts(6, 60), missed, ignored), Counts(3, 30))
    totals.add("attributed", "", Counts(3, 30))
    assert mismatch == Counts()
    assert rows(totals) == {
        ("seen", ""): Counts(6, 60),
        ("missed", "map_full"): Counts(1, 10),
        ("ignored", "loopback"): Counts(2, 20),
        ("attributed", ""): Counts(3, 30),
    }
    assert totals.gap() == Counts()


def test_bytes_of_the_totals_that_are_in_no_flow_are_missed() -> None:
    totals = NodeTotals()
    assert totals.add_batch(Totals(Counts(5, 50)), Counts(3, 30)) == Counts(2, 20)
    assert rows(totals)["missed", "not_in_flows"] == Counts(2, 20)


def test_bytes_of_flows_beyond_the_totals_are_added_to_seen() -> None:
    totals = NodeTotals()
    assert totals.add_batch(Totals(Counts(5, 50)), Counts(6, 70)) == Counts(1, 20)
    assert rows(totals) == {("seen", ""): Counts(6, 70)}


def test_a_reason_unknown_to_the_server_becomes_other() -> None:
    totals = NodeTotals()
    totals.add_batch(Totals(Counts(1, 9), {"made_up": Counts(1, 9)}), Counts())
    assert ("missed", "other") in totals.counts


@pytest.mark.slow
@given(st.lists(st.tuples(TOTALS, COUNTS)))
def test_the_identity_holds_for_any_totals_of_an_agent(
    batches: list[tuple[Totals, Counts]],
) -> None:
    totals = NodeTotals()
    for batch_totals, accounted in batches:
        totals.add_batch(batch_totals, accounted)
        totals.hold(accounted)
        assert totals.gap() == Counts()


def test_released_counts_are_subtracted_from_held() -> None:
    totals = NodeTotals()
    totals.hold(Counts(2, 20))
    totals.release(Counts(1, 15))
    assert totals.held == Counts(1, 5)


def test_nodes_beyond_the_limit_share_the_totals_of_node_other() -> None:
    node_totals = TotalsByNode(1)
    node_totals.of("a")
    assert node_totals.of("b") is node_totals.of("c")
    assert [node for node, _ in node_totals.items()] == ["a", "other"]


def test_an_idle_node_is_removed_unless_flows_are_held() -> None:
    node_totals = TotalsByNode(10)
    node_totals.of("a").touched = node_totals.of("b").touched = 1.0
    node_totals.of("b").hold(Counts(1, 1))
    node_totals.of("c").touched = 5.0
    node_totals.remove_idle(2.0)
    assert [node for node, _ in node_totals.items()] == ["b", "c"]


def test_saved_rows_loaded_again_are_the_same() -> None:
    node_totals, again = TotalsByNode(10), TotalsByNode(10)
    node_totals.of("a").add_batch(Totals(Counts(5, 50), {"parse": Counts(1, 10)}), Counts(4, 40))
    again.load(node_totals.rows(), now=7.0)
    assert sorted(again.rows()) == sorted(node_totals.rows())
    assert NodeTotalRow("a", "seen", "", Counts(5, 50)) in again.rows()


def test_totals_are_exposed_in_the_order_in_which_they_began() -> None:
    nodes = TotalsByNode(10, holds=True)
    for now, reason in ((1.0, "parse"), (2.0, "map_full"), (3.0, "busy")):
        nodes.of("n1", now).add("missed", reason, Counts(1, 1))
    shown = []
    for before in (1.0, 2.5, 9.0):
        nodes.expose(before)
        shown.append({row.reason for row in nodes.rows() if row.exposed and row.reason})
    assert shown == [set(), {"parse", "map_full"}, {"parse", "map_full", "busy"}]
