"""The newest reading as JSON: what the screen shows, with all rows and exact numbers. Pure."""

from dataclasses import asdict
from typing import Any

from kzn.top.history import Amount, History, SortKey, ordered


def document(history: History, sort: SortKey) -> dict[str, Any]:
    """The newest reading, with rates over the window."""
    status = history.last.status
    return {
        "version": status.version,
        "ready": not status.why_not_ready,
        "agents": status.agents,
        "nodes": status.nodes,
        "nodes_known": status.nodes_known,
        "nodes_reporting": status.nodes_reporting,
        "seen_bytes": status.bytes.seen,
        "unresolved_bytes": status.bytes.unresolved,
        "missed_bytes": status.bytes.missed,
        "rate_seconds": round(history.seconds, 3),
        "proposals": status.proposals,
        "saving_per_month": dict(status.saving_per_month),
        "prices": [asdict(one) for one in status.prices],
        "zones": [
            {"src_zone": key.src, "dst_zone": key.dst, "class": key.traffic_class}
            | _numbers(amount)
            for key, amount in ordered(history.zones(), sort)
        ],
        "workloads": [
            {"namespace": key.namespace, "workload_kind": key.kind, "workload": key.name}
            | _numbers(amount)
            for key, amount in ordered(history.listed_workloads(sort), sort)
        ],
        "pairs": [
            {
                "src_namespace": key.src_namespace,
                "src_workload": key.src,
                "src_zone": key.src_zone,
                "dst_namespace": key.dst_namespace,
                "dst_workload": key.dst,
                "dst_zone": key.dst_zone,
            }
            | _numbers(amount)
            for key, amount in ordered(history.pairs(), sort)
        ],
    }


def _numbers(amount: Amount) -> dict[str, Any]:
    rate = None if amount.rate is None else round(amount.rate, 1)
    cost = amount.cost
    return {
        "bytes": amount.total,
        "bytes_per_second": rate,
        "cost": dict(cost.total) if cost else {},
        "cost_per_month": dict(cost.month) if cost and cost.month is not None else None,
        "has_unpriced_bytes": cost.unpriced if cost else None,
    }
