"""Lines of the flow log: how a settled flow is written, as text and as JSON. Pure.

A text line is ``key=value`` with blanks between, without the keys whose value is empty; a JSON line
is an object that always has all keys. The keys and their order are the same:

time, node, then src and dst each with the address and with _kind, _namespace, _name,
_workload_kind, _workload, _zone of the endpoint that is charged (of a forwarded flow that is the
node, whosever the source address), protocol, src_port, dst_port (0: not kept), initiator (source,
destination, unknown), encrypted ("yes" for WireGuard and ESP, whose insides nobody knows), packets,
bytes, class (or "unresolved"), reason (why unresolved).

A line is put together of pieces: what an address and its owner say is made once and kept as long as
that owner has the address, and so is what ports and protocol say.
"""

import json
import re
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from kzn.columns.arrays import I64, U8
from kzn.model.endpoint import AMBIGUOUS, EXTERNAL, UNKNOWN, UNSETTLED, Endpoint
from kzn.model.flows import (
    ENCRYPTED,
    INITIATOR_DESTINATION,
    INITIATOR_MASK,
    INITIATOR_SOURCE,
    Flows,
)
from kzn.model.ip import text
from kzn.server.resolve import verdict as v

Form = Literal["text", "json"]
Field = tuple[str, str]

_KINDS = {
    EXTERNAL: "External",
    UNKNOWN: "Unknown",
    AMBIGUOUS: "Ambiguous",
    UNSETTLED: "Unsettled",
}
_INITIATORS = {INITIATOR_SOURCE: "source", INITIATOR_DESTINATION: "destination"}
_PROTOCOLS = {
    socket.IPPROTO_TCP: "tcp",
    socket.IPPROTO_UDP: "udp",
    socket.IPPROTO_ICMP: "icmp",
    socket.IPPROTO_ICMPV6: "icmpv6",
    socket.IPPROTO_SCTP: "sctp",
}
MEMORY = 1 << 17
"""Addresses whose pieces are kept; with as many older ones some 150 MB, in the largest clusters."""

_MIDDLES = 1 << 16
_MIDDLE = np.dtype(
    [
        ("src_port", "<u2"),
        ("dst_port", "<u2"),
        ("protocol", "u1"),
        ("flags", "u1"),
        ("padding", "<u2"),
    ]
)
"""What stands in the middle of a line, as one number of 64 bits."""

_BARE = re.compile(r"[^\s\"=\\]+", re.ASCII)


@dataclass(frozen=True, slots=True, eq=False)
class FlowRecords:
    """Flows of one node, settled together.

    ``owners`` has an endpoint, or a negative code of kzn.model.endpoint, for each address of
    ``flows`` and at last for the node itself, which is charged for the flows ``forwarded``;
    ``verdict`` is by flow. ``closed`` is when the interval ended, in seconds of the epoch.
    """

    closed: float
    node: str
    flows: Flows
    owners: Sequence[Endpoint | int]
    forwarded: I64
    verdict: U8

    def __len__(self) -> int:
        return len(self.flows)


@dataclass(frozen=True, slots=True)
class _Style:
    begin: str
    between: str
    end: str
    key: Callable[[str], str]
    value: Callable[[str], str]
    keeps_empty: bool

    def fields(self, fields: Iterable[Field]) -> bytes:
        """Fields with ``between`` before each of them."""
        return "".join(
            f"{self.between}{self.key(key)}{self.value(value)}"
            for key, value in fields
            if value or self.keeps_empty
        ).encode()

    def number(self, key: str) -> bytes:
        """What stands before the number of ``key``."""
        return f"{self.between}{self.key(key)}".encode()


def _bare(value: str) -> str:
    return value if _BARE.fullmatch(value) else json.dumps(value)


_STYLES: dict[Form, _Style] = {
    "text": _Style("", " ", "\n", lambda key: f"{key}=", _bare, keeps_empty=False),
    "json": _Style("{", ",", "}\n", lambda key: f'"{key}":', json.dumps, keeps_empty=True),
}


class LineWriter:
    """Makes the lines of chunks; remembers the pieces of ``memory`` addresses at least."""

    def __init__(self, form: Form, *, memory: int = MEMORY) -> None:
        self._style = _STYLES[form]
        self._memory = memory
        self._pieces: dict[bytes, _EndpointText] = {}
        self._older: dict[bytes, _EndpointText] = {}
        self._middles = _ProtocolText(self._style)
        ends = [self._style.fields(_verdict(code)) for code in range(len(v.NAMES))]
        self._ends = [end + self._style.end.encode() for end in ends]

    def lines(self, chunk: FlowRecords) -> bytes:
        """All lines of a chunk."""
        flows, head = chunk.flows, self._head(chunk)
        pieces = self._pieces_of(chunk)
        senders = _column([piece.src for piece in pieces], flows.src)
        self._charge_node(chunk, pieces, senders)
        columns = (
            senders,
            _column([piece.dst for piece in pieces], flows.dst),
            map(self._middles.__getitem__, _middle(flows)),
            self._counts(flows),
            # The head of each line is the same, so the end of the line before brings it.
            _column([end + head for end in self._ends], chunk.verdict),
        )
        line: list[bytes] = [b""] * (len(columns) * len(chunk))
        for number, column in enumerate(columns):
            line[number :: len(columns)] = column
        line[-1] = line[-1].removesuffix(head)
        return b"".join([head, *line])

    def _counts(self, flows: Flows) -> list[bytes]:
        """From the number of packets to that of bytes."""
        # One text of all numbers, made in C, is several times faster than a text of each.
        pairs = zip(flows.packets.tolist(), flows.bytes.tolist(), strict=True)
        rows = msgspec.json.encode(list(pairs))[2:-2].replace(b"],[", b"\n")
        return rows.replace(b",", self._style.number("bytes")).split(b"\n")

    def _head(self, chunk: FlowRecords) -> bytes:
        fields = self._style.fields([("time", _stamp(chunk.closed)), ("node", chunk.node)])
        return self._style.begin.encode() + fields.removeprefix(self._style.between.encode())

    def _charge_node(
        self, chunk: FlowRecords, pieces: list["_EndpointText"], senders: list[bytes]
    ) -> None:
        """A forwarded flow has its own source address, and its node as the source's owner."""
        node = self._style.fields(_owner("src", chunk.owners[-1]))
        for at in chunk.forwarded.tolist():
            senders[at] = pieces[chunk.flows.src[at]].address + node

    def _pieces_of(self, chunk: FlowRecords) -> list["_EndpointText"]:
        """The pieces of each address."""
        known = self._pieces.get
        rows: list[bytes] = chunk.flows.addresses.view("V16").reshape(-1).tolist()
        return [
            piece
            if (piece := known(address)) is not None and piece.owner is owner
            else self._make(address, owner)
            for address, owner in zip(rows, chunk.owners, strict=False)
        ]

    def _make(self, address: bytes, owner: Endpoint | int) -> "_EndpointText":
        known = self._older.get(address)
        if known is None or known.owner is not owner:
            known = _EndpointText.of(address, owner, self._style)
        if len(self._pieces) >= self._memory:
            self._older = self._pieces.copy()
            self._pieces.clear()
        self._pieces[address] = known
        return known


@dataclass(frozen=True, slots=True)
class _EndpointText:
    """What a line says of an address that ``owner`` has, as source and as destination."""

    owner: Endpoint | int
    address: bytes
    src: bytes
    dst: bytes

    @staticmethod
    def of(address: bytes, owner: Endpoint | int, style: _Style) -> "_EndpointText":
        shown = text(address)
        src = style.fields([("src", shown)])
        return _EndpointText(
            owner=owner,
            address=src,
            src=src + style.fields(_owner("src", owner)),
            dst=style.fields([("dst", shown), *_owner("dst", owner)]),
        )


class _ProtocolText(dict[int, bytes]):
    """From the protocol to the key of the packets, by what `_middle` makes of these fields."""

    def __init__(self, style: _Style) -> None:
        super().__init__()
        self._style = style

    def __missing__(self, packed: int) -> bytes:
        src_port, dst_port = packed & 0xFFFF, packed >> 16 & 0xFFFF
        protocol, flag = packed >> 32 & 0xFF, packed >> 40 & 0xFF
        style = self._style
        if len(self) >= _MIDDLES:
            self.clear()
        made = b"".join(
            (
                style.fields([("protocol", _PROTOCOLS.get(protocol, str(protocol)))]),
                style.number("src_port") + b"%d" % src_port,
                style.number("dst_port") + b"%d" % dst_port,
                style.fields([("initiator", _INITIATORS.get(flag & INITIATOR_MASK, "unknown"))]),
                style.fields([("encrypted", "yes" if flag & ENCRYPTED else "")]),
                style.number("packets"),
            )
        )
        self[packed] = made
        return made


def _middle(flows: Flows) -> list[int]:
    packed = np.zeros(len(flows), _MIDDLE)
    for name in ("src_port", "dst_port", "protocol"):
        packed[name] = getattr(flows, name)
    packed["flags"] = flows.flags & np.uint8(INITIATOR_MASK | ENCRYPTED)
    return packed.view("<u8").tolist()


def _column(pieces: list[bytes], rows: npt.NDArray[np.integer[Any]]) -> list[bytes]:
    column: list[bytes] = np.array(pieces, object).take(rows).tolist()
    return column


def _owner(end: str, owner: Endpoint | int) -> list[Field]:
    if isinstance(owner, int):
        values = (_KINDS[owner], "", "", "", "", "")
    else:
        values = (
            owner.kind,
            owner.namespace,
            owner.name,
            owner.workload_kind,
            owner.workload,
            owner.zone,
        )
    keys = ("kind", "namespace", "name", "workload_kind", "workload", "zone")
    return [(f"{end}_{key}", value) for key, value in zip(keys, values, strict=True)]


def _verdict(code: int) -> list[Field]:
    if code < v.TRANSIT:
        return [("class", v.NAMES[code]), ("reason", "")]
    return [("class", "unresolved"), ("reason", v.NAMES[code])]


def _stamp(epoch: float) -> str:
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
