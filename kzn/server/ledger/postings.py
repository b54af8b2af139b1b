"""Postings: the keys and bytes that a resolution adds to each family of series.

In: a resolution, the bytes of its flows, and the codes of labels. Out: columns for the tables of
the ledger. Never: changes a series, or loops over flows in Python.

The attributed flows are first summed by initiator and by workload and location of both ends, unless
nearly each flow has its own of these. All families except pods are sums of these sums.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from kzn.columns.arrays import I64, U64
from kzn.columns.group_sums import group_sums, is_worth_grouping, sums
from kzn.columns.key_layout import KeyLayout
from kzn.model.endpoint import EndpointIndex
from kzn.model.flows import INITIATOR_MASK
from kzn.server.ledger.family import EGRESS, PAIR, POD, WORKLOAD, ZONE, FamilyName
from kzn.server.ledger.labels import LABEL_BITS, NONE, OTHER, EndpointCodes, LabelCodes
from kzn.server.resolve import verdict as v
from kzn.server.resolve.resolve import Resolution

Posting = tuple[FamilyName, I64, U64]

_LOCATION_BITS = 63 - 2 * LABEL_BITS
_INITIATORS = INITIATOR_MASK + 1
_END_KEY = KeyLayout(LABEL_BITS, LABEL_BITS, _LOCATION_BITS)


@dataclass(frozen=True, slots=True, eq=False)
class _Ends:
    """The q distinct ends of flows (a workload at a location), each column (q,)."""

    workload: I64
    owner: I64
    zone: I64
    location: I64

    def __len__(self) -> int:
        return len(self.location)


@dataclass(frozen=True, slots=True, eq=False)
class _Groups:
    """Bytes by source end, destination end and initiator, each a column of the same length.

    The three may repeat.
    ``src`` and ``dst`` are rows of ``ends``. ``zone`` (p,) is the zone's code of each location, and
    ``classes`` (p * p,) the class of each pair of locations.
    """

    ends: _Ends
    src: I64
    dst: I64
    initiator: I64
    bytes: U64
    zone: I64
    classes: I64


def postings(
    resolution: Resolution, sizes: U64, label_codes: LabelCodes, index: EndpointIndex, now: float
) -> Iterator[Posting]:
    """For each family: keys, which may repeat, and bytes. ``sizes`` are the bytes of all flows."""
    chosen = resolution.attributed
    if not chosen.size:
        return
    sizes = sizes.take(chosen)
    groups = _groups(resolution, sizes, label_codes, index, now)
    yield _zones(groups)
    yield _workloads(groups)
    crossing = np.flatnonzero(v.CROSSES.take(resolution.verdict.take(chosen)))
    if crossing.size:
        yield _pairs(groups)
        src = resolution.src.take(chosen.take(crossing))
        yield _pods(src, sizes.take(crossing), resolution, label_codes, index)


def _groups(
    resolution: Resolution, sizes: U64, label_codes: LabelCodes, index: EndpointIndex, now: float
) -> _Groups:
    chosen = resolution.attributed
    src, dst = resolution.src.take(chosen), resolution.dst.take(chosen)
    ends, end_of = _ends(src, dst, resolution, label_codes, index, now)
    src, dst = end_of.take(src), end_of.take(dst)
    senders, rank = _distinct(len(ends), src)  # few: workloads of one node
    cells = (rank.take(src) * len(ends) + dst) * _INITIATORS + resolution.initiators(chosen)
    found, size = sizes, len(senders) * len(ends) * _INITIATORS
    if is_worth_grouping(len(cells), size):
        cells, found = group_sums(cells, sizes, size)
    pair, initiator = np.divmod(cells, _INITIATORS)
    sender, dst = np.divmod(pair, len(ends))
    zone = np.zeros(resolution.locations, np.int64)
    zone[ends.location] = ends.zone
    classes = resolution.classes.ravel().astype(np.int64)
    return _Groups(ends, senders.take(sender), dst, initiator, found, zone, classes)


def _ends(
    src: I64,
    dst: I64,
    resolution: Resolution,
    label_codes: LabelCodes,
    index: EndpointIndex,
    now: float,
) -> tuple[_Ends, I64]:
    """The distinct ends at address rows ``src`` and ``dst``, and the end of each address row."""
    used, _ = _distinct(len(resolution.location), src, dst)
    codes = label_codes.of_endpoints(resolution.endpoints.take(used), index, now)
    location = resolution.location.take(used)
    first, number = _distinct_ends(codes, location, resolution.locations)
    end_of = np.zeros(len(resolution.location), np.int64)
    end_of[used] = number
    columns = (codes.workload, codes.owner, codes.zone, location)
    return _Ends(*(column.take(first) for column in columns)), end_of


def _distinct_ends(codes: EndpointCodes, location: I64, locations: int) -> tuple[I64, I64]:
    """A row of each distinct end, and for each row the number of its end."""
    if (codes.workload == OTHER).any():  # the only workload with several owners
        keys = _END_KEY.pack(codes.workload, codes.owner, location)
        _, first, number = np.unique(keys, return_index=True, return_inverse=True)
        return first, number
    keys = codes.workload * locations + location
    rows = np.arange(len(keys))
    row_of = np.empty(int(keys.max()) + 1, np.int32)  # only what is written is read
    row_of[keys] = rows
    of_key = row_of.take(keys)
    is_first = of_key == rows
    return np.flatnonzero(is_first), (np.cumsum(is_first) - 1).take(of_key)


def _distinct(size: int, *numbers: I64) -> tuple[I64, I64]:
    """The distinct numbers, all below ``size``, in order; and the rank of each of them."""
    present = np.zeros(size, np.bool_)
    for column in numbers:
        present[column] = True
    return np.flatnonzero(present), np.cumsum(present) - 1


def _zones(groups: _Groups) -> Posting:
    locations, of = len(groups.zone), groups.ends.location
    cells = of.take(groups.src) * locations + of.take(groups.dst)
    cells, found = group_sums(cells, groups.bytes, locations * locations)
    src, dst = np.divmod(cells, locations)
    zones = groups.zone.take(src), groups.zone.take(dst)
    return ZONE.name, ZONE.layout.pack(*zones, groups.classes.take(cells)), found


def _workloads(groups: _Groups) -> Posting:
    """The egress of each workload, then the ingress of each, by the location of the other end."""
    ends, locations = groups.ends, len(groups.zone)
    near = np.concatenate([groups.src, groups.dst + len(ends)])
    far = ends.location.take(np.concatenate([groups.dst, groups.src]))
    cells, found = group_sums(
        near * locations + far, np.tile(groups.bytes, 2), 2 * len(ends) * locations
    )
    near, far = np.divmod(cells, locations)
    direction, near = np.divmod(near, len(ends))
    name, location = ends.workload.take(near), ends.location.take(near)
    src, dst = np.where(direction == EGRESS, [location, far], [far, location])
    zones = groups.zone.take(src), groups.zone.take(dst)
    keys = WORKLOAD.layout.pack(name, direction, groups.classes.take(src * locations + dst), *zones)
    named = np.flatnonzero(name != NONE)
    return WORKLOAD.name, keys.take(named), found.take(named)


def _pairs(groups: _Groups) -> Posting:
    ends, of = groups.ends, groups.ends.location
    cells = of.take(groups.src) * len(groups.zone) + of.take(groups.dst)
    crossing = np.flatnonzero(v.CROSSES.take(groups.classes.take(cells)))
    near = PAIR.layout.pack(ends.owner, ends.zone, 0, 0, 0).take(groups.src.take(crossing))
    far = PAIR.layout.pack(0, 0, ends.owner, ends.zone, 0).take(groups.dst.take(crossing))
    return PAIR.name, near | far | groups.initiator.take(crossing), groups.bytes.take(crossing)


def _pods(
    src: I64, sizes: U64, resolution: Resolution, label_codes: LabelCodes, index: EndpointIndex
) -> Posting:
    """``src`` is the address row of the sender of each of ``sizes``, all of which cross zones."""
    by_row = sums(src, sizes, len(resolution.location))
    rows = np.flatnonzero(by_row > 0)
    keys = label_codes.of_pods(resolution.endpoints.take(rows), index)
    named = keys != NONE
    return POD.name, keys[named], by_row[rows[named]]
