"""Flows as byte planes in a zlib stream: the layout of FlowBatch.columns, and its encoder.

Counters of thousands of flows differ in their low bytes and agree in their high bytes. All first
bytes, then all second bytes, compress far better than one counter after the other, and a plane of
zeros is not sent at all.
"""

import zlib
from dataclasses import dataclass

import numpy as np

from kzn.columns.arrays import U8, U32
from kzn.model.flows import Flows
from kzn.model.ip import MAPPED_PREFIX

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
PLANES = sum(np.dtype(kind).itemsize for _, kind in WIDTHS)
LEVEL = 1

_SORT = ("dst", "src", "src_port", "dst_port", "flags", "protocol")
"""Sort keys, least significant first: rows of one service are neighbours, their ports are runs."""

PREFIX = np.frombuffer(MAPPED_PREFIX, np.uint8)


@dataclass(frozen=True, slots=True)
class Columns:
    """The fields of FlowBatch that describe its columns; ``data`` is the zlib stream."""

    flows: int
    ipv4: int
    ipv6: int
    planes: int
    data: bytes

    @property
    def inflated(self) -> int:
        """The length of ``data`` after decompression."""
        return 4 * self.ipv4 + 16 * self.ipv6 + self.flows * self.planes.bit_count()


def pack(flows: Flows) -> Columns:
    """Columns of ``flows``; rows and addresses are sorted for compression."""
    mapped = (flows.addresses[:, :12] == PREFIX).all(axis=1)
    words = np.ascontiguousarray(flows.addresses).view(">u8")
    order = np.lexsort((words[:, 1], words[:, 0], ~mapped))
    rank = np.empty(len(order), np.uint32)
    rank[order] = np.arange(len(order), dtype=np.uint32)
    ipv4 = int(mapped.sum())
    deflate = zlib.compressobj(LEVEL)
    pieces = [deflate.compress(_planes_of(flows.addresses[order[:ipv4], 12:]))]
    pieces.append(deflate.compress(_planes_of(flows.addresses[order[ipv4:]])))
    mask = 0
    for i, plane in enumerate(_flow_planes(flows, rank)):
        if plane.any():
            mask |= 1 << i
            pieces.append(deflate.compress(plane.tobytes()))
    pieces.append(deflate.flush())
    return Columns(len(flows), ipv4, len(order) - ipv4, mask, b"".join(pieces))


def _planes_of(rows: U8) -> bytes:
    return np.ascontiguousarray(rows.T).tobytes()


def _flow_planes(flows: Flows, rank: U32) -> list[U8]:
    columns = {name: getattr(flows, name) for name, _ in WIDTHS}
    columns["src"], columns["dst"] = rank[flows.src], rank[flows.dst]
    order = np.lexsort([columns[name] for name in _SORT])
    planes: list[U8] = []
    for name, kind in WIDTHS:
        little = np.dtype(kind).newbyteorder("<")
        column = columns[name][order].astype(little)
        planes.extend(column.view(np.uint8).reshape(len(order), little.itemsize).T)
    return planes
