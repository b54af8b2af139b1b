"""The ledger: running totals of what is attributed, by pod, workload, pair, and zones.

In: resolutions and the bytes of their flows.
Out: snapshots to expose, and plain rows to save and to load.
Never: a decrease of a series that lives, a byte of a full table lost (it is in ``other``).

The state is four tables and the names behind their keys. `load` puts back what `changed` gave, so
a store needs to know nothing else.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from kzn.columns.arrays import BOOL, I64, U64
from kzn.model.endpoint import Endpoint, EndpointIndex
from kzn.server.ledger.family import (
    LABELS,
    OTHER_LABELS,
    PAIR_KEY,
    WORKLOAD_KEY,
    FamilyChanges,
    FamilyName,
    LedgerSnapshot,
    Row,
    View,
    key_of,
)
from kzn.server.ledger.labels import OTHER, LabelCodes, Labels, OwnedLabels
from kzn.server.ledger.postings import postings
from kzn.server.ledger.series import SeriesTable
from kzn.server.ledger.top_pairs import TopPairs
from kzn.server.resolve.resolve import Resolution

Lives = Callable[[Endpoint], bool]

_SPARE_NAMES = 1024


@dataclass(frozen=True, slots=True)
class LedgerLimits:
    """How many series of each family, and how long idle ones stay (seconds)."""

    pods: int = 200_000
    workloads: int = 200_000
    pairs: int = 20_000
    zones: int = 20_000
    retention: float = 600.0
    pair_window: float = 300.0


class Ledger:
    """Totals per series, owned by one thread (the event loop's)."""

    __slots__ = ("_ended_labels", "_limits", "_names", "_pairs", "_tables")

    def __init__(self, limits: LedgerLimits) -> None:
        self._limits = limits
        self._names = LabelCodes()
        self._pairs = TopPairs(limits.pairs, limits.pair_window)
        self._tables: dict[FamilyName, SeriesTable] = {
            "pod": SeriesTable(limits.pods),
            "workload": SeriesTable(limits.workloads),
            "pair": self._pairs.top,
            "zone": SeriesTable(limits.zones),
        }
        self._ended_labels: dict[FamilyName, list[Labels]] = {family: [] for family in LABELS}

    @property
    def names(self) -> LabelCodes:
        """The names of all series, for a store alone."""
        return self._names

    def add(self, resolution: Resolution, sizes: U64, index: EndpointIndex, now: float) -> None:
        """Add the attributed flows of a resolution; ``sizes`` are the bytes of all its flows."""
        for family, keys, amounts in postings(resolution, sizes, self._names, index, now):
            table = self._pairs if family == "pair" else self._tables[family]
            table.add(keys, amounts, now)

    def sweep(self, now: float, lives: Lives) -> None:
        """End the series that have been idle for the retention and whose owner is gone."""
        names = self._names
        named: dict[FamilyName, dict[int, OwnedLabels]] = {
            "pod": {0: names.pods},
            "workload": {0: names.workloads},
            "pair": {0: names.owners, 2: names.owners},
        }
        for family, interners in named.items():
            ended = self._ended(family, interners, now, lives)
            if ended.any():
                table = self._pairs if family == "pair" else self._tables[family]
                table.drop(ended)
        self._pairs.turn(now)
        for family in LABELS:
            self._note_ended(family)  # before their names are given to others
        self._forget_names()

    def snapshot(self) -> LedgerSnapshot:
        """A copy of everything, which another thread may read at leisure."""
        names = self._names
        return LedgerSnapshot(
            views={family: _view(table) for family, table in self._tables.items()},
            pods=tuple(names.pods.labels),
            workloads=tuple(names.workloads.labels),
            owners=tuple(names.owners.labels),
            zones=tuple(names.zones.names.labels),
        )

    def watch(self) -> None:
        """From now on remember what changes until it is asked for."""
        for table in self._tables.values():
            table.watch()
        for interner in self._names.interners.values():
            interner.watch()

    def changed(self, family: FamilyName) -> FamilyChanges:
        """What changed since this was last asked, or since `watch`."""
        table = self._tables[family]
        self._note_ended(family)
        keys, totals = table.changed()
        labels = self._live_names().labels(family, keys)
        rows = dict(zip(labels, totals.tolist(), strict=True))
        ended, self._ended_labels[family] = self._ended_labels[family], []
        rows.pop(OTHER_LABELS[family], None)
        return FamilyChanges(ended, rows, self._other(family), table.retired)

    def load(
        self,
        rows: Iterable[Row],
        now: float,
        retired: Mapping[FamilyName, int] = MappingProxyType({}),
    ) -> None:
        """Add saved rows, and what had been retired.

        Those that nobody adds to again end after the retention, unless their owner lives. Those
        for which there is no room any more are in ``other``, and have ended for `changed`.
        """
        keys: dict[FamilyName, list[int]] = {family: [] for family in LABELS}
        totals: dict[FamilyName, list[int]] = {family: [] for family in LABELS}
        for family, labels, total in rows:
            if labels == OTHER_LABELS.get(family):
                self._tables[family].other += total
            else:
                keys[family].append(key_of(family, labels, self._names))
                totals[family].append(total)
        for family, table in self._tables.items():
            limited = table.add(
                np.array(keys[family], np.int64), np.array(totals[family], np.uint64), now
            )
            if limited is not None:
                beyond = np.array(keys[family], np.int64)[limited]
                self._ended_labels[family].extend(self._live_names().labels(family, beyond))
            table.retired += retired.get(family, 0)

    def _note_ended(self, family: FamilyName) -> None:
        ended = self._tables[family].ended()
        self._ended_labels[family].extend(self._live_names().labels(family, ended))

    def _live_names(self) -> LedgerSnapshot:
        names = self._names
        return LedgerSnapshot(
            views={},
            pods=names.pods.labels,
            workloads=names.workloads.labels,
            owners=names.owners.labels,
            zones=names.zones.names.labels,
        )

    def _other(self, family: FamilyName) -> int:
        """What the series ``other`` shows, whose labels a pod may bear by chance."""
        table = self._tables[family]
        if family != "pod":
            return table.other
        key = key_of(family, OTHER_LABELS[family], self._names)
        return table.other + table.total(key)

    def _ended(
        self, family: FamilyName, interners: dict[int, OwnedLabels], now: float, lives: Lives
    ) -> BOOL:
        """The rows of ``family`` to end; ``interners`` by the column of the key they name."""
        table = self._tables[family]
        ended = np.zeros(len(table), np.bool_)
        idle = np.flatnonzero(table.touched < now - self._limits.retention)
        columns = _columns(family, table.keys[idle])
        for column, interner in interners.items():
            ended[idle] |= _dead(columns[column], interner, lives)
        # Asked again only after another retention: a hundred thousand idle pods cost little.
        table.touched[idle] = now
        return ended

    def _forget_names(self) -> None:
        names = self._names
        series = [len(self._tables[family]) for family in ("pod", "workload", "pair")]
        kept = [len(names.pods), len(names.workloads), len(names.owners)]
        if all(n <= 2 * s + _SPARE_NAMES for n, s in zip(kept, series, strict=True)):
            return
        pairs = _columns("pair", self._tables["pair"].keys)
        names.forget(
            workloads=_columns("workload", self._tables["workload"].keys)[0].tolist(),
            owners=[*pairs[0].tolist(), *pairs[2].tolist()],
            pods=self._tables["pod"].keys.tolist(),
        )


def _columns(family: FamilyName, keys: I64) -> tuple[I64, ...]:
    if family == "pod":
        return (keys,)
    return (WORKLOAD_KEY if family == "workload" else PAIR_KEY).unpack(keys)


def _dead(codes: I64, interner: OwnedLabels, lives: Lives) -> BOOL:
    distinct, row = np.unique(codes, return_inverse=True)
    dead = [
        code > OTHER and ((owner := interner.owners[code]) is None or not lives(owner))
        for code in distinct.tolist()
    ]
    return np.array(dead, np.bool_)[row]


def _view(table: SeriesTable) -> View:
    return View(table.keys.copy(), table.bytes.copy(), table.other, table.retired, table.limit)
