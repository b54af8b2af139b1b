"""The metrics of traffic: the families of the ledger, and the terms of each node's identity."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain

from kzn.daemon.metrics import BYTE, Metric, MetricSamples
from kzn.model.totals import Counts
from kzn.server.ledger.family import FAMILIES, Unit
from kzn.server.ledger.node_totals import NOTHING, TERMS, NodeTotalRow, Term
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
_NODES_A_PAUSE = 256
_HELD = "of flows in the retry queue, which are in no other term"
_PENDING = "of a term that are in none of its counters yet: the counter is still exposed at 0"
_WITH_REASON: frozenset[Term] = frozenset({"ignored", "unresolved", "missed"})


def node_metrics(
    snapshot: ServerSnapshot, pause: Callable[[], object] = lambda: None
) -> Iterator[MetricSamples]:
    """The terms of each node's identity, and what of them is still exposed at 0.

    ``pause`` is called every few milliseconds while rows are gathered.
    """
    rows: dict[Term, list[NodeTotalRow]] = {term: [] for term in TERMS}
    for number, totals in enumerate(snapshot.totals, 1):
        for row in totals.rows():
            rows[row.term].append(row)
        if number % _NODES_A_PAUSE == 0:
            pause()
    for term in TERMS:
        yield from _of_term(term, rows[term])
        pause()
    yield from _pending(chain.from_iterable(rows.values()))
    yield MetricSamples(
        Metric("kzn_held_bytes", "gauge", ("node",), f"Bytes {_HELD} ({BYTE})."),
        [((one.node,), one.held.bytes) for one in snapshot.totals],
    )
    yield MetricSamples(
        Metric("kzn_held_packets", "gauge", ("node",), f"Packets {_HELD}."),
        [((one.node,), one.held.packets) for one in snapshot.totals],
    )


def age_metrics(snapshot: ServerSnapshot) -> Iterator[MetricSamples]:
    """The age of each node's last batch; it ends with the node, unlike the terms above."""
    text = "Seconds since the last batch of a node that exists and should send some."
    yield MetricSamples(
        Metric("kzn_node_batch_age_seconds", "gauge", ("node",), text),
        [((node,), round(age, 3)) for node, age in snapshot.batch_ages],
    )


def _of_term(term: Term, found: Sequence[NodeTotalRow]) -> Iterator[MetricSamples]:
    labels = ("node", "reason") if term in _WITH_REASON else ("node",)
    rows = [
        ((row.node, row.reason)[: len(labels)], row.counts if row.exposed else NOTHING)
        for row in found
    ]
    created = [row.created for row in found]
    yield MetricSamples(
        Metric(f"kzn_{term}_bytes_total", "counter", labels, f"Bytes {_TERMS[term]} ({BYTE})."),
        [(values, counts.bytes) for values, counts in rows],
        created,
    )
    yield MetricSamples(
        Metric(f"kzn_{term}_packets_total", "counter", labels, f"Packets {_TERMS[term]}."),
        [(values, counts.packets) for values, counts in rows],
        created,
    )


def _pending(totals: Iterable[NodeTotalRow]) -> Iterator[MetricSamples]:
    sums: dict[tuple[str, Term], Counts] = {}
    for row in totals:
        if not row.exposed and row.counts != NOTHING:
            key = (row.node, row.term)
            sums[key] = sums.get(key, NOTHING).plus(row.counts)
    labels = ("node", "term")
    yield MetricSamples(
        Metric("kzn_pending_bytes", "gauge", labels, f"Bytes {_PENDING} ({BYTE})."),
        [(key, counts.bytes) for key, counts in sums.items()],
    )
    yield MetricSamples(
        Metric("kzn_pending_packets", "gauge", labels, f"Packets {_PENDING}."),
        [(key, counts.packets) for key, counts in sums.items()],
    )
