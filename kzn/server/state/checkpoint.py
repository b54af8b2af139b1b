"""What outlives a server: taken from its ledger, books and sequences, and put back into them.

In: the state of a running server, on its event loop. Out: plain values that any thread may write.
Never: half of a batch; whoever calls `take` between two awaits gets all of it or nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from kzn.model.endpoint import Endpoint
from kzn.model.totals import Counts
from kzn.server.ledger.family import FAMILIES, FamilyChanges, FamilyName, Row
from kzn.server.ledger.labels import LabelOwners, Labels, NameKind
from kzn.server.ledger.ledger import Ledger
from kzn.server.ledger.node_totals import TERMS, NodeTotalRow, NodeTotals, TotalsByNode
from kzn.wire.sequences import AppliedSequences, Key

HELD = "held"
"""The saved term of what was on hold; it comes back as unresolved for `HELD_AT_RESTART`."""
HELD_AT_RESTART = "held_at_restart"

NamedZone = tuple[str, str, str]
"""Region, zone, and the label of both."""


class SavedTotal(NamedTuple):
    """One total of one node; the term may be `HELD`."""

    node: str
    term: str
    reason: str
    packets: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Changes:
    """All that changed between two commits; what is gone is gone before what is written came."""

    families: dict[FamilyName, FamilyChanges]
    owners: dict[NameKind, LabelOwners]
    zones: list[NamedZone]
    removed_nodes: list[str]
    node_totals: list[SavedTotal]
    sequences: dict[Key, int | None]

    @property
    def is_empty(self) -> bool:
        """Nothing happened; sums of a family change with its rows alone."""
        return not (
            any(change.ended or change.rows for change in self.families.values())
            or any(owners.freed or owners.changed for owners in self.owners.values())
            or self.removed_nodes
            or self.node_totals
            or self.sequences
        )


@dataclass(frozen=True, slots=True)
class Saved:
    """All that a state file holds; sequences by age, longest unchanged first."""

    instance: int
    rows: list[Row]
    retired: dict[FamilyName, int]
    owners: list[tuple[NameKind, Labels, Endpoint]]
    zones: list[NamedZone]
    node_totals: list[SavedTotal]
    sequences: list[tuple[Key, int]]


@dataclass(frozen=True, slots=True)
class CheckpointedState:
    """The parts of a server that outlive it."""

    ledger: Ledger
    node_totals: TotalsByNode
    sequences: AppliedSequences

    def restore(self, saved: Saved, now: float) -> None:
        """Put back what was saved, then remember what changes; everything is empty before."""
        names = self.ledger.names
        names.zones.restore(saved.zones)
        for kind, labels, owner in saved.owners:
            names.interners[kind].code(labels, owner)
        self.ledger.load(saved.rows, now, saved.retired)
        self.node_totals.load(_total_rows(saved.node_totals), now)
        self.sequences.restore(saved.sequences)
        self.ledger.watch()
        self.node_totals.watch()
        self.sequences.watch()
        self._end_holding(saved)

    def take(self) -> Changes:
        """What changed since this was last called."""
        names = self.ledger.names
        closed, node_totals = self.node_totals.changed()
        return Changes(
            # Series first: a name whose series ended is still known then.
            families={family: self.ledger.changed(family) for family in FAMILIES},
            owners={kind: interner.changed() for kind, interner in names.interners.items()},
            zones=names.zones.rows(),
            removed_nodes=closed,
            node_totals=[row for node, totals in node_totals for row in _saved(node, totals)],
            sequences=self.sequences.changed(),
        )

    def _end_holding(self, saved: Saved) -> None:
        """Flows on hold died with the process; their bytes are known, and whose they are not."""
        for row in saved.node_totals:
            if row.term == HELD:
                counts = Counts(row.packets, row.bytes)
                self.node_totals.of(row.node).add("unresolved", HELD_AT_RESTART, counts)
                self.node_totals.of(row.node).changed = True


def _total_rows(rows: list[SavedTotal]) -> Iterator[NodeTotalRow]:
    for row in rows:
        for term in TERMS:
            if row.term == term:
                yield NodeTotalRow(row.node, term, row.reason, Counts(row.packets, row.bytes))


def _saved(node: str, totals: NodeTotals) -> Iterator[SavedTotal]:
    yield SavedTotal(node, HELD, "", *totals.held)
    for (term, reason), counts in totals.counts.items():
        yield SavedTotal(node, term, reason, *counts)
