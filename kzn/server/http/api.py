"""The JSON that /api/v1 answers: a snapshot of the ledger and of the nodes' totals. Pure.

Keys and rows are those of kzn.client.api. Lists are sorted by bytes, largest first, and cut at
``limit``. Bytes are L3 bytes on the wire (docs/accuracy.md), since the series began.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice, repeat

import msgspec
import numpy as np

from kzn import __version__
from kzn.client import api
from kzn.client.api import (
    MAX_LIMIT,
    NodeRow,
    PriceListRow,
    Status,
    StatusBytes,
    TopologyStatus,
)
from kzn.columns.arrays import I64
from kzn.errors import UsageError
from kzn.model.totals import Counts
from kzn.server.ledger.family import FAMILIES, Family, FamilyName, LedgerSnapshot, View
from kzn.server.ledger.labels import OTHER_LABEL
from kzn.server.ledger.node_totals import TERMS, NodeTotalsSnapshot
from kzn.server.snapshot import ServerSnapshot

DEFAULT_LIMIT = 1000

_LISTS = {family.api_list: family for family in FAMILIES.values() if family.api_list}
TOPICS = ("status", *_LISTS, "nodes")
FAMILIES_OF: dict[str, frozenset[FamilyName]] = {
    topic: frozenset({_LISTS[topic].name} if topic in _LISTS else ()) for topic in TOPICS
}
"""The families whose series a topic shows."""

ROWS_A_PIECE = 512
"""Rows encoded at once: about a millisecond."""
NODES_A_PIECE = 64
"""The same of nodes, of which each has some twenty numbers."""


def answer(
    topic: str, snapshot: ServerSnapshot, limit: int, pause: Callable[[], object] = lambda: None
) -> Iterator[bytes]:
    """The body for one of TOPICS in pieces, to be made in a thread.

    ``pause`` is called after each piece of many rows, so that other threads get the interpreter
    lock.
    """
    if topic == "status":
        yield msgspec.json.encode(_status(snapshot, pause).to_json()) + b"\n"
        return
    at_once = ROWS_A_PIECE
    if topic == "nodes":
        at_once, of = NODES_A_PIECE, len(snapshot.totals)
        totals = _paused(snapshot.totals, pause)
        shown = heapq.nlargest(limit, totals, key=lambda one: one.bytes_of("seen"))
        objects = (_node(one, snapshot.now).to_json() for one in shown)
    else:
        family, keys = _LISTS[topic], _keys(topic)
        rows, of = largest_rows(snapshot.ledger, family, limit)
        groups_of = _groups_of(topic, snapshot)
        objects = (dict(zip(keys, (*row, *groups_of(row)), strict=True)) for row in rows)
    yield b'{"%s":[' % topic.encode()
    between = b""
    while part := list(islice(objects, at_once)):
        yield between + msgspec.json.encode(part)[1:-1]
        between = b","
        pause()
    yield b'],"of":%d}\n' % of


Row = tuple[str | int | float | None, ...]
MIXED = "mixed"
"""In place of a currency: the row's bytes cost something in several."""
_NO_COSTS: tuple[float | None, str] = (None, "")


def largest_rows(ledger: LedgerSnapshot, family: Family, limit: int) -> tuple[Iterator[Row], int]:
    """The ``limit`` largest series, and how many there are.

    Each is its labels, bytes, and of these the cost, its currency, and the bytes without a price.

    Equal ones stay in the order of the ledger. The series `other` is one of them unless it is 0.
    """
    view = ledger.views.get(family.name)
    if view is None:  # the family is off
        return iter(()), 0
    keys, totals, other = view.keys, view.bytes, view.other.bytes
    columns = np.arange(len(keys))
    if family.other_key is not None:
        namesake = keys == family.other_key
        other += int(totals[namesake].sum())
        keys, totals, columns = keys[~namesake], totals[~namesake], columns[~namesake]
    of = len(keys) + (other > 0)
    # Descending and stable: the largest uint64 minus the total ascends.
    order = np.argsort(~totals, kind="stable")[:limit]
    labels = family.labels_of(keys[order], ledger.tables)
    sizes = totals[order].tolist()
    costs = _costs(ledger, view, columns[order])
    rows = (
        (*found, size, *cost, size - priced)
        for found, size, (*cost, priced) in zip(labels, sizes, costs, strict=True)
    )
    if not other:
        return rows, of
    above = sum(size >= other for size in sizes)
    if above >= limit:
        return rows, of
    return chain(
        islice(rows, above),
        [(*family.other_labels, other, *_other_costs(view, other))],
        islice(rows, limit - above - 1),
    ), of


def _costs(
    ledger: LedgerSnapshot, view: View, rows: I64
) -> Iterable[tuple[float | None, str, int]]:
    """Cost, currency and priced bytes of each of ``rows``."""
    if view.costs is None:
        return repeat((*_NO_COSTS, 0), len(rows))
    names = [name for (name,) in ledger.tables["currency"]]
    columns = (view.costs.cost, view.costs.priced_bytes, view.costs.currency)
    found = zip(*(column[rows].tolist() for column in columns), strict=True)
    return ((*_cost_in(cost, names[code]), n) for cost, n, code in found)


def _other_costs(view: View, size: int) -> tuple[float | None, str, int]:
    other = view.other
    return *_cost_in(other.cost, other.currency), size - other.priced_bytes


def _cost_in(cost: float, currency: str) -> tuple[float | None, str]:
    """A cost and its currency; without a price neither, of several currencies no sum."""
    if currency == OTHER_LABEL:
        return None, MIXED
    return (cost, currency) if currency else _NO_COSTS


def parse_limit(text: str | None) -> int:
    """The query's limit; UsageError if it is not a number from 0 to MAX_LIMIT.

    0 asks for no row, only for the number of all.
    """
    if text is None:
        return DEFAULT_LIMIT
    if not (text.isascii() and text.isdigit()) or not 0 < len(text) < 10:
        raise UsageError(f"limit {text[:20]!r} is not a number", hint=f"0 to {MAX_LIMIT}")
    return min(int(text), MAX_LIMIT)


def _groups_of(topic: str, snapshot: ServerSnapshot) -> Callable[[Row], tuple[str, ...]]:
    """The groups of a row's ends, by the labels at its begin."""
    groups = snapshot.groups or {}
    if topic == "workloads":
        return lambda row: (groups.get((str(row[0]), str(row[1]), str(row[2])), ""),)
    if topic != "pairs":
        return lambda _row: ()
    by_name: dict[object, str] = {}
    for (namespace, _, name), group in groups.items():
        if by_name.setdefault((namespace, name), group) != group:
            by_name[namespace, name] = ""
    return lambda row: (by_name.get(row[:2], ""), by_name.get(row[3:5], ""))


def _paused(
    totals: Iterable[NodeTotalsSnapshot], pause: Callable[[], object]
) -> Iterator[NodeTotalsSnapshot]:
    """``totals``, with a pause after some, since each has some twenty numbers to be read."""
    for number, one in enumerate(totals, 1):
        yield one
        if number % ROWS_A_PIECE == 0:
            pause()


def _keys(topic: str) -> tuple[str, ...]:
    return api.keys(api.ROWS[topic])


def _node(totals: NodeTotalsSnapshot, now: float) -> NodeRow:
    terms = {term: Counts() for term in TERMS} | {"held": totals.held}
    reasons: dict[str, dict[str, int]] = {}
    for (term, reason), counts in totals.counts.items():
        terms[term] = terms[term].plus(counts)
        if reason:
            reasons.setdefault(term, {})[reason] = counts.bytes
    return NodeRow(totals.node, round(max(0.0, now - totals.touched), 3), terms, reasons)


def _status(snapshot: ServerSnapshot, pause: Callable[[], object]) -> Status:
    sums = dict.fromkeys(TERMS, 0)
    for totals in _paused(snapshot.totals, pause):
        for (term, _), counts in totals.counts.items():
            sums[term] += counts.bytes
    return Status(
        version=__version__,
        ready=not snapshot.why_not_ready,
        why_not_ready=snapshot.why_not_ready,
        agents=snapshot.receiver.connections,
        nodes=len(snapshot.totals),
        batches=snapshot.pipeline.batches,
        flows=snapshot.pipeline.flows,
        duplicates=snapshot.receiver.duplicates,
        refused=dict(snapshot.receiver.refusals),
        bytes=StatusBytes(
            **sums,
            held=sum(one.held.bytes for one in snapshot.totals),
        ),
        topology=tuple(_source(snapshot, number) for number in range(len(snapshot.sources))),
        instance=f"{snapshot.instance:08x}",
        nodes_known=snapshot.coverage.known,
        nodes_reporting=snapshot.coverage.reporting,
        nodes_without_agent=snapshot.coverage.without_agent,
        prices=tuple(
            PriceListRow(one.provider, one.name, one.currency, str(one.valid_from), str(one.date))
            for one in snapshot.prices.lists
        ),
        proposals=None if snapshot.advice.by_rule is None else snapshot.advice.proposals,
        saving_per_month=dict(snapshot.advice.by_currency),
        connected_seconds=_rounded(snapshot.waiting.seconds),
        first_batch_seconds=None if snapshot.pipeline.batches else _rounded(snapshot.waiting.batch),
    )


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def _source(snapshot: ServerSnapshot, number: int) -> TopologyStatus:
    source = snapshot.sources[number]
    counts = source.stats.counts
    return TopologyStatus(
        source=source.name,
        ready=source.is_ready,
        nodes=counts.nodes,
        pods=counts.pods,
        networks=counts.networks,
        staleness_seconds={r.resource: round(r.staleness, 3) for r in source.stats.resources},
    )
