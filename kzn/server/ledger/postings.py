"""Postings: the keys and bytes that a resolution adds to each family of series.

In: a resolution, the bytes of its flows, and the codes of labels. Out: columns for the tables of
the ledger. Never: changes a series, loops over flows in Python, or knows a price.

The attributed flows are first summed by initiator and by workload and location of both ends, unless
nearly each flow has its own of these. All families except pods are sums of these sums.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from kzn.columns.arrays import I64, U64
from kzn.columns.group_sums import (
    group_sums,
    group_sums_and_parts,
    is_worth_grouping,
    quotients,
    sums,
)
from kzn.columns.key_layout import KeyLayout
from kzn.model.endpoint import EndpointIndex
from kzn.model.flows import INITIATOR_DESTINATION, INITIATOR_MASK
from kzn.server.ledger.family import EGRESS, PAIR, POD, WORKLOAD, ZONE, FamilyName
from kzn.server.ledger.labels import LABEL_BITS, EndpointCodes, LabelCodes
from kzn.server.ledger.places import NONE, OTHER, OWN_PLACE, PLACE_BITS
from kzn.server.resolve import verdict as v
from kzn.server.resolve.resolution import Resolution


class Posting(NamedTuple):
    """Bytes by key, which may repeat.

    ``caused`` is the part of the bytes whose connection the workload of the key opened (unknown:
    that it sent); None without prices.
    """

    family: FamilyName
    keys: I64
    bytes: U64
    caused: U64 | None = None


@dataclass(frozen=True, slots=True, eq=False)
class BilledApart:
    """Flows whose price their zones do not tell (places.py), which `Posting`s have as well.

    All columns are (n,): codes of labels, classes, initiators, codes of places, and bytes.
    """

    src_workload: I64
    dst_workload: I64
    src_owner: I64
    dst_owner: I64
    src_zone: I64
    dst_zone: I64
    src_place: I64
    dst_place: I64
    cls: I64
    initiator: I64
    bytes: U64

    def __len__(self) -> int:
        return len(self.bytes)


_LOCATION_BITS = 63 - 2 * LABEL_BITS
_INITIATORS = INITIATOR_MASK + 1
_INITIATOR_BITS = INITIATOR_MASK.bit_length()
_END_KEY = KeyLayout(LABEL_BITS, LABEL_BITS, _LOCATION_BITS)


@dataclass(frozen=True, slots=True, eq=False)
class _Ends:
    """The q distinct ends of flows (a workload at a location), each column (q,)."""

    workload: I64
    owner: I64
    zone: I64
    location: I64
    place: I64
    has_own_place: bool
    """Whether a place is not told by its zone (places.py)."""

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
    resolution: Resolution,
    sizes: U64,
    label_codes: LabelCodes,
    index: EndpointIndex,
    now: float,
    *,
    priced: bool = False,
) -> Iterator[Posting | BilledApart]:
    """For each family: keys, which may repeat, and bytes. ``sizes`` are the bytes of all flows.

    With ``priced`` also what the prices of bytes depend on.
    """
    chosen = resolution.attributed
    if not chosen.size:
        return
    sizes = sizes.take(chosen)
    groups = _groups(resolution, sizes, label_codes, index, now)
    yield _zones(groups)
    yield _workloads(groups, priced=priced)
    if priced and groups.ends.has_own_place:
        yield _billed_apart(groups)
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
    pair, initiator = cells >> _INITIATOR_BITS, cells & INITIATOR_MASK
    sender, dst = quotients(pair, len(ends))
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
    has_own_place = bool((codes.place >= OWN_PLACE).any())
    if has_own_place:  # one workload at one location may be billed in two ways
        both: I64 = np.bitwise_or(np.left_shift(number, PLACE_BITS), codes.place)
        _, first, number = np.unique(both, return_index=True, return_inverse=True)
    end_of = np.zeros(len(resolution.location), np.int64)
    end_of[used] = number
    return _Ends(
        workload=codes.workload.take(first),
        owner=codes.owner.take(first),
        zone=codes.zone.take(first),
        location=location.take(first),
        place=codes.place.take(first),
        has_own_place=has_own_place,
    ), end_of


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
    src, dst = quotients(cells, locations)
    zones = groups.zone.take(src), groups.zone.take(dst)
    return Posting(ZONE.name, ZONE.layout.pack(*zones, groups.classes.take(cells)), found)


def _workloads(groups: _Groups, *, priced: bool) -> Posting:
    """The egress of each workload, then the ingress of each, by the location of the other end."""
    ends, locations = groups.ends, len(groups.zone)
    egress = groups.src * locations + ends.location.take(groups.dst)
    ingress = (groups.dst + len(ends)) * locations + ends.location.take(groups.src)
    cells, size = np.concatenate([egress, ingress]), 2 * len(ends) * locations
    caused = None
    if priced:
        by_dst = groups.initiator == INITIATOR_DESTINATION
        opened = egress + (ingress - egress) * by_dst  # np.where is slow: who opened is random
        cells, found, caused = group_sums_and_parts(
            cells, np.tile(groups.bytes, 2), opened, groups.bytes, size
        )
    else:
        cells, found = group_sums(cells, np.tile(groups.bytes, 2), size)
    near, far = quotients(cells, locations)
    direction, near = quotients(near, len(ends))
    name, location = ends.workload.take(near), ends.location.take(near)
    src, dst = np.where(direction == EGRESS, [location, far], [far, location])
    zones = groups.zone.take(src), groups.zone.take(dst)
    keys = WORKLOAD.layout.pack(name, direction, groups.classes.take(src * locations + dst), *zones)
    named = np.flatnonzero(name != NONE)
    if caused is not None:
        caused = caused.take(named)
    return Posting(WORKLOAD.name, keys.take(named), found.take(named), caused)


def _billed_apart(groups: _Groups) -> BilledApart:
    ends = groups.ends
    is_apart = ends.place >= OWN_PLACE
    chosen = np.flatnonzero(is_apart.take(groups.src) | is_apart.take(groups.dst))
    src, dst = groups.src.take(chosen), groups.dst.take(chosen)
    cells = ends.location.take(src) * len(groups.zone) + ends.location.take(dst)
    return BilledApart(
        src_workload=ends.workload.take(src),
        dst_workload=ends.workload.take(dst),
        src_owner=ends.owner.take(src),
        dst_owner=ends.owner.take(dst),
        src_zone=ends.zone.take(src),
        dst_zone=ends.zone.take(dst),
        src_place=ends.place.take(src),
        dst_place=ends.place.take(dst),
        cls=groups.classes.take(cells),
        initiator=groups.initiator.take(chosen),
        bytes=groups.bytes.take(chosen),
    )


def _pairs(groups: _Groups) -> Posting:
    ends, of = groups.ends, groups.ends.location
    cells = of.take(groups.src) * len(groups.zone) + of.take(groups.dst)
    crossing = np.flatnonzero(v.CROSSES.take(groups.classes.take(cells)))
    near = PAIR.layout.pack(ends.owner, ends.zone, 0, 0, 0).take(groups.src.take(crossing))
    far = PAIR.layout.pack(0, 0, ends.owner, ends.zone, 0).take(groups.dst.take(crossing))
    keys = near | far | groups.initiator.take(crossing)
    return Posting(PAIR.name, keys, groups.bytes.take(crossing))


def _pods(
    src: I64, sizes: U64, resolution: Resolution, label_codes: LabelCodes, index: EndpointIndex
) -> Posting:
    """``src`` is the address row of the sender of each of ``sizes``, all of which cross zones."""
    by_row = sums(src, sizes, len(resolution.location))
    rows = np.flatnonzero(by_row > 0)
    keys = label_codes.of_pods(resolution.endpoints.take(rows), index)
    named = keys != NONE
    return Posting(POD.name, keys[named], by_row[rows[named]])
