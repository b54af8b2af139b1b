"""Flows as byte planes under zlib: the layout of FlowBatch.columns, both ways.

Counters of thousands of flows differ in their low bytes and agree in their high ones. All first
bytes together, then all second bytes, compress far better than eight bytes of one counter after
those of another, and a plane of zeros need not travel at all.
"""

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kzn.errors import WireError
from kzn.model.flows import U8, Flows
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
"""Least significant first: rows of one service stand together, and their ports become runs."""

_PREFIX = np.frombuffer(MAPPED_PREFIX, np.uint8)


@dataclass(frozen=True, slots=True)
class Columns:
    """What FlowBatch says of its columns; ``data`` is the zlib stream."""

    flows: int
    ipv4: int
    ipv6: int
    planes: int
    data: bytes

    @property
    def inflated(self) -> int:
        """The length that ``data`` must have when inflated."""
        return 4 * self.ipv4 + 16 * self.ipv6 + self.flows * self.planes.bit_count()


def pack(flows: Flows) -> Columns:
    """Columns of ``flows``, rows and addresses in the order that compresses best."""
    mapped = (flows.addresses[:, :12] == _PREFIX).all(axis=1)
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


def _flow_planes(flows: Flows, rank: npt.NDArray[np.uint32]) -> list[U8]:
    columns = {name: getattr(flows, name) for name, _ in WIDTHS}
    columns["src"], columns["dst"] = rank[flows.src], rank[flows.dst]
    order = np.lexsort([columns[name] for name in _SORT])
    planes: list[U8] = []
    for name, kind in WIDTHS:
        little = np.dtype(kind).newbyteorder("<")
        column = columns[name][order].astype(little)
        planes.extend(column.view(np.uint8).reshape(len(order), little.itemsize).T)
    return planes


def unpack(columns: Columns) -> Flows:
    """The flows of ``columns``; WireError when they are not what their head says.

    The caller has checked ``flows``, ``ipv4`` and ``ipv6`` against its limits: they bound what is
    allocated here. An address may come twice; both rows then mean the same.
    """
    if columns.planes >> PLANES:
        raise WireError(f"planes {columns.planes:#x} of {PLANES}", reason="planes")
    raw = np.frombuffer(_inflate(columns.data, columns.inflated), np.uint8)
    ends = np.cumsum([4 * columns.ipv4, 16 * columns.ipv6])
    addresses = _addresses(
        raw[: ends[0]].reshape(4, columns.ipv4),
        raw[ends[0] : ends[1]].reshape(16, columns.ipv6),
    )
    found = _columns_of(columns, raw[ends[1] :].reshape(columns.planes.bit_count(), columns.flows))
    flows = Flows(addresses, **found)
    for name in ("src", "dst"):
        if columns.flows and int(found[name].max()) >= len(addresses):
            raise WireError(
                f"{name} index {found[name].max()} of {len(addresses)} addresses",
                reason="index_range",
            )
    return flows


def _inflate(data: bytes, length: int) -> bytes:
    stream = zlib.decompressobj()
    try:
        # One byte more than declared is enough to see that there is more.
        inflated = stream.decompress(data, length + 1)
    except zlib.error as error:
        raise WireError(f"inflate columns: {error}", reason="inflate") from error
    if len(inflated) != length or not stream.eof:
        raise WireError(
            f"the columns do not inflate to the {length} bytes that are declared",
            reason="inflated_length",
        )
    if stream.unused_data:
        raise WireError(f"{len(stream.unused_data)} bytes after the columns", reason="trailing")
    return inflated


def _addresses(ipv4: U8, ipv6: U8) -> U8:
    n = ipv4.shape[1]
    addresses = np.empty((n + ipv6.shape[1], 16), np.uint8)
    addresses[:n, :12] = _PREFIX
    addresses[:n, 12:] = ipv4.T
    addresses[n:] = ipv6.T
    return addresses


def _columns_of(columns: Columns, planes: U8) -> dict[str, npt.NDArray[Any]]:
    found = {}
    rows = iter(planes)
    position = 0
    for name, kind in WIDTHS:
        width = np.dtype(kind).itemsize
        column = np.zeros((columns.flows, width), np.uint8)
        for byte in range(width):
            if columns.planes >> (position + byte) & 1:
                column[:, byte] = next(rows)
        position += width
        little = column.view(np.dtype(kind).newbyteorder("<")).reshape(-1)
        found[name] = little.astype(kind, copy=False)
    return found
