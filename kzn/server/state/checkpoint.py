"""The state that survives a restart: read from the ledger, node totals and sequences, and restored.

In: the state of a running server, on its event loop. Out: plain values that any thread can write.
Never: part of a batch: `take` does not await.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from kzn.model.endpoint import Endpoint
from kzn.model.totals import Counts
from kzn.server.ledger.family import FAMILIES, FamilyChanges, FamilyName, Row
from kzn.server.ledger.labels import LabelKind, LabelOwners, Labels
from kzn.server.ledger.ledger import Ledger
from kzn.server.ledger.node_totals import TERMS, NodeTotalRow, NodeTotals, TotalsByNode
from kzn.server.resolve.reporting import HeardNode, ReportingNodes
from kzn.server.settled_totals import SettledRow, SettledTotals
from kzn.topology.rollouts import LogChanges, Rollout, Rollouts, Watched
from kzn.wire.sequences import AppliedSequences, Key

HELD = "held"
"""Saved term of the flows in the retry queue; restored as unresolved, reason `HELD_AT_RESTART`."""
HELD_AT_RESTART = "held_at_restart"
SETTLED = "settled"
"""Saved term of the sums of `SettledTotals`, with the class as reason and no node. Servers that do
not know a term ignore its rows."""

NamedZone = tuple[str, str, str]
"""Region, zone, and the label of both."""


class SavedTotal(NamedTuple):
    """One total of one node; the term may be `HELD`."""

    node: str
    term: str
    reason: str
    packets: int
    bytes: int
    exposed: bool = True
    created: float = 0.0


@dataclass(frozen=True, slots=True)
class Changes:
    """Everything that changed between two commits; deletions come before writes of the same key."""

    families: dict[FamilyName, FamilyChanges]
    owners: dict[LabelKind, LabelOwners]
    zones: list[NamedZone]
    removed_nodes: list[str]
    node_totals: list[SavedTotal]
    sequences: dict[Key, int | None]
    forgotten: list[str] = field(default_factory=list)
    heard: list[HeardNode] = field(default_factory=list)
    rollouts: LogChanges | None = None

    @property
    def is_empty(self) -> bool:
        """True if there is nothing to write; ``retired`` changes only with ``ended``."""
        return not (
            any(
                change.ended or len(change.rows) or change.other_changed
                for change in self.families.values()
            )
            or any(owners.freed or owners.changed for owners in self.owners.values())
            or self.removed_nodes
            or self.node_totals
            or self.sequences
            or self.heard
            or self.forgotten
            or (self.rollouts and (self.rollouts.removed or self.rollouts.rollouts))
        )


@dataclass(frozen=True, slots=True)
class Saved:
    """The contents of a state file; sequences in order of their last change, oldest first."""

    instance: int
    rows: list[Row]
    retired: dict[FamilyName, int]
    owners: list[tuple[LabelKind, Labels, Endpoint]]
    zones: list[NamedZone]
    node_totals: list[SavedTotal]
    sequences: list[tuple[Key, int]]
    heard: list[HeardNode] = field(default_factory=list)
    rollouts: Mapping[str, Rollout] = field(default_factory=dict)
    watched: Watched | None = None


@dataclass(frozen=True, slots=True)
class CheckpointedState:
    """The parts of a server that survive a restart."""

    ledger: Ledger
    node_totals: TotalsByNode
    sequences: AppliedSequences
    reporting: ReportingNodes | None = None
    epoch: float = 0.0
    """Unix time minus the clock of ``now``."""
    settle: Callable[[], None] = lambda: None
    """Prices what was counted: saved bytes have their cost."""
    settled: SettledTotals | None = None
    """The history's side of the ledger; None without a history, and what is saved stays."""
    rollouts: Rollouts | None = None
    """The log of changes; None without Kubernetes, and what is saved stays."""

    def restore(self, saved: Saved, now: float) -> None:
        """Restore ``saved`` into an empty state, then track changes for `take`."""
        codes = self.ledger.label_codes
        codes.zones.restore(saved.zones)
        for kind, labels, owner in saved.owners:
            codes.owned[kind].code(labels, owner)
        self.ledger.load(saved.rows, now, saved.retired)
        self.node_totals.load(_total_rows(saved.node_totals), now)
        self.sequences.restore(saved.sequences)
        if self.reporting is not None:
            self.reporting.restore(saved.heard, now, self.epoch)
        if self.settled is not None:
            self.settled.restore(
                SettledRow(row.reason, row.packets, row.bytes)
                for row in saved.node_totals
                if row.term == SETTLED
            )
        if self.rollouts is not None:
            self.rollouts.restore(saved.rollouts, saved.watched)
        self.ledger.watch()
        self.node_totals.watch()
        self.sequences.watch()
        self._count_held_as_unresolved(saved)

    def take(self) -> Changes:
        """The changes since the last call."""
        self.settle()
        codes = self.ledger.label_codes
        removed, changed = self.node_totals.changed()
        forgotten, heard = self.reporting.changed(self.epoch) if self.reporting else ([], [])
        return Changes(
            # Series first: `changed` of the names then still knows the names of ended series.
            families={family: self.ledger.changed(family) for family in FAMILIES},
            owners={kind: labels.changed() for kind, labels in codes.owned.items()},
            zones=codes.zones.rows(),
            removed_nodes=removed,
            node_totals=[
                *(row for node, totals in changed for row in _saved_totals(node, totals)),
                *(SavedTotal("", SETTLED, *row) for row in self._changed_settled()),
            ],
            sequences=self.sequences.changed(),
            forgotten=forgotten,
            heard=heard,
            rollouts=self.rollouts.changed() if self.rollouts is not None else None,
        )

    def _changed_settled(self) -> list[SettledRow]:
        return self.settled.changed() if self.settled is not None else []

    def _count_held_as_unresolved(self, saved: Saved) -> None:
        """Flows in the retry queue are lost with the process; only their bytes are saved."""
        for row in saved.node_totals:
            if row.term == HELD:
                counts = Counts(row.packets, row.bytes)
                self.node_totals.of(row.node).add("unresolved", HELD_AT_RESTART, counts)
                self.node_totals.of(row.node).changed = True


def _total_rows(rows: list[SavedTotal]) -> Iterator[NodeTotalRow]:
    for row in rows:
        for term in TERMS:
            if row.term == term:
                counts = Counts(row.packets, row.bytes)
                yield NodeTotalRow(row.node, term, row.reason, counts, row.exposed, row.created)


def _saved_totals(node: str, totals: NodeTotals) -> Iterator[SavedTotal]:
    yield SavedTotal(node, HELD, "", *totals.held)
    for key, counts in totals.counts.items():
        is_exposed = key not in totals.pending
        yield SavedTotal(node, *key, *counts, is_exposed, totals.created[key])
