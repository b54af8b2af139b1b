"""The ledger: running totals of what is attributed, by pod, workload, pair, and zones.

In: resolutions and the bytes of their flows.
Out: snapshots to expose, and plain rows to save and to load.
Never: a decrease of a series that lives, a byte of a full table lost (it is in ``other``).

The state is four tables and the names behind their keys. `load` puts back what `changed` gave, so
a store needs to know nothing else.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from kzn.columns.arrays import BOOL, I64, U64
from kzn.errors import KznError
from kzn.model.endpoint import Endpoint, EndpointIndex
from kzn.server.ledger.family import (
    FAMILIES,
    Family,
    FamilyChanges,
    FamilyName,
    LedgerSnapshot,
    Row,
    View,
)
from kzn.server.ledger.labels import OTHER, OWNED, LabelCodes, Labels, NameKind, OwnedLabels
from kzn.server.ledger.postings import postings
from kzn.server.ledger.series import SeriesTable
from kzn.server.ledger.top_pairs import TopPairs
from kzn.server.resolve.resolve import Resolution

Lives = Callable[[Endpoint], bool]

_SPARE_NAMES = 1024


@dataclass(frozen=True, slots=True)
class LedgerLimits:
    """How many series of a family where not its default, and seconds that idle ones stay."""

    series: Mapping[FamilyName, int] = field(default_factory=dict)
    retention: float = 600.0
    pair_window: float = 300.0

    def of(self, family: Family) -> int:
        """The largest number of series of a family."""
        return self.series.get(family.name, family.limit)


class Ledger:
    """Totals per series, owned by one thread (the event loop's)."""

    __slots__ = ("_ended_labels", "_limits", "_names", "_tables", "_top")

    def __init__(self, limits: LedgerLimits) -> None:
        self._limits = limits
        self._names = LabelCodes()
        self._top = {
            name: TopPairs(limits.of(family), limits.pair_window)
            for name, family in FAMILIES.items()
            if family.top
        }
        self._tables: dict[FamilyName, SeriesTable] = {
            name: self._top[name].top if family.top else SeriesTable(limits.of(family))
            for name, family in FAMILIES.items()
        }
        self._ended_labels: dict[FamilyName, list[Labels]] = {name: [] for name in FAMILIES}

    @property
    def names(self) -> LabelCodes:
        """The names of all series, for a store alone."""
        return self._names

    def add(self, resolution: Resolution, sizes: U64, index: EndpointIndex, now: float) -> None:
        """Add the attributed flows of a resolution; ``sizes`` are the bytes of all its flows."""
        for name, keys, amounts in postings(resolution, sizes, self._names, index, now):
            self._writer(name).add(keys, amounts, now)

    def sweep(self, now: float, lives: Lives) -> None:
        """End the series that have been idle for the retention and belong to a deleted endpoint."""
        for name, family in FAMILIES.items():
            ended = self._ended(family, now, lives)
            if ended.any():
                self._writer(name).drop(ended)
        for top in self._top.values():
            top.end_window(now)
        for family in FAMILIES.values():
            self._note_ended(family)  # before their names are given to others
        self._forget_names()

    def snapshot(self) -> LedgerSnapshot:
        """A copy of everything, which another thread may read at leisure."""
        return LedgerSnapshot(
            views={name: _view(table) for name, table in self._tables.items()},
            names={kind: tuple(labels) for kind, labels in self._names.tables().items()},
        )

    def watch(self) -> None:
        """Record changes from now on, for `changed`."""
        for table in self._tables.values():
            table.watch()
        for interner in self._names.interners.values():
            interner.watch()

    def changed(self, name: FamilyName) -> FamilyChanges:
        """What changed in a family since the last call, or since `watch`."""
        family, table = FAMILIES[name], self._tables[name]
        self._note_ended(family)
        keys, totals = table.changed()
        labels = family.labels_of(keys, self._names.tables())
        rows = dict(zip(labels, totals.tolist(), strict=True))
        ended, self._ended_labels[name] = self._ended_labels[name], []
        rows.pop(family.other_labels, None)
        other = table.other
        if family.other_key is not None:
            other += table.total(family.other_key)
        return FamilyChanges(ended, rows, other, table.retired)

    def load(
        self,
        rows: Iterable[Row],
        now: float,
        retired: Mapping[FamilyName, int] = MappingProxyType({}),
    ) -> None:
        """Add saved rows, and what had been retired; KznError for a row of no family.

        Series that no flow adds to again end after the retention, unless their endpoint lives.
        Rows beyond the limit are added to ``other``, and have ended for `changed`.
        """
        keys: dict[FamilyName, list[int]] = {name: [] for name in FAMILIES}
        totals: dict[FamilyName, list[int]] = {name: [] for name in FAMILIES}
        for name, labels, total in rows:
            family = FAMILIES.get(name)
            if family is None:
                raise KznError(f"{name!r} has no series {labels!r}")
            if labels == family.other_labels:
                self._tables[name].other += total
            else:
                keys[name].append(family.key(labels, self._names))
                totals[name].append(total)
        for name, table in self._tables.items():
            loaded = np.array(keys[name], np.int64)
            limited = table.add(loaded, np.array(totals[name], np.uint64), now)
            if limited is not None:
                self._add_ended_labels(FAMILIES[name], loaded[limited])
            table.retired += retired.get(name, 0)

    def _writer(self, name: FamilyName) -> SeriesTable | TopPairs:
        return self._top.get(name, self._tables[name])

    def _note_ended(self, family: Family) -> None:
        self._add_ended_labels(family, self._tables[family.name].ended())

    def _add_ended_labels(self, family: Family, keys: I64) -> None:
        self._ended_labels[family.name].extend(family.labels_of(keys, self._names.tables()))

    def _ended(self, family: Family, now: float, lives: Lives) -> BOOL:
        """The rows of ``family`` to end: idle, and one of its names belongs to no endpoint."""
        table = self._tables[family.name]
        ended = np.zeros(len(table), np.bool_)
        idle = np.flatnonzero(table.touched < now - self._limits.retention)
        for kind, codes in family.owned(table.keys[idle]):
            ended[idle] |= _dead(codes, self._names.interners[kind], lives)
        # Asked again only after another retention: a hundred thousand idle pods cost little.
        table.touched[idle] = now
        return ended

    def _forget_names(self) -> None:
        """Free unused names, once they may be more than half of all."""
        series: dict[NameKind, int] = dict.fromkeys(OWNED, 0)
        for name, family in FAMILIES.items():
            for kind in family.owned_kinds:
                series[kind] += len(self._tables[name])
        interners = self._names.interners
        if all(len(interners[kind]) <= 2 * n + _SPARE_NAMES for kind, n in series.items()):
            return
        used: dict[NameKind, set[int]] = {kind: set() for kind in OWNED}
        for name, family in FAMILIES.items():
            for kind, codes in family.owned(self._tables[name].keys):
                used[kind].update(codes.tolist())
        self._names.forget(used)


def _dead(codes: I64, interner: OwnedLabels, lives: Lives) -> BOOL:
    distinct, row = np.unique(codes, return_inverse=True)
    dead = [
        code > OTHER and ((owner := interner.owners[code]) is None or not lives(owner))
        for code in distinct.tolist()
    ]
    return np.array(dead, np.bool_)[row]


def _view(table: SeriesTable) -> View:
    return View(table.keys.copy(), table.bytes.copy(), table.other, table.retired, table.limit)
