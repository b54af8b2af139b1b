"""kzn/server/http/api.py: the keys of rows, and the limit of a query."""

import json
from dataclasses import replace
from itertools import chain
from random import Random

import pytest
from smallserver import snapshot as small

from kzn.client.api import MAX_LIMIT, ROWS, PairRow, keys, rows
from kzn.errors import UsageError
from kzn.model.totals import Counts
from kzn.server.flows.queue import LogCounts
from kzn.server.http.api import (
    DEFAULT_LIMIT,
    FAMILIES_OF,
    NODES_A_PIECE,
    ROWS_A_PIECE,
    answer,
    largest_rows,
    parse_limit,
)
from kzn.server.ledger.family import FAMILIES, PAIR, Row
from kzn.server.ledger.ledger import Ledger
from kzn.server.ledger.limits import LedgerLimits
from kzn.server.ledger.node_totals import TotalsByNode
from kzn.server.pipeline import AccountingSnapshot, Clocks, Pipeline
from kzn.server.receive.stats import ReceiveStats
from kzn.server.resolve.retry import RetryQueue
from kzn.server.snapshot import ServerSnapshot, Sources
from kzn.topology.index import AddressIndex


def test_an_api_row_has_the_labels_of_its_series_the_bytes_and_their_cost() -> None:
    labels = {family.api_list: family.labels for family in FAMILIES.values() if family.api_list}
    last = ("bytes", "cost", "currency", "unpriced_bytes")
    groups = {"zones": (), "workloads": ("group",), "pairs": ("src_group", "dst_group")}
    found = {topic: (*labels[topic], *last, *groups[topic]) for topic in ROWS}
    assert {topic: keys(row) for topic, row in ROWS.items()} == found


def test_rows_of_workloads_and_pairs_have_the_groups_of_their_workloads() -> None:
    made = replace(
        small(),
        groups={
            ("shop", "Deployment", "web"): "blue",
            ("shop", "Job", "web"): "blue",
            ("shop", "StatefulSet", "db"): "red",
            ("shop", "Job", "db"): "green",
        },
    )
    workloads = json.loads(b"".join(answer("workloads", made, 9)))["workloads"]
    assert [row["group"] for row in workloads] == ["blue"] * 4
    pairs = json.loads(b"".join(answer("pairs", made, 9)))["pairs"]
    # Which of the two workloads called db it is, a pair does not say.
    assert [(row["src_group"], row["dst_group"]) for row in pairs] == [("blue", "")] * 2
    for topic in ("workloads", "pairs"):
        (row, *_) = json.loads(b"".join(answer(topic, small(), 9)))[topic]
        assert {value for key, value in row.items() if key.endswith("group")} == {""}


def test_an_answer_of_a_server_without_groups_is_read() -> None:
    body = json.loads(b"".join(answer("pairs", small(), 9)))
    for row in body["pairs"]:
        del row["src_group"], row["dst_group"]
    (first, _), _ = rows("pairs", PairRow, body)
    assert (first.bytes, first.src_group, first.unpriced_bytes) == (30, "", 30)


@pytest.mark.parametrize(
    ("text", "limit"), [(None, DEFAULT_LIMIT), ("5", 5), ("0", 0), ("999999999", MAX_LIMIT)]
)
def test_a_limit_is_clamped_at_the_maximum(text: str | None, limit: int) -> None:
    assert parse_limit(text) == limit


@pytest.mark.parametrize("text", ["", "x", "-1", "1.5", "9" * 10, "٣"])
def test_a_limit_that_is_not_a_number_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="is not a number"):
        parse_limit(text)


LABELS = ("shop", "web", "a", "shop", "db", "b", "source")


def ledger_of(totals: dict[str, int], limit: int = 10) -> Ledger:
    """A ledger with a pair of each name, at most ``limit`` of them."""
    ledger = Ledger(LedgerLimits({"pair": limit}))
    ledger.load(
        [Row("pair", (*LABELS[:4], name, *LABELS[5:]), total) for name, total in totals.items()],
        0.0,
    )
    return ledger


def largest(ledger: Ledger, limit: int) -> tuple[list[tuple[str | int | float | None, ...]], int]:
    blocks, of = largest_rows(ledger.snapshot(["pair"]), PAIR, limit)
    return [(row[4], row[-4]) for block in blocks for row in block], of


def test_the_largest_rows_come_first_and_equal_ones_in_the_order_of_the_ledger() -> None:
    ledger = ledger_of({"a": 1, "b": 2**60, "c": 7, "d": 7, "e": 2**60 + 1})
    found = [("e", 2**60 + 1), ("b", 2**60), ("c", 7), ("d", 7), ("a", 1)]
    for limit in range(7):
        assert largest(ledger, limit) == (found[:limit], 5)


@pytest.mark.parametrize("room", [600, 1_000], ids=["with other", "without"])
def test_any_limit_gives_the_first_rows_of_all_of_them_sorted(room: int) -> None:
    rng = Random(7)
    totals = {f"w{number}": rng.choice([1, 5, 5, 9, 2**52]) for number in range(1_000)}
    ledger = ledger_of(totals, limit=room)
    kept = list(totals.items())[:room]
    if other := sum(totals.values()) - sum(size for _, size in kept):
        larger = [row for row in kept if row[1] >= other]
        kept = [*larger, ("other", other), *(row for row in kept if row[1] < other)]
    found = sorted(kept, key=lambda row: -row[1])
    for limit in (0, 1, 2, 199, 200, 201, 599, 600, 601, 602, 999, 1_000, 5_000):
        assert largest(ledger, limit) == (found[:limit], len(found))


def test_the_series_other_is_one_of_the_rows() -> None:
    ledger = ledger_of({"a": 1, "b": 9, "c": 3, "d": 2}, limit=2)
    assert largest(ledger, 9) == ([("b", 9), ("other", 5), ("a", 1)], 3)
    assert largest(ledger, 2) == ([("b", 9), ("other", 5)], 3)
    assert largest(ledger, 1) == ([("b", 9)], 3)
    assert largest(ledger, 0) == ([], 3)


def test_a_list_of_many_pieces_is_one_json_object() -> None:
    totals = {f"w{number}": number + 1 for number in range(2 * ROWS_A_PIECE + 3)}
    snapshot = snapshot_of(ledger_of(totals, limit=10_000))
    pieces = list(answer("pairs", snapshot, MAX_LIMIT))
    found = json.loads(b"".join(pieces))
    assert [row["bytes"] for row in found["pairs"]] == sorted(totals.values(), reverse=True)
    assert found["of"] == len(totals)
    assert max(piece.count(b'"bytes"') for piece in pieces) == ROWS_A_PIECE


@pytest.mark.parametrize("topic", ["status", "nodes"])
def test_pages_of_all_nodes_are_made_in_steps(topic: str) -> None:
    totals = TotalsByNode(10_000)
    for number in range(2 * ROWS_A_PIECE):
        totals.of(f"n{number}").add("seen", "", Counts(1, number))
    snapshot = replace(snapshot_of(ledger_of({})), totals=totals.snapshot())
    pieces = list(answer(topic, snapshot, MAX_LIMIT))
    found = json.loads(b"".join(pieces))
    size = 2 * ROWS_A_PIECE
    if topic == "status":
        assert found["bytes"]["seen"] == size * (size - 1) // 2
        assert pieces[:-1] == [b""] * 2
    else:
        assert [row["node"] for row in found["nodes"][:2]] == [f"n{size - 1}", f"n{size - 2}"]
        assert len(found["nodes"]) == size
        assert pieces.count(b"") == 2
        assert len(pieces) == 2 + 2 + size // NODES_A_PIECE


def test_a_topic_needs_only_its_own_families() -> None:
    assert {
        "status": frozenset(),
        "workloads": {"workload"},
        "pairs": {"pair"},
        "zones": {"zone"},
        "nodes": frozenset(),
    } == FAMILIES_OF
    ledger = ledger_of({"a": 1})
    assert list(ledger.snapshot(FAMILIES_OF["pairs"]).views) == ["pair"]
    assert list(ledger.snapshot(FAMILIES_OF["pairs"]).tables) == ["owner", "zone"]


def snapshot_of(ledger: Ledger) -> ServerSnapshot:
    index = AddressIndex(clock=lambda: 0.0, wall=lambda: 0.0)
    parts = ledger, TotalsByNode(10), RetryQueue(10)
    pipeline = Pipeline(index, *parts, clocks=Clocks(lambda: 0.0, lambda: 0.0))
    sources = Sources(pipeline, ReceiveStats, lambda: (), LogCounts)
    return sources.snapshot(AccountingSnapshot.of(pipeline), 0.0)


def test_a_row_has_the_cost_of_its_priced_bytes_and_null_without_any() -> None:
    ledger = Ledger(LedgerLimits({"pair": 2}, priced=True))
    rows = [
        Row("pair", (*LABELS[:4], "a", *LABELS[5:]), 9, cost=0.25, priced_bytes=7, currency="USD"),
        Row("pair", (*LABELS[:4], "b", *LABELS[5:]), 5),
        Row("pair", ("other",) * 7, 3, cost=0.0, priced_bytes=3, currency="EUR"),
    ]
    ledger.load(rows, 0.0)
    blocks, _ = largest_rows(ledger.snapshot(["pair"]), PAIR, 9)
    found = chain.from_iterable(blocks)
    assert [row[-4:] for row in found] == [
        (9, 0.25, "USD", 2),
        (5, None, "", 5),
        (3, 0.0, "EUR", 0),
    ]
