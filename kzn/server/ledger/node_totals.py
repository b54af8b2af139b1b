"""The totals of each node: what its hook saw, and where every byte of that went.

seen = attributed + transit + ignored + unresolved + missed + held, in bytes and in packets, at
every moment. Held is in the retry queue; the other terms only grow.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from kzn.model.totals import SLOTS, Counts, Totals

Term = Literal["seen", "attributed", "transit", "ignored", "unresolved", "missed"]
TERMS: tuple[Term, ...] = ("seen", "attributed", "transit", "ignored", "unresolved", "missed")

NOT_IN_FLOWS = "not_in_flows"
"""Missed: in the totals of the batch and in none of its flows."""

OTHER_NODE = "other"
OTHER_REASON = "other"
NOTHING = Counts()
_KERNEL_REASONS = frozenset((slot.kind, slot.reason) for slot in SLOTS)


class NodeTotalRow(NamedTuple):
    """One total of one node, as it is exposed and saved."""

    node: str
    term: Term
    reason: str
    counts: Counts


@dataclass(slots=True)
class NodeTotals:
    """The totals of one node; ``touched`` is when its last batch came, on the caller's clock."""

    touched: float = 0.0
    changed: bool = True
    held: Counts = NOTHING
    counts: dict[tuple[Term, str], Counts] = field(default_factory=dict)
    """By term and reason; the reason is empty where a term has none."""

    def add(self, term: Term, reason: str, counts: Counts) -> None:
        """Add to one total; a total with a reason is there from its first packet on."""
        if counts != Counts() or not reason:
            self.changed = True
            key = (term, reason)
            self.counts[key] = self.counts.get(key, Counts()).plus(counts)

    def hold(self, counts: Counts) -> None:
        """Add to held."""
        self.changed = True
        self.held = self.held.plus(counts)

    def release(self, counts: Counts) -> None:
        """Subtract from held."""
        self.hold(Counts(-counts.packets, -counts.bytes))

    def add_batch(self, totals: Totals, accounted: Counts) -> Counts:
        """Add a batch's totals, whose flows sum to ``accounted``; returns the mismatch.

        The identity holds even if an agent's numbers do not add up: bytes of the totals that no
        flow holds are missed, bytes of flows beyond the totals are added to seen.
        """
        expected = totals.accounted
        gap = Counts(expected.packets - accounted.packets, expected.bytes - accounted.bytes)
        short = Counts(max(gap.packets, 0), max(gap.bytes, 0))
        beyond = Counts(max(-gap.packets, 0), max(-gap.bytes, 0))
        self.add("seen", "", totals.seen.plus(beyond))
        for reason, counts in totals.missed.items():
            self.add("missed", _known_reason("missed", reason), counts)
        for reason, counts in totals.ignored.items():
            self.add("ignored", _known_reason("ignored", reason), counts)
        self.add("missed", NOT_IN_FLOWS, short)
        return short.plus(beyond)

    def gap(self) -> Counts:
        """Seen minus all the other terms: zero, unless kzn has a defect."""
        sums = {term: Counts() for term in TERMS}
        for (term, _), counts in self.counts.items():
            sums[term] = sums[term].plus(counts)
        rest = self.held
        for term in TERMS[1:]:
            rest = rest.plus(sums[term])
        return Counts(sums["seen"].packets - rest.packets, sums["seen"].bytes - rest.bytes)


class TotalsByNode:
    """The totals of at most ``limit`` nodes; further nodes share those of node ``other``."""

    __slots__ = ("_limit", "_nodes", "_removed")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._removed: list[str] | None = None
        self._nodes: dict[str, NodeTotals] = {}

    def __len__(self) -> int:
        return len(self._nodes)

    def of(self, node: str) -> NodeTotals:
        """The totals of a node; new ones start with the terms without reasons at zero."""
        totals = self._nodes.get(node)
        if totals is None:
            if len(self._nodes) >= self._limit:
                node = OTHER_NODE
            totals = self._nodes.setdefault(node, NodeTotals())
            for term in ("seen", "attributed", "transit"):
                totals.add(term, "", Counts())
        return totals

    def remove_idle(self, before: float) -> None:
        """Remove nodes that were last touched before ``before`` and hold nothing."""
        for node in [n for n, totals in self._nodes.items() if totals.touched < before]:
            if self._nodes[node].held == Counts():
                del self._nodes[node]
                if self._removed is not None:
                    self._removed.append(node)

    def watch(self) -> None:
        """Record changes from now on, for `changed`."""
        self._removed = []
        for totals in self._nodes.values():
            totals.changed = False

    def changed(self) -> tuple[list[str], list[tuple[str, NodeTotals]]]:
        """Nodes removed, then totals changed, since the last call."""
        removed, self._removed = self._removed or [], []
        found = [(node, totals) for node, totals in self._nodes.items() if totals.changed]
        for _, totals in found:
            totals.changed = False
        return removed, found

    def items(self) -> Iterator[tuple[str, NodeTotals]]:
        """Node names and their totals."""
        yield from self._nodes.items()

    def rows(self) -> list[NodeTotalRow]:
        """Every total of every node except held."""
        return [
            NodeTotalRow(node, term, reason, counts)
            for node, totals in self._nodes.items()
            for (term, reason), counts in totals.counts.items()
        ]

    def load(self, rows: Iterable[NodeTotalRow], now: float) -> None:
        """Add saved rows."""
        for node, term, reason, counts in rows:
            totals = self.of(node)
            totals.touched = now
            totals.add(term, reason, counts)


def _known_reason(kind: Literal["missed", "ignored"], reason: str) -> str:
    """``reason`` if a kernel can give it, else other: no agent can make up label values."""
    return reason if (kind, reason) in _KERNEL_REASONS else OTHER_REASON
