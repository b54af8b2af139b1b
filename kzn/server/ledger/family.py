"""The four families of series: their labels, the layout of their keys, and a copy to read.

A row is (family, label values, bytes). The same rows are exposed, saved and loaded.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from kzn.columns.arrays import I64, U64
from kzn.columns.key_layout import KeyLayout
from kzn.errors import KznError
from kzn.server.ledger.labels import NAME_BITS, OTHER_LABEL, ZONE_BITS, LabelCodes, Labels
from kzn.server.resolve.verdict import CLASSES

FamilyName = Literal["pod", "workload", "pair", "zone"]

LABELS: dict[FamilyName, Labels] = {
    "pod": ("namespace", "pod"),
    "workload": (
        "namespace",
        "workload_kind",
        "workload",
        "direction",
        "class",
        "src_zone",
        "dst_zone",
    ),
    "pair": (
        "src_namespace",
        "src_workload",
        "src_zone",
        "dst_namespace",
        "dst_workload",
        "dst_zone",
        "initiator",
    ),
    "zone": ("src_zone", "dst_zone", "class"),
}

DIRECTIONS = ("egress", "ingress")
EGRESS, INGRESS = range(2)

INITIATORS = ("unknown", "source", "destination")
"""Which side of a pair opened the connection, by the bits of kzn.model.flows."""

WORKLOAD_KEY = KeyLayout(NAME_BITS, 1, 3, ZONE_BITS, ZONE_BITS)
PAIR_KEY = KeyLayout(NAME_BITS, ZONE_BITS, NAME_BITS, ZONE_BITS, 2)
ZONE_KEY = KeyLayout(ZONE_BITS, ZONE_BITS, 3)
"""Keys of series: codes in the order of the labels above. A pod's key is its code."""


OTHER_LABELS: dict[FamilyName, Labels] = {
    family: (OTHER_LABEL,) * len(labels) for family, labels in LABELS.items()
}
"""Of the series that sums what has no series of its own; in a saved row, too."""


class Row(NamedTuple):
    """One series as plain values."""

    family: FamilyName
    labels: Labels
    bytes: int


@dataclass(frozen=True, slots=True)
class FamilyChanges:
    """Series that ended, then the totals of series that changed, and what the family sums up.

    ``other`` is the total of the series other, ``retired`` what ended series had counted.
    """

    ended: list[Labels]
    rows: dict[Labels, int]
    other: int
    retired: int


def key_of(family: FamilyName, labels: Labels, names: LabelCodes) -> int:
    """The key of a row's labels; KznError when they are not this family's."""
    try:
        return _KEY_OF[family](labels, names)
    except (KeyError, ValueError) as error:
        raise KznError(f"{family!r} has no series {labels!r}") from error


def _pod_key(labels: Labels, names: LabelCodes) -> int:
    namespace, pod = labels
    return names.pods.code((namespace, pod), None)


def _workload_key(labels: Labels, names: LabelCodes) -> int:
    namespace, kind, workload, direction, crossed, src, dst = labels
    return int(
        WORKLOAD_KEY.pack(
            names.workloads.code((namespace, kind, workload), None),
            DIRECTIONS.index(direction),
            CLASSES.index(crossed),
            names.zones.label_code(src),
            names.zones.label_code(dst),
        )
    )


def _pair_key(labels: Labels, names: LabelCodes) -> int:
    src_namespace, src, src_zone, dst_namespace, dst, dst_zone, initiator = labels
    return int(
        PAIR_KEY.pack(
            names.owners.code((src_namespace, src), None),
            names.zones.label_code(src_zone),
            names.owners.code((dst_namespace, dst), None),
            names.zones.label_code(dst_zone),
            INITIATORS.index(initiator),
        )
    )


def _zone_key(labels: Labels, names: LabelCodes) -> int:
    src, dst, crossed = labels
    zones = names.zones
    return int(ZONE_KEY.pack(zones.label_code(src), zones.label_code(dst), CLASSES.index(crossed)))


_KEY_OF = {"pod": _pod_key, "workload": _workload_key, "pair": _pair_key, "zone": _zone_key}


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A copy of one table."""

    keys: I64
    bytes: U64
    other: int
    retired: int
    limit: int


@dataclass(frozen=True, slots=True, eq=False)
class LedgerSnapshot:
    """A copy of the ledger: cheap to take, to be read by any thread."""

    views: dict[FamilyName, View]
    pods: Sequence[Labels]
    workloads: Sequence[Labels]
    owners: Sequence[Labels]
    zones: Sequence[Labels]

    def rows(self, family: FamilyName) -> Iterator[tuple[Labels, int]]:
        """Label values and bytes of each series, at last ``other`` when there is any."""
        view = self.views[family]
        other_labels = OTHER_LABELS[family]
        other = view.other
        for labels, total in zip(self.labels(family, view.keys), view.bytes.tolist(), strict=True):
            if labels == other_labels:  # a pod may be called other in a namespace called other
                other += total
            else:
                yield labels, total
        if other:
            yield other_labels, other

    def labels(self, family: FamilyName, keys: I64) -> Iterator[Labels]:
        """The label values of each key."""
        if not keys.size:
            return iter(())
        match family:
            case "pod":
                return map(self.pods.__getitem__, keys.tolist())
            case "workload":
                return self._workload_labels(keys)
            case "pair":
                return self._pair_labels(keys)
            case "zone":
                return self._zone_labels(keys)

    def _workload_labels(self, keys: I64) -> Iterator[Labels]:
        names, zones = self.workloads, self.zones
        columns = (column.tolist() for column in WORKLOAD_KEY.unpack(keys))
        for name, direction, crossed, src, dst in zip(*columns, strict=True):
            middle = (DIRECTIONS[direction], CLASSES[crossed])
            yield (*names[name], *middle, zones[src][0], zones[dst][0])

    def _pair_labels(self, keys: I64) -> Iterator[Labels]:
        names, zones = self.owners, self.zones
        columns = (column.tolist() for column in PAIR_KEY.unpack(keys))
        for src, src_zone, dst, dst_zone, opened in zip(*columns, strict=True):
            ends = (*names[src], zones[src_zone][0], *names[dst], zones[dst_zone][0])
            yield (*ends, INITIATORS[opened])

    def _zone_labels(self, keys: I64) -> Iterator[Labels]:
        columns = (column.tolist() for column in ZONE_KEY.unpack(keys))
        for src, dst, crossed in zip(*columns, strict=True):
            yield (self.zones[src][0], self.zones[dst][0], CLASSES[crossed])
