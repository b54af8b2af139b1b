"""The JSON that /api/v1 answers: a snapshot of the ledger and of the nodes' totals. Pure.

Keys and rows are those of kzn.client.api. Lists are sorted by bytes, largest first, and cut at
``limit``. Bytes are L3 bytes on the wire (docs/accuracy.md), since the series began.
"""

import heapq
from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import repeat
from typing import TypeVar

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
from kzn.columns.arrays import I64, U64
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
_GROUPS_A_PIECE = 4096

_T = TypeVar("_T")


def answer(topic: str, snapshot: ServerSnapshot, limit: int) -> Iterator[bytes]:
    """The body for one of TOPICS in pieces, some of them empty; each is made in some milliseconds.

    They are made on the event loop, between batches.
    """
    if topic == "status":
        sums = yield from _sums(snapshot.totals)
        yield msgspec.json.encode(_status(snapshot, sums).to_json()) + b"\n"
        return
    if topic == "nodes":
        blocks, of = _largest_nodes(snapshot, limit), len(snapshot.totals)
    else:
        keys = _keys(topic)
        groups_of = yield from _groups_of(topic, snapshot)
        rows, of = largest_rows(snapshot.ledger, _LISTS[topic], limit)
        blocks = (
            [dict(zip(keys, (*row, *groups_of(row)), strict=True)) for row in block]
            for block in rows
        )
    yield b'{"%s":[' % topic.encode()
    between = b""
    for block in blocks:
        if not block:
            yield b""
            continue
        yield between + msgspec.json.encode(block)[1:-1]
        between = b","
    yield b'],"of":%d}\n' % of


Row = tuple[str | int | float | None, ...]
MIXED = "mixed"
"""In place of a currency: the row's bytes cost something in several."""
_NO_COSTS: tuple[float | None, str] = (None, "")
_Work = Generator[bytes, None, _T]
"""Gives empty pieces on the way to a result."""


def largest_rows(
    ledger: LedgerSnapshot, family: Family, limit: int
) -> tuple[Iterator[list[Row]], int]:
    """The ``limit`` largest series in blocks, some of them empty, and how many series there are.

    Each row is its labels, bytes, and of these the cost, its currency, and the bytes without a
    price.

    Equal ones stay in the order of the ledger. The series `other` is one of them unless it is 0.
    """
    view = ledger.views.get(family.name)
    if view is None:  # the family is off
        return iter(()), 0
    other, columns = view.other.bytes, np.arange(len(view.keys))
    if family.other_key is not None and (namesake := view.keys == family.other_key).any():
        other += int(view.bytes[namesake].sum())
        columns = np.flatnonzero(~namesake)
    return _blocks(ledger, family, view, columns, other, limit), len(columns) + (other > 0)


def _blocks(
    ledger: LedgerSnapshot, family: Family, view: View, columns: I64, other: int, limit: int
) -> Iterator[list[Row]]:
    """The largest of the series in ``columns``, and `other` among them."""
    sizes = view.bytes.take(columns)
    found = _largest(sizes, limit)
    yield []
    # Descending and stable: the largest uint64 minus the total ascends.
    found = found.take(np.argsort(~sizes.take(found), kind="stable"))
    yield []
    above = int(np.count_nonzero(sizes.take(found) >= other))
    rest: list[list[Row]] = []
    if other and above < limit:
        found = found[: limit - 1]
        rest = [[(*family.other_labels, other, *_other_costs(view, other))]]
    order = columns.take(found)
    yield from _rows(ledger, family, view, order[:above])
    yield from rest
    yield from _rows(ledger, family, view, order[above:])


def _largest(sizes: U64, limit: int) -> I64:
    """Where the ``limit`` largest are, the first of equal ones; equal ones in their order."""
    beyond = len(sizes) - limit
    if beyond <= 0 or limit == 0:
        return np.arange(min(limit, len(sizes)))
    least = np.partition(sizes, beyond)[beyond]
    above = np.flatnonzero(sizes > least)
    equal = np.flatnonzero(sizes == least)[: limit - len(above)]
    return np.concatenate((above, equal))


def _rows(ledger: LedgerSnapshot, family: Family, view: View, order: I64) -> Iterator[list[Row]]:
    for first in range(0, len(order), ROWS_A_PIECE):
        part = order[first : first + ROWS_A_PIECE]
        labels = family.labels_of(view.keys.take(part), ledger.tables)
        sizes = view.bytes.take(part).tolist()
        yield [
            (*found, size, *cost, size - priced)
            for found, size, (*cost, priced) in zip(
                labels, sizes, _costs(ledger, view, part), strict=True
            )
        ]


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


def _groups_of(topic: str, snapshot: ServerSnapshot) -> _Work[Callable[[Row], tuple[str, ...]]]:
    """The groups of a row's ends, by the labels at its begin."""
    groups = snapshot.groups or {}
    if topic == "workloads":
        return lambda row: (groups.get((str(row[0]), str(row[1]), str(row[2])), ""),)
    if topic != "pairs":
        return lambda _row: ()
    by_name: dict[object, str] = {}
    for number, ((namespace, _, name), group) in enumerate(groups.items(), 1):
        if by_name.setdefault((namespace, name), group) != group:
            by_name[namespace, name] = ""
        if number % _GROUPS_A_PIECE == 0:
            yield b""
    return lambda row: (by_name.get(row[:2], ""), by_name.get(row[3:5], ""))


def _largest_nodes(snapshot: ServerSnapshot, limit: int) -> Iterator[list[dict[str, object]]]:
    totals, sizes = snapshot.totals, list[int]()
    for first in range(0, len(totals), ROWS_A_PIECE):
        sizes += [one.bytes_of("seen") for one in totals[first : first + ROWS_A_PIECE]]
        yield []
    order = heapq.nlargest(limit, range(len(totals)), key=sizes.__getitem__)
    for first in range(0, len(order), NODES_A_PIECE):
        part = order[first : first + NODES_A_PIECE]
        yield [_node(totals[number], snapshot.now).to_json() for number in part]


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


def _sums(nodes: tuple[NodeTotalsSnapshot, ...]) -> _Work[dict[str, int]]:
    """The bytes of each term, over all nodes."""
    sums: dict[str, int] = dict.fromkeys((*TERMS, "held"), 0)
    for number, totals in enumerate(nodes, 1):
        for (term, _), counts in totals.counts.items():
            sums[term] += counts.bytes
        sums["held"] += totals.held.bytes
        if number % ROWS_A_PIECE == 0:
            yield b""
    return sums


def _status(snapshot: ServerSnapshot, sums: dict[str, int]) -> Status:
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
        bytes=StatusBytes(**sums),
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
