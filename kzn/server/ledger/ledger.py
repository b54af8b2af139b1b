"""The ledger: running totals of attributed bytes, by pod, workload, pair of workloads, and zones.

In: resolutions and the bytes of their flows.
Out: snapshots for metrics and the API, and plain rows for the state file.
Never: decreases a live series, or loses a byte when a table is full (it is added to ``other``).

The state is one table per family, and the labels behind the codes in its keys. `load` restores the
rows that `changed` returned, so the state file needs nothing else of it.
"""

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from kzn.columns.arrays import BOOL, F64, I64, U64
from kzn.columns.sort_order import distinct
from kzn.errors import KznError
from kzn.model.endpoint import Endpoint, EndpointIndex
from kzn.server.ledger.family import (
    FAMILIES,
    PAIR,
    WORKLOAD,
    ZONE,
    ChangedRows,
    Family,
    FamilyChanges,
    FamilyName,
    LedgerSnapshot,
    Row,
    RowCosts,
    SeriesState,
    View,
)
from kzn.server.ledger.labels import (
    OWNED_KINDS,
    LabelCodes,
    LabelKind,
    Labels,
    OwnedLabels,
)
from kzn.server.ledger.limits import OVERFLOW, LedgerLimits
from kzn.server.ledger.places import OTHER
from kzn.server.ledger.postings import BilledApart, Posting, postings
from kzn.server.ledger.series import SeriesTable
from kzn.server.ledger.top_pairs import TopPairs
from kzn.server.resolve.resolution import Resolution

_LOG = logging.getLogger(__name__)

Lives = Callable[[Endpoint], bool]

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
_PRICED = (WORKLOAD.name, PAIR.name, ZONE.name)
"""The families whose bytes the cost meter settles."""
SPARE_COSTS = 1024
"""Series of a family of money beyond its limit, for those whose name is `other`."""


class Ledger:
    """Totals per series, owned by one thread (the event loop's).

    With ``holds`` a new series is exposed at 0 until `expose`; ``epoch`` is what to add to the
    caller's clock to get Unix time.
    """

    __slots__ = (
        "_apart",
        "_codes",
        "_ended_labels",
        "_evicted",
        "_fed",
        "_limits",
        "_overflow",
        "_tables",
        "_top",
        "unsettled",
    )

    def __init__(self, limits: LedgerLimits, *, holds: bool = False, epoch: float = 0.0) -> None:
        self._limits = limits
        self._codes = LabelCodes(nodes_as_pods=limits.nodes_as_pods)
        self._tables = {
            name: SeriesTable(
                limits.of(family) + (SPARE_COSTS if family.unit == "money" else 0),
                holds=holds,
                epoch=epoch,
                dtype=np.float64 if family.unit == "money" else np.uint64,
                # Also without prices: saved costs of rows that change meanwhile are kept.
                priced=name in _PRICED,
            )
            for name, family in FAMILIES.items()
        }
        self._fed = frozenset(filter(limits.feeds, FAMILIES))
        self.unsettled = 0
        """Rows that only the cost meter frees; it is to settle before they are too many."""
        self._apart: list[BilledApart] = []
        self._overflow: dict[FamilyName, list[Posting]] = {name: [] for name in OVERFLOW}
        self._top = {
            name: TopPairs(self._tables[name], limits.pair_window)
            for name, family in FAMILIES.items()
            if family.top
        }
        self._evicted = dict.fromkeys(FAMILIES, 0)
        self._ended_labels: dict[FamilyName, list[Labels]] = {name: [] for name in FAMILIES}

    @property
    def label_codes(self) -> LabelCodes:
        """The labels of all series; for the state file and the cost meter only."""
        return self._codes

    @property
    def limits(self) -> LedgerLimits:
        """The limits of its families."""
        return self._limits

    def table(self, name: FamilyName) -> SeriesTable:
        """The series of a family; for the cost meter only."""
        return self._tables[name]

    def take_apart(self) -> list[BilledApart]:
        """The flows since the last call whose price their zones do not tell."""
        found, self._apart = self._apart, []
        self.unsettled = 0
        return found

    def take_overflow(self) -> dict[FamilyName, list[Posting]]:
        """The bytes since the last call that went to the series other of workloads and zones."""
        found, self._overflow = self._overflow, {name: [] for name in OVERFLOW}
        return found

    def add(self, resolution: Resolution, sizes: U64, index: EndpointIndex, now: float) -> None:
        """Add the attributed flows of a resolution; ``sizes`` are the bytes of all its flows."""
        self.post(self.postings(resolution, sizes, index, now), now)

    def postings(
        self, resolution: Resolution, sizes: U64, index: EndpointIndex, now: float
    ) -> list[Posting | BilledApart]:
        """What `add` adds, for `post`; no series is changed."""
        priced = self._limits.has_costs
        return [*postings(resolution, sizes, self._codes, index, now, priced=priced)]

    def post(self, found_postings: Iterable[Posting | BilledApart], now: float) -> None:
        """Add to the series of each family."""
        priced = self._limits.has_costs
        for found in found_postings:
            if isinstance(found, BilledApart):
                self._apart.append(found)
                self.unsettled += len(found)
            elif found.family in self._top:
                self._top[found.family].add(found.keys, found.bytes, now)
            elif found.family in self._fed:
                table = self._tables[found.family]
                limited = table.add(found.keys, found.bytes, now, found.caused)
                if limited is not None and priced and found.family in OVERFLOW:
                    self._note_overflow(found, limited)

    def add_costs(self, name: FamilyName, keys: I64, costs: F64, now: float) -> None:
        """Add amounts of money to a family of cost that is on.

        Beyond the limit, new series have `other` for the names of workloads or zones, and keep
        class, side and currency.
        """
        if not self._limits.shows(name):
            return
        family, table = FAMILIES[name], self._tables[name]
        rows = table.find(keys)
        new = np.flatnonzero(rows < 0)
        if not new.size:
            table.add_to_rows(rows, costs, now)
            return
        room = self._limits.of(family) - len(table)
        if len(new) > room and len(found := distinct(keys.take(new))) > room:
            beyond = np.isin(keys, found[max(0, room) :])
            keys = np.where(beyond, _of_other(family, keys), keys)
        table.add(keys, costs, now)

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
        if self._limits.has_costs:
            kinds.add("currency")
        return LedgerSnapshot(
            views={name: self._view(name) for name in families if self._limits.shows(name)},
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
        other, other_changed, table.other.changed = self._other(table), table.other.changed, False
        if family.other_key is not None:
            other = other._replace(bytes=other.bytes + table.total(family.other_key))
            namesake = table.keys[rows] == family.other_key
            other_changed, rows = other_changed or bool(namesake.any()), rows[~namesake]
        changed = ChangedRows(
            family,
            self._codes.shared_tables({column.kind for column in family.columns}),
            table.keys[rows],
            (
                *(column[rows] for column in (table.bytes, table.exposed, table.created)),
                *self._saved_costs(table.costs, rows),
            ),
        )
        return FamilyChanges(ended, changed, other, table.retired, other_changed)

    def load(
        self,
        rows: Iterable[Row],
        now: float,
        retired: Mapping[FamilyName, int] = MappingProxyType({}),
    ) -> None:
        """Add saved rows and retired bytes; KznError for a row of an unknown family.

        A row with a class or reason that this version does not know, as after a downgrade, is added
        to ``other`` with its cost, and has ended for `changed`.
        Series that no flow adds to again end after the retention, unless their endpoint exists;
        those of a family that is off too.
        Rows beyond the limit are added to ``other``, and have ended for `changed`.
        """
        keys: dict[FamilyName, list[int]] = {name: [] for name in FAMILIES}
        loaded: dict[FamilyName, list[Row]] = {name: [] for name in FAMILIES}
        unknown: Counter[FamilyName] = Counter()
        for row in rows:
            family = FAMILIES.get(row.family)
            if family is None:
                raise KznError(f"{row.family!r} has no series {row.labels!r}")
            if row.labels == family.other_labels:
                self._load_other(row, now)
            elif (key := family.key(row.labels, self._codes)) is not None:
                keys[row.family].append(key)
                loaded[row.family].append(row)
            else:
                self._load_other(row, now)
                self._ended_labels[row.family].append(row.labels)
                unknown[row.family] += 1
        for name, table in self._tables.items():
            packed = np.array(keys[name], np.int64)
            limited = table.load(
                packed,
                np.array([row.bytes for row in loaded[name]], table.bytes.dtype),
                np.array([row.exposed for row in loaded[name]], np.bool_),
                np.array([row.created for row in loaded[name]], np.float64),
                now,
                self._loaded_costs(loaded[name]) if table.is_priced else None,
            )
            if limited is not None:
                self._add_ended_labels(FAMILIES[name], packed[limited])
            table.retired += retired.get(name, 0)

        if unknown:
            text = ", ".join(f"{number} of {name}" for name, number in sorted(unknown.items()))
            _LOG.warning(
                "saved series with labels that this version of kzn does not know are counted as"
                " other: %s",
                text,
            )

    def _load_other(self, row: Row, now: float) -> None:
        table = self._tables[row.family]
        table.load_other(row.bytes, now, exposed=row.exposed, created=row.created)
        table.add_costs_of_other(row.cost, row.priced_bytes, self._currency(row.currency))

    def _note_overflow(self, found: Posting, limited: I64) -> None:
        caused = None if found.caused is None else found.caused.take(limited)
        part = Posting(found.family, found.keys.take(limited), found.bytes.take(limited), caused)
        self._overflow[found.family].append(part)
        self.unsettled += len(limited)

    def _saved_costs(self, costs: RowCosts | None, rows: I64) -> tuple[npt.NDArray[Any], ...]:
        if costs is None:
            return ()
        names = np.array([label for (label,) in self._codes.currencies.labels], np.object_)
        return costs.cost[rows], costs.priced_bytes[rows], names.take(costs.currency[rows])

    def _loaded_costs(self, rows: Sequence[Row]) -> RowCosts:
        return RowCosts(
            np.array([row.cost for row in rows], np.float64),
            np.array([row.priced_bytes for row in rows], np.uint64),
            np.array([self._currency(row.currency) for row in rows], np.uint8),
        )

    def _currency(self, name: str) -> int:
        return self._codes.currencies.code((name,), None)

    def _other(self, table: SeriesTable) -> SeriesState:
        other = table.other
        (currency,) = self._codes.currencies.labels[other.currency]
        return SeriesState(
            other.bytes, other.is_exposed, other.created, other.cost, other.priced_bytes, currency
        )

    def _view(self, name: FamilyName) -> View:
        table = self._tables[name]
        costs = table.costs if self._limits.has_costs else None
        return View(
            table.keys.copy(),
            table.bytes.copy(),
            table.exposed.copy(),
            table.created.copy(),
            self._other(table),
            table.retired,
            self._limits.of(FAMILIES[name]),
            self._evicted[name],
            None
            if costs is None
            else RowCosts(costs.cost.copy(), costs.priced_bytes.copy(), costs.currency.copy()),
        )

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


def _of_other(family: Family, keys: I64) -> I64:
    """``keys`` with `OTHER` for all names of workloads and zones."""
    columns = zip(family.columns, family.layout.unpack(keys), strict=True)
    named = (*OWNED_KINDS, "zone")
    return family.layout.pack(
        *(
            np.full_like(codes, OTHER) if column.kind in named else codes
            for column, codes in columns
        )
    )
