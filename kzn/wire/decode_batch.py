"""Decompress and validate batches of peers: limits, columns, sums.

In: `EncodedBatch`es of frames. Out: of each a `Batch` with every index, sum and reason in range, or
a WireError with a reason. Never: memory beyond the limits, even if a declared length is false.
Each column of several batches is put together and checked by the same calls of numpy: of small
batches that takes half the time.

Parsing the message is separate (codec.py): the server drops a duplicate by its sequence without
decompressing it, and agents, which decompress nothing, do not need zlib-ng.
"""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError

from kzn.columns.arrays import U8, U32, U64
from kzn.errors import WireError
from kzn.model.batch import Batch
from kzn.model.flows import Flows
from kzn.model.totals import SLOTS, Counts, Totals
from kzn.wire import kzn_pb2
from kzn.wire.columns import PLANES, PREFIX, VIA_PLANES, WIDTHS, Columns
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


class _Inflated(NamedTuple):
    """A batch whose stream of columns is decompressed: addresses, and the planes that were sent."""

    encoded: EncodedBatch
    totals: Totals
    raw: U8
    planes: dict[int, U8]
    """By their position; planes of zeros are not sent."""


@lru_cache(1024)
def _positions(planes: int) -> tuple[int, ...]:
    """The numbers of the bits of ``planes``."""
    return tuple(bit for bit in range(PLANES) if planes >> bit & 1)


def decode_batch(encoded: EncodedBatch, limits: Limits) -> Batch:
    """The batch; WireError if it is inconsistent or exceeds ``limits``."""
    [found] = decode_batches([encoded], limits)
    if isinstance(found, WireError):
        raise found
    return found


def decode_batches(encoded: Sequence[EncodedBatch], limits: Limits) -> list[Batch | WireError]:
    """`decode_batch` of each, or its error. The flows of all are parts of the same arrays.

    The memory used is bounded by ``limits`` for each: the caller bounds their number. An address
    may occur twice in a batch; both rows then mean the same.
    """
    errors: dict[int, WireError] = {}
    inflated = []
    for number, one in enumerate(encoded):
        try:
            inflated.append(_inflate(one, limits))
        except WireError as error:
            errors[number] = error
    decoded = _decode(inflated)
    return [errors.get(number) or next(decoded) for number in range(len(encoded))]


def _inflate(encoded: EncodedBatch, limits: Limits) -> _Inflated:
    _check_head(encoded, limits)
    columns = encoded.columns
    if columns.planes >> PLANES:
        raise WireError(f"planes {columns.planes:#x}: there are only {PLANES}", reason="planes")
    raw = np.frombuffer(decompress(columns.data, columns.inflated, columns.compression), np.uint8)
    positions = _positions(columns.planes)
    rows = raw[4 * columns.ipv4 + 16 * columns.ipv6 :].reshape(len(positions), columns.flows)
    planes = dict(zip(positions, rows, strict=True))
    return _Inflated(encoded, _decode_totals(encoded.totals), raw, planes)


def _decode(inflated: Sequence[_Inflated]) -> Iterator[Batch | WireError]:
    if not inflated:
        return
    table, ends = _addresses(inflated)
    flows = [*accumulate((one.encoded.columns.flows for one in inflated), initial=0)]
    columns = _columns(inflated, flows[-1])
    errors = _out_of_range(inflated, columns, flows)
    for number, one in enumerate(inflated):
        if number in errors:
            yield errors[number]
            continue
        part = slice(flows[number], flows[number + 1])
        own = {name: column[part] for name, column in columns.items()}
        addresses = table[ends[number] : ends[number + 1]]
        try:
            via, sender = _outer_ends(one.encoded.columns, own)
        except WireError as error:
            yield error
            continue
        yield Batch(
            sequence=one.encoded.sequence,
            opened_ms_ago=one.encoded.opened_ms_ago,
            closed_ms_ago=one.encoded.closed_ms_ago,
            flows=Flows(addresses, **own, via=via, sender=sender),
            totals=one.totals,
        )


def _columns(inflated: Sequence[_Inflated], flows: int) -> dict[str, npt.NDArray[Any]]:
    """Each column of all batches, one after the other."""
    sent = 0
    for one in inflated:
        sent |= one.encoded.columns.planes
    found: dict[str, npt.NDArray[Any]] = {}
    first = 0
    for name, little, kind in _COLUMNS:
        width = kind.itemsize
        if width == 1 and sent >> first & 1:
            found[name] = _plane(inflated, first)
        else:
            column = np.zeros((flows, width), np.uint8)
            for byte in range(width):
                if sent >> (first + byte) & 1:
                    column[:, byte] = _plane(inflated, first + byte)
            found[name] = column.view(little).reshape(-1).astype(kind, copy=False).view(kind)
        first += width
    return found


def _plane(inflated: Sequence[_Inflated], position: int) -> U8:
    """A plane of all batches, one after the other."""
    if len(inflated) == 1:
        return inflated[0].planes[position]
    return np.concatenate(
        [
            one.planes[position]
            if one.encoded.columns.planes >> position & 1
            else np.zeros(one.encoded.columns.flows, np.uint8)
            for one in inflated
        ]
    )


def _addresses(inflated: Sequence[_Inflated]) -> tuple[U8, list[int]]:
    """The addresses of all batches, and where those of each begin; the end as last entry."""
    counts = [one.encoded.columns.ipv4 + one.encoded.columns.ipv6 for one in inflated]
    begins = [*accumulate(counts, initial=0)]
    table = np.empty((begins[-1], 16), np.uint8)
    for one, begin, end in zip(inflated, begins, begins[1:], strict=False):
        ipv4, ipv6 = one.encoded.columns.ipv4, one.encoded.columns.ipv6
        at = begin + ipv4
        table[begin:at, :12] = PREFIX
        table[begin:at, 12:] = one.raw[: 4 * ipv4].reshape(4, ipv4).T
        if ipv6:
            table[at:end] = one.raw[4 * ipv4 : 4 * ipv4 + 16 * ipv6].reshape(16, ipv6).T
    return table, begins


def _out_of_range(
    inflated: Sequence[_Inflated], columns: dict[str, npt.NDArray[Any]], flows: list[int]
) -> dict[int, WireError]:
    """The batches with a row number without an address, or with too large a sum."""
    found: dict[int, WireError] = {}
    # Those without flows are in range; reduceat needs one of each.
    numbers = [number for number, one in enumerate(inflated) if one.encoded.columns.flows]
    if not numbers:
        return found
    begins = [flows[number] for number in numbers]
    for name in ("src", "dst"):
        most = _largest_of_each(columns[name], begins)
        for number, greatest in zip(numbers, most, strict=True):
            declared = inflated[number].encoded.columns
            addresses = declared.ipv4 + declared.ipv6
            if greatest >= addresses:
                text = f"{name} index {greatest}, but only {addresses} addresses"
                found.setdefault(number, WireError(text, reason="index_range"))
    for name in ("packets", "bytes"):
        column = columns[name]
        if largest(column) < MAX_SUM // len(column):
            continue
        totals = np.add.reduceat(column.astype(np.float64), begins).tolist()
        for number, total in zip(numbers, totals, strict=True):
            if total >= MAX_SUM:
                error = WireError(f"the {name} of a batch exceed 2^60", reason="counts_range")
                found.setdefault(number, error)
    return found


def _largest_of_each(column: U32, begins: list[int]) -> list[int]:
    if len(begins) == 1:
        return [largest(column)]  # which uses the CPU's vectors
    found: list[int] = np.maximum.reduceat(column, begins).tolist()
    return found


def _outer_ends(
    columns: Columns, own: dict[str, npt.NDArray[Any]]
) -> tuple[U32 | None, U32 | None]:
    via = _further(columns, "via", columns.via_planes, columns.via, own["dst"])
    return via, _further(columns, "sender", columns.sender_planes, columns.sender, own["src"])


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
    sent = iter(raw.reshape(planes.bit_count(), count))
    column = np.zeros((count, VIA_PLANES), np.uint8)
    for byte in range(VIA_PLANES):
        if planes >> byte & 1:
            column[:, byte] = next(sent)
    return column.view("<u4").reshape(-1).astype(np.uint32, copy=False).view(np.uint32)
