"""A diff as text for a terminal and as JSON. Pure."""

from typing import Any

from kzn.client.advice import Proposed
from kzn.client.explain import timestamp
from kzn.reports.amounts import printable
from kzn.reports.comparison.diff import Change, Diff, Pods, Rate, verdict
from kzn.reports.comparison.rolled_out import as_json, as_lines
from kzn.reports.comparison.window import Window
from kzn.reports.numbers import money, share, size


def as_text(diff: Diff) -> str:
    """The verdict on all, a table, the pods by zone, and what limits the comparison."""
    head = [diff.by, "an hour before", "crossed", "after", "crossed", "by load", "by routing"]
    head += [f"{diff.currency} a month"] if diff.currency else []
    rows = [head]
    lines = [*diff.changes, *([diff.other] if diff.other else []), diff.total]
    rows += [_cells(one, diff.currency) for one in lines]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = [
        "  ".join(
            [row[0].ljust(widths[0])]
            + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        )
        for row in rows
    ]
    table.insert(len(table) - 1, "-" * max(map(len, table)))
    parts = [f"before: {_span(diff.before)}", f"after:  {_span(diff.after)}", ""]
    parts += [verdict(diff.total)]
    if diff.proposal is not None:
        parts += prediction(diff.proposal, diff.total)
    parts += ["", *table]
    if diff.pods is not None:
        parts += ["", *_pods(diff.pods)]
    if diff.rolled_out is not None and (texts := list(as_lines(diff.rolled_out))):
        parts += ["", *texts]
    if diff.notes:
        parts += ["", *diff.notes]
    return "\n".join(parts)


def prediction(proposal: Proposed, total: Change) -> list[str]:
    """What the proposal said, and what came of it; shares, as load may have changed, too."""
    return [
        f"{printable(proposal.title)} [{printable(proposal.id)}]",
        f"predicted: {share(proposal.share_before)} crossed when it was measured,"
        f" {share(proposal.share_predicted)} after the change; measured after:"
        f" {share(total.after.share)}",
    ]


def _cells(change: Change, currency: str) -> list[str]:
    then, now = change.before, change.after
    cells = [change.name, size(then.bytes), share(then.share), size(now.bytes), share(now.share)]
    cells += [_signed(change.by_load), _signed(change.by_routing)]
    if currency:
        cells.append(f"{money(then.money(currency))} > {money(now.money(currency))}")
    return cells


def _signed(count: float) -> str:
    return "0 B" if not round(count) else ("+" if count > 0 else "-") + size(abs(count))


def _pods(pods: Pods) -> list[str]:
    zones = sorted({*pods.before, *pods.after})
    return [
        "pods that received: "
        + ", ".join(
            f"{zone or '(no zone)'} {pods.before.get(zone, 0)} > {pods.after.get(zone, 0)}"
            for zone in zones
        )
    ]


def _span(window: Window) -> str:
    return f"{timestamp(window.begin)} to {timestamp(window.end)}"


def document(diff: Diff) -> dict[str, Any]:
    """The object of ``kzn diff --json``. Rates are of an hour, costs of a month."""
    return {
        "before": {"from": diff.before.begin, "to": diff.before.end},
        "after": {"from": diff.after.begin, "to": diff.after.end},
        "by": diff.by,
        "currency": diff.currency or None,
        "prices": [one._asdict() for one in diff.prices],
        "rows": [_change(one) for one in diff.changes],
        "other": _change(diff.other) if diff.other else None,
        "total": _change(diff.total),
        "pods": None
        if diff.pods is None
        else {"before": dict(diff.pods.before), "after": dict(diff.pods.after)},
        "verdict": verdict(diff.total),
        "notes": list(diff.notes),
        "proposal": None if diff.proposal is None else _proposal(diff.proposal),
        "rollouts": None if diff.rolled_out is None else as_json(diff.rolled_out),
    }


def _proposal(one: Proposed) -> dict[str, Any]:
    return {
        "id": one.id,
        "title": one.title,
        "is_made": one.is_made,
        "measured": {"from": one.begin, "to": one.end},
        "share": one.share_before,
        "predicted_share": one.share_predicted,
    }


def _change(change: Change) -> dict[str, Any]:
    return {
        "name": change.name,
        "before": _rate(change.before),
        "after": _rate(change.after),
        "crossed_by_load": change.by_load,
        "crossed_by_routing": change.by_routing,
    }


def _rate(rate: Rate) -> dict[str, Any]:
    return {
        "bytes_per_hour": rate.bytes,
        "crossed_bytes_per_hour": rate.crossed,
        "share": rate.share,
        "cost_per_month": None if rate.cost is None else dict(rate.cost),
        "unpriced_bytes_per_hour": rate.unpriced,
    }
