"""A report or a diff as JSON. Pure; the keys are promised (docs/compatibility.md)."""

from typing import Any

from kzn.reports.amounts import Amount
from kzn.reports.report import Line, Report


def report_document(report: Report) -> dict[str, Any]:
    """The object of ``kzn report --format json``."""
    return {
        "period": report.period,
        "from": report.begin,
        "to": report.end,
        "before": report.before,
        "by": report.by,
        "charge": report.charge,
        "currency": report.currency or None,
        "prices": [one._asdict() for one in report.prices],
        "rows": [_line(line) for line in report.lines],
        "other": _line(report.other) if report.other else None,
        "total": _line(report.total),
        "notes": list(report.notes),
    }


def _line(line: Line) -> dict[str, Any]:
    return {
        "name": line.name,
        **amount_document(line.amount),
        "share": line.share,
        "before": None if line.before is None else amount_document(line.before),
        "change": line.change,
        "forecast_crossed_bytes": line.forecast_crossed,
        "forecast_cost": line.forecast_cost,
    }


def amount_document(amount: Amount) -> dict[str, Any]:
    """An amount; ``cost`` by currency, null without prices."""
    return {
        "bytes": amount.bytes,
        "crossed_bytes": amount.crossed,
        "external_bytes": amount.external,
        "unresolved_bytes": amount.unresolved,
        "unpriced_bytes": amount.unpriced,
        "cost": None if amount.cost is None else dict(amount.cost),
    }
