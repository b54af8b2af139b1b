"""The JSON that /api/v1 answers: the ledger and the books as lists of objects. Pure.

Every answer is an object; lists are sorted by bytes, largest first, and cut at ``limit``, with the
number of all in ``of``. Bytes are L3 bytes on the wire (docs/accuracy.md), since the series began.
"""

import heapq
import json
from collections.abc import Mapping
from operator import itemgetter
from typing import Any

from kzn import __version__
from kzn.errors import UsageError
from kzn.model.totals import Counts
from kzn.server.ledger.family import FAMILIES
from kzn.server.ledger.node_totals import TERMS
from kzn.server.snapshot import ServerSnapshot

MAX_LIMIT = 100_000
DEFAULT_LIMIT = 1000

_LISTS = {family.api_list: family for family in FAMILIES.values() if family.api_list}
TOPICS = ("status", *_LISTS, "nodes")


def answer(topic: str, snapshot: ServerSnapshot, limit: int) -> bytes:
    """The body for one of TOPICS."""
    if topic == "status":
        body: Mapping[str, Any] = _status(snapshot)
    elif topic == "nodes":
        body = _listed("nodes", _nodes(snapshot), limit)
    else:
        family = _LISTS[topic]
        rows = (
            dict(zip(family.labels, labels, strict=True)) | {"bytes": total}
            for labels, total in snapshot.ledger.rows(family.name)
        )
        body = _listed(topic, list(rows), limit)
    return json.dumps(body).encode() + b"\n"


def parse_limit(text: str | None) -> int:
    """The query's limit; UsageError when it is not a number that makes sense."""
    if text is None:
        return DEFAULT_LIMIT
    if not (text.isascii() and text.isdigit()) or not 0 < len(text) < 10:
        raise UsageError(f"limit {text[:20]!r} is not a number", hint=f"1 to {MAX_LIMIT}")
    return max(1, min(int(text), MAX_LIMIT))


def _listed(name: str, rows: list[dict[str, Any]], limit: int) -> dict[str, Any]:
    key = "seen_bytes" if name == "nodes" else "bytes"
    return {name: heapq.nlargest(limit, rows, key=itemgetter(key)), "of": len(rows)}


def _nodes(snapshot: ServerSnapshot) -> list[dict[str, Any]]:
    nodes: dict[str, dict[str, Any]] = {}
    for row in snapshot.nodes:
        empty = {f"{term}_{unit}": 0 for term in TERMS for unit in ("bytes", "packets")}
        nodes[row.node] = {"node": row.node, "seconds_since_batch": round(row.age, 3)} | empty
        nodes[row.node] |= {"held_bytes": row.held.bytes, "held_packets": row.held.packets}
    for node, term, reason, counts in snapshot.node_totals:
        entry = nodes[node]
        entry[f"{term}_bytes"] += counts.bytes
        entry[f"{term}_packets"] += counts.packets
        if reason:
            entry.setdefault(f"{term}_by_reason", {})[reason] = counts.bytes
    return list(nodes.values())


def _status(snapshot: ServerSnapshot) -> dict[str, Any]:
    sums = {term: Counts() for term in TERMS}
    for row in snapshot.node_totals:
        sums[row.term] = sums[row.term].plus(row.counts)
    return {
        "version": __version__,
        "ready": not snapshot.why_not_ready,
        "why_not_ready": snapshot.why_not_ready,
        "agents": snapshot.receiver.connections,
        "nodes": len(snapshot.nodes),
        "batches": snapshot.pipeline.batches,
        "flows": snapshot.pipeline.flows,
        "duplicates": snapshot.receiver.duplicates,
        "refused": dict(snapshot.receiver.refusals),
        "bytes": {
            **{term: counts.bytes for term, counts in sums.items()},
            "held": sum(row.held.bytes for row in snapshot.nodes),
        },
        "topology": [_source(snapshot, number) for number in range(len(snapshot.sources))],
    }


def _source(snapshot: ServerSnapshot, number: int) -> dict[str, Any]:
    source = snapshot.sources[number]
    counts = source.stats.counts
    return {
        "source": source.name,
        "ready": source.is_ready,
        "nodes": counts.nodes,
        "pods": counts.pods,
        "networks": counts.networks,
        "staleness_seconds": {r.resource: round(r.staleness, 3) for r in source.stats.resources},
    }
