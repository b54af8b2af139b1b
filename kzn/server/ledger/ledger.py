"""The ledger: running totals of attributed bytes, by pod, workload, pair of workloads, and zones.

In: resolutions and the bytes of their flows.
Out: snapshots for metrics and the API, and plain rows for the state file.
Never: decreases a live series, or loses a byte when a table is full (it is added to ``other``).

The state is one table per family, and the labels behind the codes in its keys. `load` restores the
rows that `changed` returned, so the state file needs nothing else of it.
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
from kzn.server.ledger.labels import OTHER, OWNED_KINDS, LabelCodes, LabelKind, Labels, OwnedLabels
from kzn.server.ledger.postings import postings
from kzn.server.ledger.series import SeriesTable
from kzn.server.ledger.top_pairs import TopPairs
from kzn.server.resolve.resolve import Resolution

Lives = Callable[[Endpoint], bool]

_SPARE_CODES = 1024


@dataclass(frozen=True, slots=True)
class LedgerLimits:
    """Limits of series that differ from the family's default, and durations in seconds.

    ``retention`` is how long a series stays after its last byte, ``pair_window`` that of top_pairs.
    """

    series: Mapping[FamilyName, int] = field(default_factory=dict)
    retention: float = 600.0
    pair_window: float = 300.0

    def of(self, family: Family) -> int:
        """The largest number of series of a family."""
        return self.series.get(family.name, family.limit)


class Ledger:
    """Totals per series, owned by one thread (the event loop's)."""

    __slots__ = ("_codes", "_ended_labels", "_limits", "_tables", "_top")

    def __init__(self, limits: LedgerLimits) -> None:
        self._limits = limits
        self._codes = LabelCodes()
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
    def label_codes(self) -> LabelCodes:
        """The labels of all series; for the state file only."""
        return self._codes

    def add(self, resolution: Resolution, sizes: U64, index: EndpointIndex, now: float) -> None:
        """Add the attributed flows of a resolution; ``sizes`` are the bytes of all its flows."""
        for name, keys, amounts in postings(resolution, sizes, self._codes, index, now):
            self._writer(name).add(keys, amounts, now)

    def sweep(self, now: float, lives: Lives) -> None:
        """End the series that were idle for the retention and belong to a deleted endpoint."""
        for name, family in FAMILIES.items():
            ended = self._ended(family, now, lives)
            if ended.any():
                self._writer(name).drop(ended)
        for top in self._top.values():
            top.end_window(now)
        for family in FAMILIES.values():
            self._note_ended(family)  # before their codes are reused
        self._free_labels()

    def snapshot(self) -> LedgerSnapshot:
        """A copy that any thread may read."""
        return LedgerSnapshot(
            views={name: _view(table) for name, table in self._tables.items()},
            tables={kind: tuple(labels) for kind, labels in self._codes.tables().items()},
        )

    def watch(self) -> None:
        """Record changes from now on, for `changed`."""
        for table in self._tables.values():
            table.watch()
        for labels in self._codes.owned.values():
            labels.watch()

    def changed(self, name: FamilyName) -> FamilyChanges:
        """The changes of a family since the last call, or since `watch`."""
        family, table = FAMILIES[name], self._tables[name]
        self._note_ended(family)
        keys, totals = table.changed()
        labels = family.labels_of(keys, self._codes.tables())
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
        """Add saved rows and retired bytes; KznError for a row of an unknown family or label.

        Series that no flow adds to again end after the retention, unless their endpoint exists.
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
                keys[name].append(family.key(labels, self._codes))
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
        self._ended_labels[family.name].extend(family.labels_of(keys, self._codes.tables()))

    def _ended(self, family: Family, now: float, lives: Lives) -> BOOL:
        """The rows of ``family`` to end: idle, and an endpoint in their labels was deleted."""
        table = self._tables[family.name]
        ended = np.zeros(len(table), np.bool_)
        idle = np.flatnonzero(table.touched < now - self._limits.retention)
        for kind, codes in family.owned(table.keys[idle]):
            ended[idle] |= _dead(codes, self._codes.owned[kind], lives)
        # Checked again after another retention only: a hundred thousand idle pods cost little.
        table.touched[idle] = now
        return ended

    def _free_labels(self) -> None:
        """Free unused codes once they may be more than half of all."""
        series: dict[LabelKind, int] = dict.fromkeys(OWNED_KINDS, 0)
        for name, family in FAMILIES.items():
            for kind in family.owned_kinds:
                series[kind] += len(self._tables[name])
        owned = self._codes.owned
        if all(len(owned[kind]) <= 2 * n + _SPARE_CODES for kind, n in series.items()):
            return
        used: dict[LabelKind, set[int]] = {kind: set() for kind in OWNED_KINDS}
        for name, family in FAMILIES.items():
            for kind, codes in family.owned(self._tables[name].keys):
                used[kind].update(codes.tolist())
        self._codes.keep_only(used)


def _dead(codes: I64, labels: OwnedLabels, lives: Lives) -> BOOL:
    distinct, row = np.unique(codes, return_inverse=True)
    dead = [
        code > OTHER and ((owner := labels.owners[code]) is None or not lives(owner))
        for code in distinct.tolist()
    ]
    return np.array(dead, np.bool_)[row]


def _view(table: SeriesTable) -> View:
    return View(table.keys.copy(), table.bytes.copy(), table.other, table.retired, table.limit)
