"""The JSON that /api/v1 answers: a snapshot of the ledger and of the nodes' totals. Pure.

Keys and rows are those of kzn.client.api. Lists are sorted by bytes, largest first, and cut at
``limit``. Bytes are L3 bytes on the wire (docs/accuracy.md), since the series began.
"""

import heapq
import json
from operator import attrgetter

from kzn import __version__
from kzn.client import api
from kzn.client.api import MAX_LIMIT, NodeRow, Status, StatusBytes, TopologyStatus
from kzn.errors import UsageError
from kzn.model.totals import Counts
from kzn.server.ledger.family import FAMILIES
from kzn.server.ledger.node_totals import TERMS
from kzn.server.snapshot import ServerSnapshot

DEFAULT_LIMIT = 1000

_LISTS = {family.api_list: family for family in FAMILIES.values() if family.api_list}
TOPICS = ("status", *_LISTS, "nodes")


def answer(topic: str, snapshot: ServerSnapshot, limit: int) -> bytes:
    """The body for one of TOPICS."""
    if topic == "status":
        body = _status(snapshot).to_json()
    elif topic == "nodes":
        nodes = _nodes(snapshot)
        shown = heapq.nlargest(limit, nodes, key=lambda node: node.terms["seen"].bytes)
        body = api.listed(topic, [node.to_json() for node in shown], len(nodes))
    else:
        family, row = _LISTS[topic], api.ROWS[topic]
        rows = [row._make((*labels, total)) for labels, total in snapshot.ledger.rows(family.name)]
        largest = heapq.nlargest(limit, rows, key=attrgetter("bytes"))
        body = api.listed(topic, api.to_objects(row, largest), len(rows))
    return json.dumps(body).encode() + b"\n"


def parse_limit(text: str | None) -> int:
    """The query's limit, at most MAX_LIMIT; UsageError if it is not a number."""
    if text is None:
        return DEFAULT_LIMIT
    if not (text.isascii() and text.isdigit()) or not 0 < len(text) < 10:
        raise UsageError(f"limit {text[:20]!r} is not a number", hint=f"1 to {MAX_LIMIT}")
    return max(1, min(int(text), MAX_LIMIT))


def _nodes(snapshot: ServerSnapshot) -> list[NodeRow]:
    terms = {
        found.node: {term: Counts() for term in TERMS} | {"held": found.held}
        for found in snapshot.nodes
    }
    reasons: dict[str, dict[str, dict[str, int]]] = {node: {} for node in terms}
    for node, term, reason, counts, *_ in snapshot.node_totals:
        terms[node][term] = terms[node][term].plus(counts)
        if reason:
            reasons[node].setdefault(term, {})[reason] = counts.bytes
    return [
        NodeRow(found.node, round(found.age, 3), terms[found.node], reasons[found.node])
        for found in snapshot.nodes
    ]


def _status(snapshot: ServerSnapshot) -> Status:
    sums = {term: Counts() for term in TERMS}
    for row in snapshot.node_totals:
        sums[row.term] = sums[row.term].plus(row.counts)
    return Status(
        version=__version__,
        ready=not snapshot.why_not_ready,
        why_not_ready=snapshot.why_not_ready,
        agents=snapshot.receiver.connections,
        nodes=len(snapshot.nodes),
        batches=snapshot.pipeline.batches,
        flows=snapshot.pipeline.flows,
        duplicates=snapshot.receiver.duplicates,
        refused=dict(snapshot.receiver.refusals),
        bytes=StatusBytes(
            **{term: counts.bytes for term, counts in sums.items()},
            held=sum(row.held.bytes for row in snapshot.nodes),
        ),
        topology=tuple(_source(snapshot, number) for number in range(len(snapshot.sources))),
        instance=f"{snapshot.instance:08x}",
        nodes_known=snapshot.coverage.known,
        nodes_reporting=snapshot.coverage.reporting,
        nodes_without_agent=snapshot.coverage.without_agent,
    )


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
