"""Lines of the flow log, as text and as JSON. Pure.

A text line is ``key=value`` separated by blanks, without the keys that have no value; a JSON line
is an object with all keys. Both have the same keys in the same order:

time, node, then for src and dst each the address and, of the endpoint that is charged (the node for
a forwarded flow, the pod that sent it where the source does not tell it, the owner of via where
that is not empty), _kind, _namespace, _name,
_workload_kind, _workload, _zone, _group, then via (the outer destination, if a tunnel of the node
carries the flow to another place than dst), protocol,
src_port, dst_port (0: not kept), initiator (source, destination, unknown), encrypted ("yes" for
WireGuard and ESP, where the inner packet is not visible), packets, bytes, class (or
"unresolved"), reason (why it is unresolved). With prices: cost (at both ends; null in JSON without
a price), currency, unpriced (why there is no price).

A line is joined from cached texts: one for each address and its owner, reused while the address has
this owner, and one for each combination of ports, protocol and flags.
"""

import json
import re
import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from kzn.columns.arrays import U64
from kzn.model import ip
from kzn.model.endpoint import AMBIGUOUS, EXTERNAL, UNKNOWN, UNSETTLED, Endpoint
from kzn.model.flows import (
    ENCRYPTED,
    INITIATOR_DESTINATION,
    INITIATOR_MASK,
    INITIATOR_SOURCE,
    Flows,
)
from kzn.server.flows.costs import FlowPrices
from kzn.server.flows.records import FlowRecords
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
CACHED_ADDRESSES = 1 << 17
"""Addresses with a cached text; with as many older ones some 150 MB, in the largest clusters."""

_LINES = 512
"""Lines of a piece, some 200 kB."""
_CACHED_PROTOCOLS = 1 << 16
_PACKED = np.dtype(
    [
        ("src_port", "<u2"),
        ("dst_port", "<u2"),
        ("protocol", "u1"),
        ("flags", "u1"),
        ("padding", "<u2"),
    ]
)
"""Ports, protocol and flags of a flow, as one number of 64 bits."""

_BARE = re.compile(r"[^\s\"=\\]+", re.ASCII)


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
        ).encode(errors="replace")

    def number(self, key: str) -> bytes:
        """The text before the number of ``key``."""
        return f"{self.between}{self.key(key)}".encode(errors="replace")


def _bare(value: str) -> str:
    return value if _BARE.fullmatch(value) else json.dumps(value)


_STYLES: dict[Form, _Style] = {
    "text": _Style("", " ", "\n", lambda key: f"{key}=", _bare, keeps_empty=False),
    "json": _Style("{", ",", "}\n", lambda key: f'"{key}":', json.dumps, keeps_empty=True),
}


class LineWriter:
    """Formats records; caches the texts of at least ``cached_addresses`` addresses."""

    def __init__(
        self,
        form: Form,
        *,
        cached_addresses: int = CACHED_ADDRESSES,
        prices: FlowPrices | None = None,
    ) -> None:
        """With ``prices`` lines have costs."""
        self._prices = prices
        self._style = _STYLES[form]
        self._cached_addresses = cached_addresses
        self._endpoint_texts: dict[bytes, _EndpointText] = {}
        self._older: dict[bytes, _EndpointText] = {}
        self._protocol_texts = _ProtocolTexts(self._style)
        ends = [self._style.fields(_verdict(code)) for code in range(len(v.NAMES))]
        last = b"" if prices is not None else self._style.end.encode()
        self._ends = [end + last for end in ends]

    def lines(self, records: FlowRecords) -> bytes:
        """All lines of ``records``."""
        return b"".join(self.pieces(records))

    def pieces(self, records: FlowRecords) -> Iterator[bytes]:
        """All lines, in pieces of whole lines.

        A piece fits in memory that the process has at hand; one of all lines is fresh pages each
        time, which cost as much as a third of its formatting.
        """
        flows, head = records.flows, self._head(records)
        texts = self._texts_of(records)
        sources = _column([text.src for text in texts], flows.src)
        self._charge_node(records, texts, sources)
        self._name_senders(records, texts, sources)
        destinations = _column([text.dst for text in texts], flows.dst)
        self._reroute(records, destinations)
        columns = (
            sources,
            destinations,
            list(map(self._protocol_texts.__getitem__, _packed(flows))),
            _numbers(flows.packets),
            [self._style.number("bytes")] * len(records),
            _numbers(flows.bytes),
            # All lines have the same head, so each line ends with the head of the next.
            *self._last_columns(records, head),
        )
        for first in range(0, len(records), _LINES):
            part = slice(first, first + _LINES)
            line: list[bytes] = [b""] * (len(columns) * len(sources[part]))
            for number, column in enumerate(columns):
                line[number :: len(columns)] = column[part]
            line[-1] = line[-1].removesuffix(head)
            yield b"".join([head, *line])

    def _last_columns(self, records: FlowRecords, head: bytes) -> list[list[bytes]]:
        """The columns from the class on, with the head of the next line."""
        if self._prices is None:
            return [_column([end + head for end in self._ends], records.verdict)]
        found, style = self._prices.price(records), self._style
        before, none = style.number("cost"), style.fields([("cost", "")])
        if none:  # JSON: a number, or null
            none = before + b"null"
        has_cost = np.array([bool(currency) for currency, _ in found.rows], np.bool_)
        numbers = msgspec.json.encode(found.cost.tolist())[1:-1].split(b",")
        costs = [
            before + number if known else none
            for number, known in zip(numbers, has_cost.take(found.row).tolist(), strict=True)
        ]
        ends = [
            style.fields([("currency", currency), ("unpriced", reason)]) + style.end.encode() + head
            for currency, reason in found.rows
        ]
        return [_column(self._ends, records.verdict), costs, _column(ends, found.row)]

    def _head(self, records: FlowRecords) -> bytes:
        time = _timestamp(records.closed)
        fields = self._style.fields([("time", time), ("node", records.node)])
        return self._style.begin.encode() + fields.removeprefix(self._style.between.encode())

    def _charge_node(
        self, records: FlowRecords, texts: list["_EndpointText"], sources: list[bytes]
    ) -> None:
        """A forwarded flow has its own source address, with the node as the source's owner."""
        node = self._style.fields(_owner("src", records.owners[-1]))
        for number in records.forwarded.tolist():
            sources[number] = texts[records.flows.src[number]].address + node

    def _name_senders(
        self, records: FlowRecords, texts: list["_EndpointText"], sources: list[bytes]
    ) -> None:
        """A flow with a sender has its own source address, with the sender's owner."""
        flows = records.flows
        if flows.sender is None:
            return
        for number in records.sent.tolist():
            owner = records.owners[int(flows.sender[number])]
            fields = self._style.fields(_owner("src", owner))
            sources[number] = texts[flows.src[number]].address + fields

    def _reroute(self, records: FlowRecords, destinations: list[bytes]) -> None:
        """A rerouted flow has its own destination address, with the owner of its via."""
        flows, numbers = records.flows, records.rerouted.tolist()
        if flows.via is None or not numbers:
            return
        texts = [ip.text(address.tobytes()) for address in flows.addresses]
        for number in numbers:
            via = int(flows.via[number])
            destinations[number] = self._style.fields(
                [
                    ("dst", texts[flows.dst[number]]),
                    *_owner("dst", records.owners[via]),
                    ("via", texts[via]),
                ]
            )

    def _texts_of(self, records: FlowRecords) -> list["_EndpointText"]:
        """The text of each address."""
        cached = self._endpoint_texts.get
        rows: list[bytes] = records.flows.addresses.view("V16").reshape(-1).tolist()
        return [
            text
            if (text := cached(address)) is not None and text.owner is owner
            else self._make(address, owner)
            for address, owner in zip(rows, records.owners, strict=False)
        ]

    def _make(self, address: bytes, owner: Endpoint | int) -> "_EndpointText":
        made = self._older.get(address)
        if made is None or made.owner is not owner:
            made = _EndpointText.of(address, owner, self._style)
        if len(self._endpoint_texts) >= self._cached_addresses:
            self._older = self._endpoint_texts.copy()
            self._endpoint_texts.clear()
        self._endpoint_texts[address] = made
        return made


@dataclass(frozen=True, slots=True)
class _EndpointText:
    """The fields of an address and its ``owner``, as source and as destination."""

    owner: Endpoint | int
    address: bytes
    src: bytes
    dst: bytes

    @staticmethod
    def of(address: bytes, owner: Endpoint | int, style: _Style) -> "_EndpointText":
        ip_text = ip.text(address)
        src = style.fields([("src", ip_text)])
        return _EndpointText(
            owner=owner,
            address=src,
            src=src + style.fields(_owner("src", owner)),
            dst=style.fields([("dst", ip_text), *_owner("dst", owner), ("via", "")]),
        )


class _ProtocolTexts(dict[int, bytes]):
    """The fields from protocol to the key of the packets, by the number that `_packed` makes."""

    def __init__(self, style: _Style) -> None:
        super().__init__()
        self._style = style

    def __missing__(self, packed: int) -> bytes:
        src_port, dst_port = packed & 0xFFFF, packed >> 16 & 0xFFFF
        protocol, flag = packed >> 32 & 0xFF, packed >> 40 & 0xFF
        style = self._style
        if len(self) >= _CACHED_PROTOCOLS:
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


def _numbers(column: U64) -> list[bytes]:
    """The text of each number: one text of all, made in C, is several times faster."""
    return msgspec.json.encode(column.tolist())[1:-1].split(b",")


def _packed(flows: Flows) -> list[int]:
    packed = np.zeros(len(flows), _PACKED)
    for name in ("src_port", "dst_port", "protocol"):
        packed[name] = getattr(flows, name)
    packed["flags"] = flows.flags & np.uint8(INITIATOR_MASK | ENCRYPTED)
    return packed.view("<u8").tolist()


def _column(texts: list[bytes], rows: npt.NDArray[np.integer[Any]]) -> list[bytes]:
    column: list[bytes] = np.array(texts, object).take(rows).tolist()
    return column


def _owner(end: str, owner: Endpoint | int) -> list[Field]:
    if isinstance(owner, int):
        values = (_KINDS[owner], "", "", "", "", "", "")
    else:
        values = (
            owner.kind,
            owner.namespace,
            owner.name,
            owner.workload_kind,
            owner.workload,
            owner.zone,
            owner.group,
        )
    keys = ("kind", "namespace", "name", "workload_kind", "workload", "zone", "group")
    return [(f"{end}_{key}", value) for key, value in zip(keys, values, strict=True)]


def _verdict(code: int) -> list[Field]:
    if code < v.TRANSIT:
        return [("class", v.NAMES[code]), ("reason", "")]
    return [("class", "unresolved"), ("reason", v.NAMES[code])]


def _timestamp(epoch: float) -> str:
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
