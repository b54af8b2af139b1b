"""The books of each node: what its hook saw, and where every byte of that went.

seen = attributed + transit + ignored + unresolved + missed + held, in bytes and in packets, at
every moment. Held is what may still be resolved; the others only grow.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from kzn.model.totals import SLOTS, Counts, Totals

Term = Literal["seen", "attributed", "transit", "ignored", "unresolved", "missed"]
TERMS: tuple[Term, ...] = ("seen", "attributed", "transit", "ignored", "unresolved", "missed")

NOT_IN_FLOWS = "not_in_flows"
"""Missed because the agent's totals say that a flow should hold it, and none does."""

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
    """The totals of one node."""

    touched: float = 0.0
    changed: bool = True
    held: Counts = NOTHING
    totals: dict[tuple[Term, str], Counts] = field(default_factory=dict)

    def add(self, term: Term, reason: str, counts: Counts) -> None:
        """Add to one total; a reason appears with its first packet, the rest are always there."""
        if counts != Counts() or not reason:
            self.changed = True
            key = (term, reason)
            self.totals[key] = self.totals.get(key, Counts()).plus(counts)

    def hold(self, counts: Counts, *, release: bool = False) -> None:
        """Move into held, or with ``release`` out of it."""
        self.changed = True
        sign = -1 if release else 1
        self.held = self.held.plus(Counts(sign * counts.packets, sign * counts.bytes))

    def take(self, totals: Totals, accounted: Counts) -> Counts:
        """Enter a buffer's totals, whose flows sum to ``accounted``; returns the mismatch.

        A node whose numbers do not add up must not make these books lie: what no flow holds is
        missed for that reason, and what the flows hold beyond the totals was seen all the same.
        """
        expected = totals.accounted
        gap = Counts(expected.packets - accounted.packets, expected.bytes - accounted.bytes)
        short = Counts(max(gap.packets, 0), max(gap.bytes, 0))
        beyond = Counts(max(-gap.packets, 0), max(-gap.bytes, 0))
        self.add("seen", "", totals.seen.plus(beyond))
        for reason, counts in totals.missed.items():
            self.add("missed", _reason("missed", reason), counts)
        for reason, counts in totals.ignored.items():
            self.add("ignored", _reason("ignored", reason), counts)
        self.add("missed", NOT_IN_FLOWS, short)
        return short.plus(beyond)

    def gap(self) -> Counts:
        """Seen minus all the other terms: zero, unless kzn itself is wrong."""
        sums = {term: Counts() for term in TERMS}
        for (term, _), counts in self.totals.items():
            sums[term] = sums[term].plus(counts)
        rest = self.held
        for term in TERMS[1:]:
            rest = rest.plus(sums[term])
        return Counts(sums["seen"].packets - rest.packets, sums["seen"].bytes - rest.bytes)


class TotalsByNode:
    """The books of at most ``limit`` nodes; further ones share the book of node ``other``."""

    __slots__ = ("_books", "_gone", "_limit")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._gone: list[str] | None = None
        self._books: dict[str, NodeTotals] = {}

    def __len__(self) -> int:
        return len(self._books)

    def of(self, node: str) -> NodeTotals:
        """The book of a node, opened with all its terms at zero."""
        book = self._books.get(node)
        if book is None:
            if len(self._books) >= self._limit:
                node = OTHER_NODE
            book = self._books.setdefault(node, NodeTotals())
            for term in ("seen", "attributed", "transit"):
                book.add(term, "", Counts())
        return book

    def close_idle(self, before: float) -> None:
        """End the books of nodes not heard of since ``before`` that hold nothing."""
        for node in [n for n, b in self._books.items() if b.touched < before]:
            if self._books[node].held == Counts():
                del self._books[node]
                if self._gone is not None:
                    self._gone.append(node)

    def watch(self) -> None:
        """From now on remember what changes until it is asked for."""
        self._gone = []
        for book in self._books.values():
            book.changed = False

    def changed(self) -> tuple[list[str], list[tuple[str, NodeTotals]]]:
        """Nodes whose books were closed, then books that changed, since this was last asked."""
        gone, self._gone = self._gone or [], []
        found = [(node, book) for node, book in self._books.items() if book.changed]
        for _, book in found:
            book.changed = False
        return gone, found

    def items(self) -> Iterator[tuple[str, NodeTotals]]:
        """Node names and their books."""
        yield from self._books.items()

    def rows(self) -> list[NodeTotalRow]:
        """Every total of every node; held, which does not last, is not among them."""
        return [
            NodeTotalRow(node, term, reason, counts)
            for node, book in self._books.items()
            for (term, reason), counts in book.totals.items()
        ]

    def load(self, rows: Iterable[NodeTotalRow], now: float) -> None:
        """Add saved rows."""
        for node, term, reason, counts in rows:
            book = self.of(node)
            book.touched = now
            book.add(term, reason, counts)


def _reason(kind: Literal["missed", "ignored"], reason: str) -> str:
    """A reason that the kernel can give, so that no peer can invent label values."""
    return reason if (kind, reason) in _KERNEL_REASONS else OTHER_REASON
