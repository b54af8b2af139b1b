"""A proposal: what was measured, what to change, what that saves, and what could go wrong. Values.

`Draft` is what a rule makes; `evaluate` (evaluate.py) adds the money and makes a `Proposal` of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from kzn.advisor.facts import Party, Window

Verdict = Literal["proposed", "warning", "refused", "leave"]
"""``warning``: with a risk that was found in the numbers. ``refused``: it would not help, or harm;
its saving counts in no sum. ``leave``: nothing is to be changed."""
Confidence = Literal["high", "medium", "low"]
Effort = Literal[1, 2, 3, 4]
EFFORTS: Mapping[int, str] = {
    1: "one field of one object",
    2: "a rollout",
    3: "pods move, or more of them run",
    4: "the application or its configuration changes",
}

SAFE_LOAD = 1.3
"""Above this factor of an endpoint's load a change gets a warning."""
SAFE_ENDPOINTS = 2
"""Endpoints that each zone with clients should have."""


class Move(NamedTuple):
    """Bytes of a flow (by its number) that would stay in their zone; negative: that would cross."""

    flow: int
    bytes: float


@dataclass(frozen=True, slots=True)
class ZoneLoad:
    """A zone before and after: the clients' share of bytes, ready endpoints, and the load of each
    endpoint as a multiple of the mean. ``crossing`` are the bytes of clients there that leave it.
    """

    zone: str
    client_share: float
    endpoints_before: int
    endpoints_after: int
    load_before: float | None
    load_after: float | None
    crossing_before: int
    crossing_after: int


@dataclass(frozen=True, slots=True)
class Change:
    """Commands for a shell, and YAML where a patch is long or an object is new."""

    summary: str
    commands: tuple[str, ...] = ()
    yaml: str = ""


@dataclass(frozen=True, slots=True)
class Draft:
    """What a rule found. ``subject`` is unique within the rule: NAMESPACE/NAME of a Service, the
    `key` of a workload, or those of two with ``~`` between them.

    ``flows`` are the numbers of the flows that were measured for it; ``moves`` what changes.
    ``service`` is NAMESPACE/NAME, empty if it concerns none. ``moved`` runs in another zone
    afterwards, if one does: what others save of its flows is then another sum, so that none of them
    counts beside it.
    """

    subject: str
    title: str
    change: Change
    flows: tuple[int, ...]
    moves: tuple[Move, ...] = ()
    service: str = ""
    workloads: tuple[Party, ...] = ()
    moved: Party | None = None
    verdict: Verdict = "proposed"
    effort: Effort = 1
    zones: tuple[ZoneLoad, ...] = ()
    risks: tuple[str, ...] = ()
    confidence: Confidence = "medium"
    why: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PriceUsed:
    """A price that the saving is reckoned with: what both ends pay for a GB of 2^30 bytes."""

    src_zone: str
    dst_zone: str
    both_per_gib: float
    currency: str
    list: str
    date: str


class Measured(NamedTuple):
    """A client, a server and a port whose flows were measured for a proposal, both directions."""

    client: Party
    server: Party
    port: int
    protocol: str


MAX_MEASURED = 200
"""Most of them that a proposal names, those with most bytes."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A draft with its numbers; amounts of money are by currency.

    ``saved_bytes`` is of the window; the savings are of a month. ``counted`` is the part that no
    proposal before it in the list has already: the sum of all of them is the total. ``pairs`` are
    at most `MAX_MEASURED` of ``all_pairs``.
    """

    rule: str
    draft: Draft
    measured_bytes: int
    crossing_bytes: int
    cost: Mapping[str, float]
    unpriced_bytes: int
    saved_bytes: float
    saved_bytes_per_month: float
    saving_per_month: Mapping[str, float]
    unpriced_saved_bytes: float
    counted_per_month: Mapping[str, float] = field(default_factory=dict)
    counted_bytes_per_month: float = 0.0
    overlaps: tuple[str, ...] = ()
    prices: tuple[PriceUsed, ...] = ()
    verify: str = ""
    window: Window | None = None
    pairs: tuple[Measured, ...] = ()
    all_pairs: int = 0

    @property
    def id(self) -> str:
        """RULE:SUBJECT, the same in every answer as long as the proposal exists."""
        return f"{self.rule}:{self.draft.subject}"

    def to_json(self) -> dict[str, Any]:
        """The object of an answer (docs/api.md)."""
        draft = self.draft
        return {
            "id": self.id,
            "rule": self.rule,
            "title": draft.title,
            "verdict": draft.verdict,
            "service": draft.service,
            "workloads": [
                {
                    "namespace": one.namespace,
                    "workload_kind": one.workload_kind,
                    "workload": one.workload,
                }
                for one in draft.workloads
            ],
            "effort": draft.effort,
            "effort_text": EFFORTS[draft.effort],
            "measured": {
                "bytes": self.measured_bytes,
                "crossing_bytes": self.crossing_bytes,
                "cost": dict(self.cost),
                "unpriced_bytes": self.unpriced_bytes,
            },
            "saved_bytes": round(self.saved_bytes),
            "saved_bytes_per_month": round(self.saved_bytes_per_month),
            "saving_per_month": dict(self.saving_per_month),
            "unpriced_saved_bytes": round(self.unpriced_saved_bytes),
            "counted_per_month": dict(self.counted_per_month),
            "counted_bytes_per_month": round(self.counted_bytes_per_month),
            "overlaps": list(self.overlaps),
            "prices": [
                {
                    "src_zone": one.src_zone,
                    "dst_zone": one.dst_zone,
                    "both_per_gib": one.both_per_gib,
                    "currency": one.currency,
                    "list": one.list,
                    "date": one.date,
                }
                for one in self.prices
            ],
            "change": {
                "summary": draft.change.summary,
                "commands": list(draft.change.commands),
                "yaml": draft.change.yaml,
            },
            "zones": [
                {name: getattr(one, name) for name in ZoneLoad.__slots__} for one in draft.zones
            ],
            "risks": list(draft.risks),
            "confidence": draft.confidence,
            "why": list(draft.why),
            "unknown": list(draft.unknown),
            "verify": self.verify,
            "pairs": [
                {
                    "client": one.client._asdict(),
                    "server": one.server._asdict(),
                    "port": one.port,
                    "protocol": one.protocol,
                }
                for one in self.pairs
            ],
            "all_pairs": self.all_pairs,
            "window": {
                "from": self.window.begin,
                "to": self.window.end,
                "seconds": self.window.seconds,
            }
            if self.window is not None
            else None,
        }
