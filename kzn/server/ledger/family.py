"""The families of series: each is one `Family` value, which all rooms derive their part from.

A family's key packs one code per `Column`; a column's codes stand for one or more label values.
In: label values or keys. Out: the other of the two, and `LedgerSnapshot`, a copy to read.

To add a family: one value here, one function in postings.py, one row in docs/metrics.md.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, chain, pairwise
from operator import itemgetter
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from kzn.columns.arrays import BOOL, F64, I64, U8, U64
from kzn.columns.key_layout import KeyLayout
from kzn.errors import KznError
from kzn.pricing.traffic import REASONS
from kzn.server.ledger.labels import (
    CURRENCY_BITS,
    LABEL_BITS,
    OTHER_LABEL,
    OWNED_KINDS,
    LabelCodes,
    LabelKind,
    Labels,
    LabelTables,
)
from kzn.server.ledger.places import OTHER, ZONE_BITS
from kzn.server.resolve.verdict import CLASSES

FamilyName = str
"""Names the family in saved rows, in the tables of the state file and in label ``family``."""

DIRECTIONS = ("egress", "ingress")
EGRESS, INGRESS = range(2)

_ROWS_AT_ONCE = 1024

INITIATORS = ("unknown", "source", "destination")
"""Which side of a pair opened the connection, by the bits of kzn.model.flows."""

SIDES = ("sender", "receiver")
"""Which end is billed, in the order of `DIRECTIONS`."""
BEFORE_PRICES = "before_prices"
"""Unpriced: counted while the server had no prices."""
TOO_MANY_PLACES = "too_many_places"
"""Unpriced: more zones, regions or currencies than there are codes."""
UNPRICED_REASONS = (*REASONS, BEFORE_PRICES, TOO_MANY_PLACES)

Unit = Literal["bytes", "money"]
Amounts = npt.NDArray[Any]
"""Bytes (uint64), or amounts of a currency (float64), as the family's `Unit` is."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a family's keys; its codes stand for values of ``labels``.

    A code is one of `LabelCodes` of this ``kind``, or without a kind an index into ``values``.
    """

    labels: Labels
    bits: int
    kind: LabelKind | None = None
    values: Labels = ()

    def code(self, values: Labels, codes: LabelCodes) -> int:
        """The code of label values, a new one if need be; ValueError for none of ``values``."""
        if self.kind is None:
            (value,) = values
            return self.values.index(value)
        return codes.of_kind(self.kind).code(values, None)

    def rows(self, tables: LabelTables) -> Sequence[Labels]:
        """The label values of each code."""
        return [(value,) for value in self.values] if self.kind is None else tables[self.kind]


@dataclass(frozen=True, slots=True)
class Family:
    """One family of series: its metric, its columns and its limits.

    ``limit`` is the default number of series. A ``top`` family keeps the largest and replaces them
    by window (top_pairs.py); the others give series in the order of arrival. ``api_list`` is its
    topic and key in /api/v1, empty for none. ``retention`` is how long a series stays after its
    last byte, in seconds, if its endpoints were deleted. A family ``of_cost`` is written by the
    cost meter and off without prices.
    """

    name: FamilyName
    metric: str
    help: str
    columns: tuple[Column, ...]
    limit: int
    top: bool = False
    api_list: str = ""
    retention: float = 26 * 3600.0  # a CronJob that runs once a day goes on where it was
    unit: Unit = "bytes"
    of_cost: bool = False
    labels: Labels = field(init=False)
    spans: tuple[slice, ...] = field(init=False)
    """The positions in ``labels`` of the labels of each column."""
    other_labels: Labels = field(init=False)
    """Labels of the series `other`, also in saved rows."""
    other_key: int | None = field(init=False)
    """The key with these labels, None if a column cannot have them. A pod called other in a
    namespace called other shares that series."""
    layout: KeyLayout = field(init=False)
    owned_kinds: frozenset[LabelKind] = field(init=False)
    """The kinds of its labels that belong to endpoints; without any, its series do not end."""

    def __post_init__(self) -> None:
        labels = tuple(chain.from_iterable(column.labels for column in self.columns))
        layout = KeyLayout(*(column.bits for column in self.columns))
        has_other = all(column.kind is not None for column in self.columns)
        other_key = int(layout.pack(*[OTHER] * len(self.columns))) if has_other else None
        owned = frozenset(column.kind for column in self.columns if column.kind in OWNED_KINDS)
        ends = accumulate(len(column.labels) for column in self.columns)
        spans = (slice(a, b) for a, b in pairwise([0, *ends]))
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "spans", tuple(spans))
        object.__setattr__(self, "other_labels", (OTHER_LABEL,) * len(labels))
        object.__setattr__(self, "other_key", other_key)
        object.__setattr__(self, "layout", layout)
        object.__setattr__(self, "owned_kinds", owned)

    def key(self, labels: Labels, codes: LabelCodes) -> int | None:
        """The key of a series' label values; KznError when these are too many or too few.

        None if one of them is not in the list of its column: another version of kzn may have
        longer lists.
        """
        if len(labels) != len(self.labels):
            raise KznError(f"{self.name!r} has no series {labels!r}")
        try:
            return self.layout.pack_row(
                column.code(labels[span], codes)
                for column, span in zip(self.columns, self.spans, strict=True)
            )
        except ValueError:
            return None

    def owned(self, keys: I64) -> Iterator[tuple[LabelKind, I64]]:
        """Kind and codes of each column whose labels belong to endpoints."""
        for column, codes in zip(self.columns, self.layout.unpack(keys), strict=True):
            if column.kind in OWNED_KINDS:
                yield column.kind, codes

    def labels_of(self, keys: I64, tables: LabelTables) -> Iterator[Labels]:
        """The label values of each key."""
        if not keys.size:
            return iter(())
        codes = [column.tolist() for column in self.layout.unpack(keys)]
        rows = [column.rows(tables) for column in self.columns]
        if len(rows) == 1:
            return map(rows[0].__getitem__, codes[0])
        return zip(
            *(
                map(itemgetter(at), map(row.__getitem__, code))
                for column, row, code in zip(self.columns, rows, codes, strict=True)
                for at in range(len(column.labels))
            ),
            strict=True,
        )


def _owned(kind: LabelKind, *labels: str) -> Column:
    return Column(labels, LABEL_BITS, kind)


def _zone(label: str) -> Column:
    return Column((label,), ZONE_BITS, "zone")


_DIRECTION = Column(("direction",), 1, values=DIRECTIONS)
_CLASS = Column(("class",), 3, values=CLASSES)
_INITIATOR = Column(("initiator",), 2, values=INITIATORS)

POD = Family(
    "pod",
    "pod_cross_zone_network_traffic_bytes_total",
    "Bytes that the pod sent to another zone or region",
    (_owned("pod", "namespace", "pod"),),
    limit=200_000,
    retention=6 * 3600.0,  # few names come again; extrapolation of increase() stays below 0.1 %
)
WORKLOAD = Family(
    "workload",
    "kzn_workload_traffic_bytes_total",
    "Bytes that the workload sent (egress) or was sent (ingress), by what they crossed",
    (
        _owned("workload", "namespace", "workload_kind", "workload"),
        _DIRECTION,
        _CLASS,
        _zone("src_zone"),
        _zone("dst_zone"),
    ),
    limit=200_000,
    api_list="workloads",
)
PAIR = Family(
    "pair",
    "kzn_workload_pair_bytes_total",
    "Bytes from one workload to another in another zone or region; beyond the limit of pairs"
    " in a series whose labels are all other",
    (
        _owned("owner", "src_namespace", "src_workload"),
        _zone("src_zone"),
        _owned("owner", "dst_namespace", "dst_workload"),
        _zone("dst_zone"),
        _INITIATOR,
    ),
    limit=20_000,
    top=True,
    api_list="pairs",
)
ZONE = Family(
    "zone",
    "kzn_zone_traffic_bytes_total",
    "Bytes from zone to zone, same-zone included",
    (_zone("src_zone"), _zone("dst_zone"), _CLASS),
    limit=20_000,
    api_list="zones",
)

_CURRENCY = Column(("currency",), CURRENCY_BITS, "currency")
WORKLOAD_COST = Family(
    "workload_cost",
    "kzn_workload_cost_total",
    "Cost of the traffic of a workload at its side: what it is billed as the sender and as the"
    " receiver",
    (
        _owned("workload", "namespace", "workload_kind", "workload"),
        Column(("side",), 1, values=SIDES),
        _CLASS,
        _CURRENCY,
    ),
    limit=100_000,
    unit="money",
    of_cost=True,
)
CAUSED_COST = Family(
    "caused_cost",
    "kzn_workload_caused_cost_total",
    "Cost, at both sides, of the connections that the workload opened; of those whose opener is"
    " unknown, of what it sent",
    (_owned("workload", "namespace", "workload_kind", "workload"), _CLASS, _CURRENCY),
    limit=100_000,
    unit="money",
    of_cost=True,
)
ZONE_COST = Family(
    "zone_cost",
    "kzn_zone_cost_total",
    "Cost, at both sides, of the traffic from zone to zone",
    (_zone("src_zone"), _zone("dst_zone"), _CLASS, _CURRENCY),
    limit=20_000,
    unit="money",
    of_cost=True,
)
PRICED = Family(
    "priced",
    "kzn_priced_bytes_total",
    "Attributed bytes with a known price, which may be 0",
    (_CURRENCY,),
    limit=1 << CURRENCY_BITS,
    of_cost=True,
)
UNPRICED = Family(
    "unpriced",
    "kzn_unpriced_bytes_total",
    "Attributed bytes without a known price, by reason",
    (Column(("reason",), 4, values=UNPRICED_REASONS),),
    limit=1 << 4,
    of_cost=True,
)

_ALL = (POD, WORKLOAD, PAIR, ZONE, WORKLOAD_COST, CAUSED_COST, ZONE_COST, PRICED, UNPRICED)
FAMILIES = {family.name: family for family in _ALL}
"""In the order in which they are exposed and saved."""


class Row(NamedTuple):
    """One series as plain values, as it is saved and loaded.

    ``bytes`` is an amount of the currency in a family of money. ``priced_bytes`` of its
    bytes have a price, and cost ``cost`` in ``currency``.
    """

    family: FamilyName
    labels: Labels
    bytes: int
    exposed: bool = True
    """False while it is exposed at 0 (first_scrape.py)."""
    created: float = 0.0
    """When it began, in Unix time; 0 if that is unknown."""
    cost: float = 0.0
    priced_bytes: int = 0
    currency: str = ""


class SeriesState(NamedTuple):
    """What is saved of one series beside its labels, as in `Row`."""

    bytes: int
    exposed: bool
    created: float
    cost: float = 0.0
    priced_bytes: int = 0
    currency: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class RowCosts:
    """The cost of the bytes of n series so far, each column (n,).

    ``currency`` is the code of the cost's currency, `NONE` without any. ``priced_bytes`` are those
    whose price is known; all are as of the last settlement.
    """

    cost: F64
    priced_bytes: U64
    currency: U8


class SavedRows(Protocol):
    """Series that changed: their labels and states, made as they are read."""

    def __len__(self) -> int: ...

    def items(self) -> Iterable[tuple[Labels, SeriesState]]:
        """The labels and the state of each."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class ChangedRows:
    """`SavedRows` of copied columns; any thread may read them.

    ``columns`` are those of `SeriesState`, each (n,). To make 100,000 rows takes 0.1 s.
    """

    family: Family
    tables: LabelTables
    keys: I64
    columns: tuple[npt.NDArray[Any], ...]

    def __len__(self) -> int:
        return len(self.keys)

    def items(self) -> Iterator[tuple[Labels, SeriesState]]:
        """The labels and the state of each series."""
        for first in range(0, len(self.keys), _ROWS_AT_ONCE):
            part = slice(first, first + _ROWS_AT_ONCE)
            columns = (column[part].tolist() for column in self.columns)
            labels = self.family.labels_of(self.keys[part], self.tables)
            yield from zip(labels, map(SeriesState, *columns), strict=True)


@dataclass(frozen=True, slots=True)
class FamilyChanges:
    """Series that ended, then the series that changed, and the sums of the family.

    ``other`` is the series other, ``retired`` what ended series had counted.
    """

    ended: list[Labels]
    rows: SavedRows
    other: SeriesState
    retired: int
    other_changed: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A copy of one table. Series that are not ``exposed`` are exposed at 0."""

    keys: I64
    bytes: Amounts
    exposed: BOOL
    created: F64
    other: SeriesState
    retired: int
    limit: int
    evicted: int = 0
    costs: RowCosts | None = None
    """None without prices, and in a family of cost."""

    @property
    def exposed_bytes(self) -> Amounts:
        """What a scrape shows of each series."""
        return np.where(self.exposed, self.bytes, self.bytes.dtype.type(0))

    @property
    def exposed_other(self) -> int:
        """What a scrape shows of the series other."""
        return self.other.bytes if self.other.exposed else 0

    @property
    def pending(self) -> int:
        """Bytes that a scrape does not show yet."""
        pending = int(self.bytes[~self.exposed].sum())
        return pending + self.other.bytes - self.exposed_other


@dataclass(frozen=True, slots=True, eq=False)
class LedgerSnapshot:
    """A copy of the ledger: cheap to take, may be read by any thread."""

    views: dict[FamilyName, View]
    """By family; none for a family that is off."""
    tables: LabelTables
    """The label values of each code, by kind of name."""

    def rows(self, name: FamilyName) -> Iterator[tuple[Labels, int]]:
        """Label values and all bytes of each series, then ``other`` unless it is 0."""
        if name not in self.views:
            return
        family, view = FAMILIES[name], self.views[name]
        other, other_labels = view.other.bytes, family.other_labels
        labels_of_keys = family.labels_of(view.keys, self.tables)
        for labels, total in zip(labels_of_keys, view.bytes.tolist(), strict=True):
            if labels == other_labels:
                other += total
            else:
                yield labels, total
        if other:
            yield other_labels, other
