"""The ledger: running totals of attributed bytes, by pod, workload, pair of workloads, and zones.

In: resolutions and the bytes of their flows.
Out: snapshots for metrics and the API, and plain rows for the state file.
Never: decreases a live series, or loses a byte when a table is full (it is added to ``other``).

The state is one table per family, and the labels behind the codes in its keys. `load` restores the
rows that `changed` returned, so the state file needs nothing else of it.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from types import MappingProxyType

import numpy as np

from kzn.columns.arrays import BOOL, I64, U64
from kzn.errors import KznError, UsageError
from kzn.model.endpoint import Endpoint, EndpointIndex
from kzn.server.ledger.family import (
    FAMILIES,
    ChangedRows,
    Family,
    FamilyChanges,
    FamilyName,
    LedgerSnapshot,
    Row,
    SeriesState,
    View,
)
from kzn.server.ledger.labels import (
    LABEL_BITS,
    OTHER,
    OWNED_KINDS,
    LabelCodes,
    LabelKind,
    Labels,
    OwnedLabels,
)
from kzn.server.ledger.postings import postings
from kzn.server.ledger.series import SeriesTable
from kzn.server.ledger.top_pairs import TopPairs
from kzn.server.resolve.resolve import Resolution

Lives = Callable[[Endpoint], bool]

MAX_SERIES = 1 << LABEL_BITS
"""Most series that a family can be given: its labels have that many codes."""
_CHECKED_AT_ONCE = 5_000
"""Idle series whose endpoints are looked up in one step: some ten milliseconds. After a restart
with a state file all series come due at the same time."""
_FREED_AT_ONCE = 5_000
_SPARE_CODES = 1024
_CHECK_SECONDS = 600.0
"""Between two checks whether an idle series' endpoints exist: 100,000 idle pods cost little."""
_EVICT_ABOVE, _EVICT_TO = 0.9, 0.8  # of a family's limit
_EVICTED_PER_SWEEP = 5000
_EVICTED_IDLE = 600.0
"""Seconds after its last byte for which no limit evicts a series, so that it is scraped."""


@dataclass(frozen=True, slots=True)
class LedgerLimits:
    """Limits of series that differ from the family's default, and durations in seconds.

    Families that are ``off`` get no bytes and are not in snapshots. ``retention`` replaces that of
    all families, ``pair_window`` is that of top_pairs.
    """

    series: Mapping[FamilyName, int] = field(default_factory=dict)
    retention: float | None = None
    pair_window: float = 300.0
    off: frozenset[FamilyName] = frozenset()
    nodes_as_pods: bool = False
    """Whether the family pod has what nodes send, as kubezonnet: namespace _node_, pod NODE."""

    def __post_init__(self) -> None:
        """UsageError for a family that does not exist, and for a limit out of range."""
        for name in (*self.series, *self.off):
            if name not in FAMILIES:
                raise UsageError(f"{name!r} is not a family of series", hint=", ".join(FAMILIES))
        for name, number in self.series.items():
            if not 1 <= number <= MAX_SERIES:
                raise UsageError(
                    f"{number} series of family {name} is out of range",
                    hint=f"1 to {MAX_SERIES}; to have none, leave {name} out of --families",
                )

    def of(self, family: Family) -> int:
        """The largest number of series of a family."""
        return self.series.get(family.name, family.limit)

    def retention_of(self, family: Family) -> float:
        """How long a series of a family stays after its last byte."""
        return family.retention if self.retention is None else self.retention


class Ledger:
    """Totals per series, owned by one thread (the event loop's).

    With ``holds`` a new series is exposed at 0 until `expose`; ``epoch`` is what to add to the
    caller's clock to get Unix time.
    """

    __slots__ = ("_codes", "_ended_labels", "_evicted", "_limits", "_tables", "_top")

    def __init__(self, limits: LedgerLimits, *, holds: bool = False, epoch: float = 0.0) -> None:
        self._limits = limits
        self._codes = LabelCodes(nodes_as_pods=limits.nodes_as_pods)
        self._tables = {
            name: SeriesTable(limits.of(family), holds=holds, epoch=epoch)
            for name, family in FAMILIES.items()
        }
        self._top = {
            name: TopPairs(self._tables[name], limits.pair_window)
            for name, family in FAMILIES.items()
            if family.top
        }
        self._evicted = dict.fromkeys(FAMILIES, 0)
        self._ended_labels: dict[FamilyName, list[Labels]] = {name: [] for name in FAMILIES}

    @property
    def label_codes(self) -> LabelCodes:
        """The labels of all series; for the state file only."""
        return self._codes

    def add(self, resolution: Resolution, sizes: U64, index: EndpointIndex, now: float) -> None:
        """Add the attributed flows of a resolution; ``sizes`` are the bytes of all its flows."""
        for name, keys, amounts in postings(resolution, sizes, self._codes, index, now):
            if name not in self._limits.off:
                self._writer(name).add(keys, amounts, now)

    def expose(self, begun_before: float) -> None:
        """Expose the bytes of all series that began before that time (first_scrape.py)."""
        for table in self._tables.values():
            table.expose(begun_before)

    def sweep(self, now: float, lives: Lives) -> None:
        """End the series that were idle for the retention and belong to a deleted endpoint.

        Where a family is near its limit, the longest idle of them end earlier.
        """
        for _ in self.sweep_steps(now, lives):
            pass

    def sweep_steps(self, now: float, lives: Lives) -> Iterator[None]:
        """`sweep` in steps of some milliseconds, between which batches can be applied."""
        for name, family in FAMILIES.items():
            while True:
                ended, is_last = self._ended(family, now, lives)
                if ended.any():
                    self._writer(name).drop(ended)
                    self._note_ended(family)
                yield
                if is_last:
                    break
            evicted = self._to_evict(family, now, lives)
            if evicted.any():
                self._evicted[name] += int(evicted.sum())
                self._writer(name).drop_to_other(evicted, now)
                self._note_ended(family)
                yield
        for top in self._top.values():
            top.end_window(now)
            yield
        for family in FAMILIES.values():
            self._note_ended(family)  # before their codes are reused
        yield from self._free_labels()

    def snapshot(self, families: Collection[FamilyName] = tuple(FAMILIES)) -> LedgerSnapshot:
        """A copy of ``families``, less those that are off, that any thread may read."""
        kinds = {column.kind for name in families for column in FAMILIES[name].columns}
        return LedgerSnapshot(
            views={
                name: _view(self._tables[name], self._evicted[name])
                for name in families
                if name not in self._limits.off
            },
            tables=self._codes.shared_tables(kinds),
        )

    def watch(self) -> None:
        """Record changes from now on, for `changed`."""
        for table in self._tables.values():
            table.watch()
        for labels in self._codes.owned.values():
            labels.watch()

    def changed(self, name: FamilyName) -> FamilyChanges:
        """The changes of a family since the last call, or since `watch`.

        Their columns are copied here; any thread can make labels and values of them.
        """
        family, table = FAMILIES[name], self._tables[name]
        self._note_ended(family)
        rows = table.changed()
        ended, self._ended_labels[name] = self._ended_labels[name], []
        other, other_changed, table.other.changed = _other(table), table.other.changed, False
        if family.other_key is not None:
            other = other._replace(bytes=other.bytes + table.total(family.other_key))
            namesake = table.keys[rows] == family.other_key
            other_changed, rows = other_changed or bool(namesake.any()), rows[~namesake]
        changed = ChangedRows(
            family,
            self._codes.shared_tables({column.kind for column in family.columns}),
            table.keys[rows],
            tuple(column[rows] for column in (table.bytes, table.exposed, table.created)),
        )
        return FamilyChanges(ended, changed, other, table.retired, other_changed)

    def load(
        self,
        rows: Iterable[Row],
        now: float,
        retired: Mapping[FamilyName, int] = MappingProxyType({}),
    ) -> None:
        """Add saved rows and retired bytes; KznError for a row of an unknown family or label.

        Series that no flow adds to again end after the retention, unless their endpoint exists;
        those of a family that is off too.
        Rows beyond the limit are added to ``other``, and have ended for `changed`.
        """
        keys: dict[FamilyName, list[int]] = {name: [] for name in FAMILIES}
        loaded: dict[FamilyName, list[Row]] = {name: [] for name in FAMILIES}
        for row in rows:
            family = FAMILIES.get(row.family)
            if family is None:
                raise KznError(f"{row.family!r} has no series {row.labels!r}")
            if row.labels == family.other_labels:
                self._tables[row.family].load_other(
                    row.bytes, now, exposed=row.exposed, created=row.created
                )
            else:
                keys[row.family].append(family.key(row.labels, self._codes))
                loaded[row.family].append(row)
        for name, table in self._tables.items():
            packed = np.array(keys[name], np.int64)
            limited = table.load(
                packed,
                np.array([row.bytes for row in loaded[name]], np.uint64),
                np.array([row.exposed for row in loaded[name]], np.bool_),
                np.array([row.created for row in loaded[name]], np.float64),
                now,
            )
            if limited is not None:
                self._add_ended_labels(FAMILIES[name], packed[limited])
            table.retired += retired.get(name, 0)

    def _writer(self, name: FamilyName) -> SeriesTable | TopPairs:
        return self._top.get(name, self._tables[name])

    def _note_ended(self, family: Family) -> None:
        self._add_ended_labels(family, self._tables[family.name].ended())

    def _add_ended_labels(self, family: Family, keys: I64) -> None:
        self._ended_labels[family.name].extend(family.labels_of(keys, self._codes.tables()))

    def _ended(self, family: Family, now: float, lives: Lives) -> tuple[BOOL, bool]:
        """The rows of ``family`` to end: idle, and an endpoint in their labels was deleted.

        At most _CHECKED_AT_ONCE rows are checked; the second value is False if more are due.
        """
        table = self._tables[family.name]
        ended = np.zeros(len(table), np.bool_)
        is_idle = table.touched < now - self._limits.retention_of(family)
        due = np.flatnonzero(is_idle & (table.check_at <= now))
        idle = due[:_CHECKED_AT_ONCE]
        self._mark_dead(family, idle, ended, lives)
        table.check_at[idle] = now + min(_CHECK_SECONDS, self._limits.retention_of(family))
        return ended, len(idle) == len(due)

    def _to_evict(self, family: Family, now: float, lives: Lives) -> BOOL:
        """The rows of ``family`` to end before the retention because it is near its limit."""
        table, limit = self._tables[family.name], self._limits.of(family)
        evicted = np.zeros(len(table), np.bool_)
        if len(table) <= _EVICT_ABOVE * limit:
            return evicted
        idle = np.flatnonzero((table.touched < now - _EVICTED_IDLE) & (table.check_at <= now))
        number = min(len(table) - int(_EVICT_TO * limit), _EVICTED_PER_SWEEP)
        oldest = idle.take(np.argsort(table.touched.take(idle), kind="stable")[:number])
        self._mark_dead(family, oldest, evicted, lives)
        table.check_at[oldest] = now + _CHECK_SECONDS
        return evicted

    def _mark_dead(self, family: Family, rows: I64, dead: BOOL, lives: Lives) -> None:
        """Set ``dead`` for those of ``rows`` with an endpoint in their labels that was deleted."""
        for kind, codes in family.owned(self._tables[family.name].keys[rows]):
            dead[rows] |= _dead(codes, self._codes.owned[kind], lives)

    def _free_labels(self) -> Iterator[None]:
        """Free unused codes once they may be more than half of all, in steps.

        Series begin between two steps: each finds anew which codes are used.
        """
        series: dict[LabelKind, int] = dict.fromkeys(OWNED_KINDS, 0)
        for name, family in FAMILIES.items():
            for kind in family.owned_kinds:
                series[kind] += len(self._tables[name])
        owned = self._codes.owned
        if all(len(owned[kind]) <= 2 * n + _SPARE_CODES for kind, n in series.items()):
            return
        while self._codes.free_unused(self._used_codes(), _FREED_AT_ONCE):
            yield

    def _used_codes(self) -> dict[LabelKind, list[I64]]:
        used: dict[LabelKind, list[I64]] = {kind: [] for kind in OWNED_KINDS}
        for name, family in FAMILIES.items():
            keys = [self._tables[name].keys]
            if name in self._top:
                keys.append(self._top[name].candidate_keys())
            for kind, codes in chain.from_iterable(map(family.owned, keys)):
                used[kind].append(codes)
        return used


def _dead(codes: I64, labels: OwnedLabels, lives: Lives) -> BOOL:
    distinct, row = np.unique(codes, return_inverse=True)
    dead = [
        code > OTHER and ((owner := labels.owners[code]) is None or not lives(owner))
        for code in distinct.tolist()
    ]
    return np.array(dead, np.bool_)[row]


def _other(table: SeriesTable) -> SeriesState:
    return SeriesState(table.other.bytes, table.other.is_exposed, table.other.created)


def _view(table: SeriesTable, evicted: int) -> View:
    return View(
        table.keys.copy(),
        table.bytes.copy(),
        table.exposed.copy(),
        table.created.copy(),
        _other(table),
        table.retired,
        table.limit,
        evicted,
    )
