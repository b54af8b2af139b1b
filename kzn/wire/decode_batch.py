"""Decompress and validate a batch of a peer: limits, columns, sums.

In: an `EncodedBatch` of a frame. Out: a `Batch` with every index, sum and reason in range, or a
WireError with a reason. Never: memory beyond the limits, even if a declared length is false.
Parsing the message is separate (codec.py): the server drops a duplicate by its sequence without
decompressing it, and agents, which decompress nothing, do not need zlib-ng.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from kzn.columns.arrays import U8, U32, U64
from kzn.errors import WireError
from kzn.model.batch import Batch
from kzn.model.flows import Flows
from kzn.model.totals import SLOTS, Counts, Totals
from kzn.wire import kzn_pb2
from kzn.wire.columns import PLANES, PREFIX, SIZES, VIA_PLANES, WIDTHS, Columns
from kzn.wire.compression import decompress
from kzn.wire.encode_batch import EncodedBatch, check_limits
from kzn.wire.limits import MAX_AGE_MS, MAX_SUM, MAX_TOTALS, Limits

OTHER = "other"
"""Counts of an unknown reason are added to this one."""

_KNOWN = {(slot.kind, slot.reason) for slot in SLOTS}
_COLUMNS: tuple[tuple[str, Any, Any], ...] = tuple(
    (name, np.dtype(kind).newbyteorder("<"), np.dtype(kind)) for name, kind in WIDTHS
)
"""Name, type in the stream and type here of each column. The latter has no byte order in its name,
although both may be the same: `numpy.add.at` takes fifty times as long for one that has."""
_REASON = re.compile(r"[a-z][a-z0-9_]{0,63}")


def decode_batch(encoded: EncodedBatch, limits: Limits) -> Batch:
    """The batch; WireError if it is inconsistent or exceeds ``limits``."""
    _check_head(encoded, limits)
    flows = unpack(encoded.columns)
    _check_sums(flows)
    return Batch(
        sequence=encoded.sequence,
        opened_ms_ago=encoded.opened_ms_ago,
        closed_ms_ago=encoded.closed_ms_ago,
        flows=flows,
        totals=_decode_totals(encoded.totals),
    )


def _check_head(encoded: EncodedBatch, limits: Limits) -> None:
    check_limits(encoded.columns, limits)
    if not encoded.closed_ms_ago <= encoded.opened_ms_ago <= MAX_AGE_MS:
        raise WireError(
            f"ages of {encoded.opened_ms_ago} ms (opened) and {encoded.closed_ms_ago} ms (closed)",
            reason="age",
        )
    if len(encoded.totals) > MAX_TOTALS:
        raise WireError(
            f"the totals have {len(encoded.totals)} bytes, the limit is {MAX_TOTALS}",
            reason="totals",
        )


def _check_sums(flows: Flows) -> None:
    for name, column in (("packets", flows.packets), ("bytes", flows.bytes)):
        if not len(column) or largest(column) < MAX_SUM // len(column):
            continue
        if float(column.sum(dtype=np.float64)) >= MAX_SUM:
            raise WireError(f"the {name} of a batch exceed 2^60", reason="counts_range")


def _decode_totals(data: bytes) -> Totals:
    try:
        message = kzn_pb2.Totals.FromString(data)
    except DecodeError as error:
        raise WireError(f"totals: {error}", reason="totals") from error
    seen = Counts()
    others: dict[int, dict[str, Counts]] = {
        kzn_pb2.Total.KIND_MISSED: {},
        kzn_pb2.Total.KIND_IGNORED: {},
    }
    for row in message.total:
        counts = Counts(row.packets, row.bytes)
        if max(counts) >= MAX_SUM:
            raise WireError("a total exceeds 2^60", reason="counts_range")
        if row.kind == kzn_pb2.Total.KIND_SEEN:
            seen = seen.plus(counts)
        elif row.kind in others and _REASON.fullmatch(row.reason):
            if not any(counts):
                continue
            name = "missed" if row.kind == kzn_pb2.Total.KIND_MISSED else "ignored"
            reason = row.reason if (name, row.reason) in _KNOWN else OTHER
            known = others[row.kind]
            known[reason] = known.get(reason, Counts()).plus(counts)
        else:
            raise WireError(f"a total of kind {row.kind} for {row.reason!r}", reason="totals")
    return Totals(seen, others[kzn_pb2.Total.KIND_MISSED], others[kzn_pb2.Total.KIND_IGNORED])


def unpack(columns: Columns) -> Flows:
    """The flows of ``columns``; WireError if the data does not match the declared sizes.

    The caller has checked ``flows``, ``ipv4`` and ``ipv6`` against its limits, which bounds the
    memory used here. An address may occur twice; both rows then mean the same.
    """
    if columns.planes >> PLANES:
        raise WireError(f"planes {columns.planes:#x}: there are only {PLANES}", reason="planes")
    raw = np.frombuffer(decompress(columns.data, columns.inflated, columns.compression), np.uint8)
    end4 = 4 * columns.ipv4
    end6 = end4 + 16 * columns.ipv6
    addresses = _addresses(
        raw[:end4].reshape(4, columns.ipv4), raw[end4:end6].reshape(16, columns.ipv6)
    )
    rows = raw[end6:].reshape(columns.planes.bit_count(), columns.flows)
    found = {
        name: column.view(little).reshape(-1).astype(kind, copy=False).view(kind)
        for (name, little, kind), column in zip(
            _COLUMNS, _from_planes(columns.planes, SIZES, rows, columns.flows), strict=True
        )
    }
    for name in ("src", "dst"):
        if columns.flows and largest(found[name]) >= len(addresses):
            raise WireError(
                f"{name} index {largest(found[name])}, but only {len(addresses)} addresses",
                reason="index_range",
            )
    via = _further(columns, "via", columns.via_planes, columns.via, found["dst"])
    sender = _further(columns, "sender", columns.sender_planes, columns.sender, found["src"])
    return Flows(addresses, **found, via=via, sender=sender)


def _further(columns: Columns, name: str, planes: int, data: bytes, ends: U32) -> U32 | None:
    """The row of each flow's outer destination, or sender; None if no flow has one."""
    if planes >> 2 * VIA_PLANES:
        raise WireError(f"{name}_planes {planes:#x}: there are only 8", reason="planes")
    if not planes:
        return None
    lengths = columns.further_inflated(planes)
    raw = np.frombuffer(decompress(data, sum(lengths), columns.compression), np.uint8)
    of_addresses, of_flows = raw[: lengths[0]], raw[lengths[0] :]
    addresses = columns.ipv4 + columns.ipv6
    by_address = _numbers(planes & 0xF, of_addresses, addresses)
    by_flow = _numbers(planes >> VIA_PLANES, of_flows, columns.flows)
    rows = np.where(by_flow == 0, by_address.take(ends), by_flow - np.uint32(1))
    if len(rows) and largest(rows) > addresses:
        raise WireError(
            f"{name} index {largest(rows) - 1}, but only {addresses} addresses",
            reason="index_range",
        )
    return rows - np.uint32(1)  # 0, none, becomes NO_VIA


def largest(column: U32 | U64) -> int:
    """The greatest of at least one number; `ndarray.max` of a small batch takes twice as long."""
    return int(np.maximum.reduce(column))


def _numbers(planes: int, raw: U8, count: int) -> U32:
    rows = raw.reshape(planes.bit_count(), count)
    [column] = _from_planes(planes, [VIA_PLANES], rows, count)
    return column.view("<u4").reshape(-1).astype(np.uint32, copy=False).view(np.uint32)


def _addresses(ipv4: U8, ipv6: U8) -> U8:
    n = ipv4.shape[1]
    addresses = np.empty((n + ipv6.shape[1], 16), np.uint8)
    addresses[:n, :12] = PREFIX
    addresses[:n, 12:] = ipv4.T
    addresses[n:] = ipv6.T
    return addresses


def _from_planes(planes: int, widths: Sequence[int], rows: U8, count: int) -> Iterator[U8]:
    """Columns of ``count`` numbers, (count, width) bytes each, from the planes that were sent."""
    sent = iter(rows)
    for width in widths:
        own, planes = planes & ((1 << width) - 1), planes >> width
        if width == 1 and own:
            yield next(sent).reshape(count, 1)
            continue
        column = np.zeros((count, width), np.uint8)
        for byte in range(own.bit_length()):
            if own >> byte & 1:
                column[:, byte] = next(sent)
        yield column
