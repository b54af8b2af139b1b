"""Postings: what a resolution adds to each family of series, as keys and bytes.

In: a resolution, the bytes of its flows, and the codes of names. Out: columns for the tables of
the ledger. Never: a change of a series; a loop over flows.

The attributed flows are first summed by the row of one end and the place of the other: pods,
workloads and zones ask no more of a flow than that. Only pairs that cross a zone ask who both are.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from kzn.model.endpoint import UNKNOWN, EndpointIndex
from kzn.model.flows import U64
from kzn.server import verdict as v
from kzn.server.families import EGRESS, INGRESS, PAIR_KEY, WORKLOAD_KEY, ZONE_KEY, FamilyName
from kzn.server.keytable import I64
from kzn.server.names import NONE, Codes, Names
from kzn.server.resolve import Resolution
from kzn.server.sums import sums

Posting = tuple[FamilyName, I64, U64]


@dataclass(frozen=True, slots=True, eq=False)
class _Groups:
    """Bytes by the row of one end and the place of the other, ``far``."""

    row: I64
    far: I64
    bytes: U64


@dataclass(frozen=True, slots=True, eq=False)
class _Names:
    """Codes by row, zone codes by place, and the class (p, p) by both places."""

    codes: Codes
    place: I64
    zone: I64
    classes: I64


def postings(
    resolution: Resolution, sizes: U64, names: Names, index: EndpointIndex, now: float
) -> Iterator[Posting]:
    """Keys, which may repeat, and bytes for each family; ``sizes`` are the bytes of all flows."""
    chosen = np.flatnonzero(resolution.verdict < v.TRANSIT)
    if not chosen.size:
        return
    src, dst = resolution.src.take(chosen), resolution.dst.take(chosen)
    sizes = sizes.take(chosen)
    known = _names(resolution, src, dst, names, index, now)
    sent = _group(src, dst, sizes, known)
    received = _group(dst, src, sizes, known)
    yield _zones(sent, known)
    yield _workloads(sent, received, known)
    yield _pods(sent, resolution, known, names, index)
    crossing = np.flatnonzero(v.CROSSES.take(resolution.verdict.take(chosen)))
    if crossing.size:
        opened = resolution.initiator.take(chosen.take(crossing))
        keys = _pairs(src.take(crossing), dst.take(crossing), known.codes) | opened
        yield "pair", keys, sizes.take(crossing)


def _names(
    resolution: Resolution, src: I64, dst: I64, names: Names, index: EndpointIndex, now: float
) -> _Names:
    place = resolution.place
    used = np.zeros(len(place), np.bool_)
    used[src] = used[dst] = True
    codes = names.codes(np.where(used, resolution.endpoints, UNKNOWN), index, now)
    zone = np.zeros(resolution.places, np.int64)
    zone[place[used]] = codes.zone[used]
    return _Names(codes, place, zone, resolution.classes.astype(np.int64))


def _group(near: I64, far: I64, sizes: U64, known: _Names) -> _Groups:
    rows, places = len(known.place), len(known.zone)
    first = np.arange(rows) * places
    bins = sums(first.take(near) + known.place.take(far), sizes, rows * places)
    filled = np.flatnonzero(bins)
    return _Groups(filled // places, filled % places, bins.take(filled))


def _zones(sent: _Groups, known: _Names) -> Posting:
    src, dst = known.place.take(sent.row), sent.far
    keys = ZONE_KEY.pack(known.zone.take(src), known.zone.take(dst), known.classes[src, dst])
    return "zone", keys, sent.bytes


def _workloads(sent: _Groups, received: _Groups, known: _Names) -> Posting:
    row = np.concatenate([sent.row, received.row])
    direction = np.repeat([EGRESS, INGRESS], [len(sent.row), len(received.row)])
    near, far = known.place.take(row), np.concatenate([sent.far, received.far])
    src, dst = np.where(direction == EGRESS, [near, far], [far, near])
    name = known.codes.workload.take(row)
    zones = known.zone.take(src), known.zone.take(dst)
    keys = WORKLOAD_KEY.pack(name, direction, known.classes[src, dst], *zones)
    named = np.flatnonzero(name != NONE)
    return "workload", keys.take(named), np.concatenate([sent.bytes, received.bytes]).take(named)


def _pods(
    sent: _Groups, resolution: Resolution, known: _Names, names: Names, index: EndpointIndex
) -> Posting:
    crossed = v.CROSSES.take(known.classes[known.place.take(sent.row), sent.far])
    by_row = sums(sent.row[crossed], sent.bytes[crossed], len(known.place))
    rows = np.flatnonzero(by_row)
    keys = names.pod_codes(resolution.endpoints.take(rows), index)
    named = keys != NONE
    return "pod", keys[named], by_row[rows[named]]


def _pairs(src: I64, dst: I64, codes: Codes) -> I64:
    near = PAIR_KEY.pack(codes.owner, codes.zone, 0, 0, 0)
    far = PAIR_KEY.pack(0, 0, codes.owner, codes.zone, 0)
    return near.take(src) | far.take(dst)
