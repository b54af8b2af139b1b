"""The page /api/v1/advice: what would end traffic between zones, and what that saves.

In: an `Adviser`, a window and filters. Out: proposals as JSON. Never: a sum of other proposals than
those that the filters leave.
"""

import asyncio
import math
from dataclasses import replace
from typing import Any

import msgspec

from kzn.advisor.evaluate import Advice, largest
from kzn.advisor.proposal import Proposal
from kzn.client.explain import timestamp
from kzn.client.traffic import parse_since
from kzn.daemon.http.body import body_of
from kzn.daemon.http.messages import JSON, Request, Response, Route
from kzn.errors import UsageError
from kzn.server.advice import Adviser

PARAMETERS = frozenset({"since", "service", "workload", "rule", "min_saving", "limit", "id"})
MAX_LIMIT = 1_000
_NO_STORE = (("cache-control", "no-store"),)


class AdvicePage:
    """The route of one adviser."""

    def __init__(self, adviser: Adviser) -> None:
        self._adviser = adviser

    def routes(self) -> dict[str, Route]:
        """The page by its path."""
        return {"/api/v1/advice": Route(self._advice, PARAMETERS)}

    async def _advice(self, request: Request) -> Response:
        since, limit = request.one("since"), _number(request.one("limit"), "limit", MAX_LIMIT)
        least = _number(request.one("min_saving"), "min_saving", 1e12)
        if limit is not None and limit != int(limit):
            raise UsageError("limit is a whole number")
        seconds = parse_since(since) if since is not None else None
        identity = request.one("id") or ""
        advice = await self._adviser.advice(seconds)
        if identity:
            advice = self._only(advice, identity)
        found = filtered(
            advice,
            service=request.one("service") or "",
            workload=request.one("workload") or "",
            rule=request.one("rule") or "",
            min_saving=least or 0.0,
        )
        shown = MAX_LIMIT if limit is None else int(limit)
        rules = [(rule.name, rule.signature) for rule in self._adviser.rules]
        document = await asyncio.to_thread(document_of, found, rules, shown)
        body = body_of([msgspec.json.encode(document), b"\n"], tagged=True)
        return Response(body, content_type=JSON, headers=_NO_STORE)

    def _only(self, advice: Advice, identity: str) -> Advice:
        """One proposal: as it is made now, else as it was when it was made last."""
        found = tuple(one for one in advice.proposals if one.id == identity)
        notes = advice.notes
        if not found and (last := self._adviser.made_last(identity)) is not None:
            found = (last,)
            until = timestamp(last.window.end) if last.window is not None else "earlier"
            notes = (*notes, f"this proposal is not made any more, the last time {until}")
        return _with(replace(advice, notes=notes), found)


def filtered(
    advice: Advice, *, service: str, workload: str, rule: str, min_saving: float
) -> Advice:
    """The advice with the proposals that all filters accept, and their sums.

    ``service`` and ``workload`` are NAME or NAMESPACE/NAME, ``min_saving`` is money a month.
    """
    kept = tuple(
        one
        for one in advice.proposals
        if (not service or service in _names_of_service(one))
        and (not workload or workload in _names_of_workloads(one))
        and rule in ("", one.rule)
        and (not min_saving or largest(one.saving_per_month) >= min_saving)
    )
    return advice if len(kept) == len(advice.proposals) else _with(advice, kept)


def _with(advice: Advice, kept: tuple[Proposal, ...]) -> Advice:
    """The advice with these proposals alone."""
    total: dict[str, float] = {}
    for one in kept:
        for currency, amount in one.counted_per_month.items():
            total[currency] = total.get(currency, 0.0) + amount
    return replace(
        advice,
        proposals=kept,
        of=len(kept),
        total_per_month=total,
        total_bytes_per_month=sum(one.counted_bytes_per_month for one in kept),
    )


def document_of(advice: Advice, rules: list[tuple[str, str]], limit: int) -> dict[str, Any]:
    """The object of an answer (docs/api.md)."""
    window = advice.window
    named = {one.rule for one in advice.proposals}
    return {
        "window": {"from": window.begin, "to": window.end, "seconds": window.seconds},
        "saving_per_month": dict(advice.total_per_month),
        "saved_bytes_per_month": round(advice.total_bytes_per_month),
        "proposals": [one.to_json() for one in advice.proposals[:limit]],
        "of": advice.of,
        "rules": [
            {
                "rule": name,
                "signature": signature,
                "found": name in named,
                "error": advice.failed.get(name, ""),
            }
            for name, signature in rules
        ],
        "missing": [{"fact": name, "why": why} for name, why in sorted(advice.missing.items())],
        "unseen_bytes": advice.unseen_bytes,
        "notes": list(advice.notes),
    }


def _names_of_service(one: Proposal) -> tuple[str, ...]:
    name = one.draft.service
    return (name, name.rpartition("/")[2]) if name else ()


def _names_of_workloads(one: Proposal) -> set[str]:
    return {name for party in one.draft.workloads for name in (str(party), party.workload)}


def _number(text: str | None, name: str, most: float) -> float | None:
    if text is None:
        return None
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not 0 <= found <= most:
        raise UsageError(f"{name} {text[:40]!r} is out of range", hint=f"0 to {most:.0f}")
    return found
