"""The totals of each node: what its hook saw, and where every byte of that went.

seen = attributed + transit + ignored + unresolved + missed + held, in bytes and in packets, at
every moment. Held is in the retry queue; the other terms only grow.

A new total is exposed at 0 until `TotalsByNode.expose` (first_scrape.py): until then its counts are
pending.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from kzn.model.totals import SLOTS, Counts, Totals

Term = Literal["seen", "attributed", "transit", "ignored", "unresolved", "missed"]
TERMS: tuple[Term, ...] = ("seen", "attributed", "transit", "ignored", "unresolved", "missed")

TotalKey = tuple[Term, str]

NOT_IN_FLOWS = "not_in_flows"
"""Missed: in the totals of the batch and in none of its flows."""

ERROR = "error"
"""Unresolved: an error in kzn; the flows were held, so that the agent does not send them again."""

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
    exposed: bool = True
    """False while it is exposed at 0 (first_scrape.py)."""
    created: float = 0.0
    """When it began, in Unix time; 0 if that is unknown."""


@dataclass(slots=True)
class NodeTotals:
    """The totals of one node; ``touched`` is when its last batch came, on the caller's clock."""

    touched: float = 0.0
    now: float = 0.0
    """The caller's time, at which new totals begin."""
    holds: bool = False
    epoch: float = 0.0
    changed: bool = True
    copied: "NodeTotalsSnapshot | None" = None
    """The last snapshot, None once it is out of date."""
    held: Counts = NOTHING
    counts: dict[TotalKey, Counts] = field(default_factory=dict)
    """By term and reason; the reason is empty where a term has none."""
    created: dict[TotalKey, float] = field(default_factory=dict)
    """When each total began, in Unix time."""
    pending: dict[TotalKey, float] = field(default_factory=dict)
    """When each total that is exposed at 0 began, on the caller's clock."""

    def add(self, term: Term, reason: str, counts: Counts) -> None:
        """Add to one total; a total with a reason is there from its first packet on."""
        if counts != Counts() or not reason:
            self.changed, self.copied = True, None
            key = (term, reason)
            known = self.counts.get(key)
            if known is None:
                self._begin(key)
            self.counts[key] = counts if known is None else known.plus(counts)

    def _begin(self, key: TotalKey) -> None:
        self.created[key] = self.now + self.epoch
        if self.holds:
            self.pending[key] = self.now

    def expose(self, begun_before: float) -> None:
        """Expose the totals that began before that time."""
        for key in [key for key, began in self.pending.items() if began < begun_before]:
            del self.pending[key]
            self.changed, self.copied = True, None

    def load(self, row: NodeTotalRow) -> None:
        """Add a saved total; if it was exposed it is so again."""
        self.add(row.term, row.reason, row.counts)
        key = (row.term, row.reason)
        self.created[key] = row.created
        if row.exposed:
            self.pending.pop(key, None)

    def hold(self, counts: Counts) -> None:
        """Add to held."""
        self.changed, self.copied = True, None
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
        for reason, counts in totals.missed.items():
            self.add("missed", _known_reason("missed", reason), counts)
        for reason, counts in totals.ignored.items():
            self.add("ignored", _known_reason("ignored", reason), counts)
        if expected == accounted:
            self.add("seen", "", totals.seen)
            return NOTHING
        gap = Counts(expected.packets - accounted.packets, expected.bytes - accounted.bytes)
        short = Counts(max(gap.packets, 0), max(gap.bytes, 0))
        beyond = Counts(max(-gap.packets, 0), max(-gap.bytes, 0))
        self.add("seen", "", totals.seen.plus(beyond))
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


class NodeTotalsSnapshot(NamedTuple):
    """A copy of the totals of one node, whose rows any thread may make.

    The rows of 5,000 nodes take 29 ms, and so would copies of all; a node that has not changed
    since the last snapshot is in the next one as it is.
    """

    node: str
    held: Counts
    touched: float
    counts: Mapping[TotalKey, Counts]
    pending: frozenset[TotalKey]
    created: Mapping[TotalKey, float]

    def bytes_of(self, term: Term) -> int:
        """The bytes of a term, over its reasons."""
        return sum(counts.bytes for (found, _), counts in self.counts.items() if found == term)

    def rows(self) -> Iterator[NodeTotalRow]:
        """Every total except held."""
        for key, counts in self.counts.items():
            yield NodeTotalRow(self.node, *key, counts, key not in self.pending, self.created[key])


class TotalsByNode:
    """The totals of at most ``limit`` nodes; further nodes share those of node ``other``.

    With ``holds`` a new total is exposed at 0 until `expose`; ``epoch`` is what to add to the
    caller's clock to get Unix time.
    """

    __slots__ = ("_epoch", "_holds", "_limit", "_nodes", "_removed")

    def __init__(self, limit: int, *, holds: bool = False, epoch: float = 0.0) -> None:
        self._limit = limit
        self._holds = holds
        self._epoch = epoch
        self._removed: list[str] | None = None
        self._nodes: dict[str, NodeTotals] = {}

    def __len__(self) -> int:
        return len(self._nodes)

    def of(self, node: str, now: float = 0.0) -> NodeTotals:
        """The totals of a node; new ones start with the terms without reasons at zero."""
        totals = self._nodes.get(node)
        if totals is None:
            if len(self._nodes) >= self._limit:
                node = OTHER_NODE
            new = NodeTotals(holds=self._holds, epoch=self._epoch)
            totals = self._nodes.setdefault(node, new)
            totals.now = now
            for term in ("seen", "attributed", "transit"):
                totals.add(term, "", Counts())
        totals.now = now
        return totals

    def expose(self, begun_before: float) -> None:
        """Expose the totals that began before that time."""
        for totals in self._nodes.values():
            # The first one began first: a tick looks at no others until that is due.
            if totals.pending and next(iter(totals.pending.values())) < begun_before:
                totals.expose(begun_before)

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
            NodeTotalRow(node, *key, counts, key not in totals.pending, totals.created[key])
            for node, totals in self._nodes.items()
            for key, counts in totals.counts.items()
        ]

    def snapshot(self) -> tuple[NodeTotalsSnapshot, ...]:
        """A copy that any thread may read."""
        return tuple([_copy(node, totals) for node, totals in self._nodes.items()])

    def load(self, rows: Iterable[NodeTotalRow], now: float) -> None:
        """Add saved rows."""
        for row in rows:
            totals = self.of(row.node, now)
            totals.touched = now
            totals.load(row)


def _copy(node: str, totals: NodeTotals) -> NodeTotalsSnapshot:
    copied = totals.copied
    if copied is None or copied.touched != totals.touched:
        copied = totals.copied = NodeTotalsSnapshot(
            node,
            totals.held,
            totals.touched,
            totals.counts.copy(),
            frozenset(totals.pending),
            totals.created.copy(),
        )
    return copied


def _known_reason(kind: Literal["missed", "ignored"], reason: str) -> str:
    """``reason`` if a kernel can give it, else other: no agent can make up label values."""
    return reason if (kind, reason) in _KERNEL_REASONS else OTHER_REASON
