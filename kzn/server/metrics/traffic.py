"""The metrics of traffic: the four families of the ledger, and the identity of each node."""

from collections.abc import Iterable, Iterator

from kzn.server.ledger.family import FAMILIES
from kzn.server.ledger.node_totals import TERMS, Term
from kzn.server.metrics.declaration import BYTE, Sample, Spec
from kzn.server.snapshot import ServerSnapshot

_TERMS: dict[Term, str] = {
    "seen": "that the hook of the node saw",
    "attributed": "of flows that were attributed to their endpoints",
    "transit": "of flows that the node of their source counts",
    "ignored": "that cannot matter, by reason",
    "unresolved": "of flows whose endpoints or zones could not be told, by reason",
    "missed": "that were seen and are in no flow, by reason",
}
_WITH_REASON: frozenset[Term] = frozenset({"ignored", "unresolved", "missed"})

FAMILY_SPECS = {
    family.name: Spec(family.metric, "counter", family.labels, f"{family.help} ({BYTE}).")
    for family in FAMILIES.values()
}


def _term_labels(term: Term) -> tuple[str, ...]:
    return ("node", "reason") if term in _WITH_REASON else ("node",)


def books(snapshot: ServerSnapshot) -> Iterator[tuple[Spec, Iterable[Sample]]]:
    """The terms of each node's identity with their samples."""
    for term in TERMS:
        yield from _of_term(term, snapshot)
    held = "of flows that may still be resolved; they are in no other term meanwhile"
    yield (
        Spec("kzn_held_bytes", "gauge", ("node",), f"Bytes {held} ({BYTE})."),
        [((row.node,), row.held.bytes) for row in snapshot.nodes],
    )
    yield (
        Spec("kzn_held_packets", "gauge", ("node",), f"Packets {held}."),
        [((row.node,), row.held.packets) for row in snapshot.nodes],
    )


def _of_term(term: Term, snapshot: ServerSnapshot) -> Iterator[tuple[Spec, Iterable[Sample]]]:
    labels = _term_labels(term)
    rows = [
        ((row.node, row.reason)[: len(labels)], row.counts)
        for row in snapshot.books
        if row.term == term
    ]
    yield (
        Spec(f"kzn_{term}_bytes_total", "counter", labels, f"Bytes {_TERMS[term]} ({BYTE})."),
        [(values, counts.bytes) for values, counts in rows],
    )
    yield (
        Spec(f"kzn_{term}_packets_total", "counter", labels, f"Packets {_TERMS[term]}."),
        [(values, counts.packets) for values, counts in rows],
    )
