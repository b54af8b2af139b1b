"""Flows as byte planes in a compressed stream: the layout of FlowBatch.columns, and its encoder.

Counters of thousands of flows differ in their low bytes and agree in their high bytes. All first
bytes, then all second bytes, compress far better than one counter after the other, and a plane of
zeros is not sent at all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kzn.columns.arrays import I64, U8, U32
from kzn.columns.sort_order import sort_order
from kzn.model.flows import NO_VIA, Flows
from kzn.model.ip import MAPPED_PREFIX
from kzn.wire.compression import Compression, compress

WIDTHS = (
    ("src", np.uint32),
    ("dst", np.uint32),
    ("src_port", np.uint16),
    ("dst_port", np.uint16),
    ("protocol", np.uint8),
    ("flags", np.uint8),
    ("packets", np.uint64),
    ("bytes", np.uint64),
)
SIZES = tuple(np.dtype(kind).itemsize for _, kind in WIDTHS)
PLANES = sum(SIZES)
VIA_PLANES = 4
"""Byte planes of each of the two columns of FlowBatch.via, and of FlowBatch.sender."""

_SORT = ("dst", "src", "src_port", "dst_port", "flags", "protocol")
"""Sort keys, least significant first: rows of one service are neighbours, their ports are runs."""

PREFIX = np.frombuffer(MAPPED_PREFIX, np.uint8)


@dataclass(frozen=True, slots=True)
class Columns:
    """The fields of FlowBatch that describe its columns.

    ``data``, ``via`` and ``sender`` are streams of ``compression`` (compression.py).
    """

    flows: int
    ipv4: int
    ipv6: int
    planes: int
    data: bytes
    via_planes: int = 0
    via: bytes = b""
    sender_planes: int = 0
    sender: bytes = b""
    compression: int = Compression.ZLIB

    @property
    def inflated(self) -> int:
        """The length of ``data`` after decompression."""
        return 4 * self.ipv4 + 16 * self.ipv6 + self.flows * self.planes.bit_count()

    def further_inflated(self, planes: int) -> tuple[int, int]:
        """The lengths of the two columns in ``via`` or ``sender`` after decompression."""
        by_address = (planes & 0xF).bit_count() * (self.ipv4 + self.ipv6)
        return by_address, (planes >> VIA_PLANES).bit_count() * self.flows


def pack(flows: Flows, compression: Compression = Compression.ZLIB) -> Columns:
    """Columns of ``flows``; rows and addresses are sorted for compression."""
    mapped = (flows.addresses[:, :12] == PREFIX).all(axis=1)
    words = np.ascontiguousarray(flows.addresses).view(">u8")
    by_address = sort_order((words[:, 1], words[:, 0], ~mapped))
    rank = np.empty(len(by_address), np.uint32)
    rank[by_address] = np.arange(len(by_address), dtype=np.uint32)
    ipv4 = int(mapped.sum())
    columns = {name: getattr(flows, name) for name, _ in WIDTHS}
    columns["src"], columns["dst"] = rank.take(flows.src), rank.take(flows.dst)
    order = sort_order([columns[name] for name in _SORT])
    planes, data = _packed(
        compression,
        [columns[name].take(order).astype(kind, copy=False) for name, kind in WIDTHS],
        _planes_of(flows.addresses[by_address[:ipv4], 12:]),
        _planes_of(flows.addresses[by_address[ipv4:]]),
    )
    via = _further(compression, flows.via, flows.dst, rank, order)
    sender = _further(compression, flows.sender, flows.src, rank, order)
    counts = len(flows), ipv4, len(by_address) - ipv4
    return Columns(*counts, planes, data, *via, *sender, compression=compression)


def _further(
    compression: Compression, rows: U32 | None, ends: U32, rank: U32, order: I64
) -> tuple[int, bytes]:
    """Planes and stream of ``via``, by flows' destinations, or of ``sender``, by their sources.

    A column by address, and one for the flows that differ from that of their end (kzn.proto).
    """
    if rows is None:
        return 0, b""
    numbers = np.zeros(len(rows), np.uint32)
    told = rows != NO_VIA
    numbers[told] = rank[rows[told]] + np.uint32(1)
    end = rank[ends]
    by_address = np.zeros(len(rank), np.uint32)
    by_address[end[told]] = numbers[told]
    by_flow = np.where(by_address[end] == numbers, np.uint32(0), numbers + np.uint32(1))
    return _packed(compression, [by_address, by_flow[order]])


def _planes_of(rows: U8) -> bytes:
    return np.ascontiguousarray(rows.T).tobytes()


def _packed(
    compression: Compression, columns: Sequence[npt.NDArray[Any]], *before: bytes
) -> tuple[int, bytes]:
    """The planes that are not zero, as bits, and ``before`` and these planes in a stream."""
    pieces = [*before]
    mask = position = 0
    for column in columns:
        little = column.astype(column.dtype.newbyteorder("<"), copy=False)
        for plane in little.view(np.uint8).reshape(len(column), little.itemsize).T:
            if plane.any():
                mask |= 1 << position
                pieces.append(plane.tobytes())
            position += 1
    return mask, compress(pieces, compression)
