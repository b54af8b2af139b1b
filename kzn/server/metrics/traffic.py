"""The metrics of traffic: the families of the ledger, and the terms of each node's identity."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import NamedTuple

import numpy as np

from kzn.daemon.metrics import BYTE, Metric, MetricSamples
from kzn.model.totals import Counts
from kzn.server.ledger.family import FAMILIES, Unit
from kzn.server.ledger.node_totals import (
    NOTHING,
    TERMS,
    NodeTotalsSnapshot,
    Term,
    TotalKey,
)
from kzn.server.metrics.text import MetricColumns, MoreSamples, Texts, label_texts
from kzn.server.snapshot import ServerSnapshot

_UNITS: dict[Unit, str] = {"bytes": BYTE, "money": "in units of the currency"}
FAMILY_METRICS = {
    family.name: Metric(
        family.metric, "counter", family.labels, f"{family.help} ({_UNITS[family.unit]})."
    )
    for family in FAMILIES.values()
}

_TERMS: dict[Term, str] = {
    "seen": "that the hook of the node saw",
    "attributed": "of flows attributed to their endpoints",
    "transit": "of flows that the node of their source counts",
    "ignored": "that cannot cross a zone, by reason",
    "unresolved": "of flows without a known endpoint or zone, by reason",
    "missed": "that the hook saw and that are in no flow, by reason",
}
_NODES_A_PIECE = 256
_HELD = "of flows in the retry queue, which are in no other term"
_PENDING = "of a term that are in none of its counters yet: the counter is still exposed at 0"
_WITH_REASON: frozenset[Term] = frozenset({"ignored", "unresolved", "missed"})


def node_metrics(snapshot: ServerSnapshot) -> Iterator[MoreSamples]:
    """The terms of each node's identity, and what of them is still exposed at 0."""
    nodes: Texts = []
    columns: dict[TotalKey, _TermColumns] = {}
    pending: list[NodeTotalsSnapshot] = []
    for first in range(0, len(snapshot.totals), _NODES_A_PIECE):
        part = snapshot.totals[first : first + _NODES_A_PIECE]
        texts = label_texts("node", [one.node for one in part])
        nodes += texts
        for node, one in zip(texts, part, strict=True):
            if one.pending:
                pending.append(one)
            for key, counts in one.counts.items():
                column = columns.get(key)
                if column is None:
                    column = columns[key] = _TermColumns([], [], [], [])
                shown = counts if key not in one.pending else NOTHING
                column.nodes.append(node)
                column.packets.append(shown.packets)
                column.bytes.append(shown.bytes)
                column.created.append(one.created[key])
        yield None
    for term in TERMS:
        found = {reason: column for (one, reason), column in columns.items() if one == term}
        yield from _of_term(term, found)
    yield from _pending(pending)
    ends = [_last(nodes)]
    yield None
    metric = Metric("kzn_held_bytes", "gauge", ("node",), f"Bytes {_HELD} ({BYTE}).")
    yield MetricColumns(metric, ends, [one.held.bytes for one in snapshot.totals])
    metric = Metric("kzn_held_packets", "gauge", ("node",), f"Packets {_HELD}.")
    yield MetricColumns(metric, ends, [one.held.packets for one in snapshot.totals])


def age_metrics(snapshot: ServerSnapshot) -> Iterator[MoreSamples]:
    """The age of each node's last batch; it ends with the node, unlike the terms above."""
    text = "Seconds since the last batch of a node that exists and should send some."
    metric = Metric("kzn_node_batch_age_seconds", "gauge", ("node",), text)
    ages = snapshot.batch_ages
    nodes = label_texts("node", ages.names, last=True)
    yield None
    seconds = np.maximum(0.0, ages.now - np.array(ages.arrived, np.float64)).round(3).tolist()
    yield MetricColumns(metric, [nodes], seconds)


class _TermColumns(NamedTuple):
    """One total of each node that has it; ``nodes`` are their labels, before others."""

    nodes: Texts
    packets: list[int]
    bytes: list[int]
    created: list[float]


def _of_term(term: Term, found: Mapping[str, _TermColumns]) -> Iterator[MoreSamples]:
    nodes = list(chain.from_iterable(one.nodes for one in found.values()))
    if term in _WITH_REASON:
        names: tuple[str, ...] = ("node", "reason")
        ends = label_texts("reason", list(found), last=True)
        sizes = [len(one.nodes) for one in found.values()]
        reasons = [[end] * size for end, size in zip(ends, sizes, strict=True)]
        labels = [nodes, list(chain.from_iterable(reasons))]
    else:
        names, labels = ("node",), [_last(nodes)]
    created = list(chain.from_iterable(one.created for one in found.values()))
    yield MetricColumns(
        Metric(f"kzn_{term}_bytes_total", "counter", names, f"Bytes {_TERMS[term]} ({BYTE})."),
        labels,
        list(chain.from_iterable(one.bytes for one in found.values())),
        created,
    )
    yield MetricColumns(
        Metric(f"kzn_{term}_packets_total", "counter", names, f"Packets {_TERMS[term]}."),
        labels,
        list(chain.from_iterable(one.packets for one in found.values())),
        created,
    )


def _last(texts: Texts) -> Texts:
    """Labels that others followed, as those before a number."""
    return [text[:-1] + b"} " for text in texts]


def _pending(nodes: Iterable[NodeTotalsSnapshot]) -> Iterator[MoreSamples]:
    sums: dict[tuple[str, Term], Counts] = {}
    for number, node in enumerate(nodes, 1):
        for row in node.rows():
            if not row.exposed and row.counts != NOTHING:
                key = (row.node, row.term)
                sums[key] = sums.get(key, NOTHING).plus(row.counts)
        if number % _NODES_A_PIECE == 0:
            yield None
    labels = ("node", "term")
    yield MetricSamples(
        Metric("kzn_pending_bytes", "gauge", labels, f"Bytes {_PENDING} ({BYTE})."),
        [(key, counts.bytes) for key, counts in sums.items()],
    )
    yield MetricSamples(
        Metric("kzn_pending_packets", "gauge", labels, f"Packets {_PENDING}."),
        [(key, counts.packets) for key, counts in sums.items()],
    )
