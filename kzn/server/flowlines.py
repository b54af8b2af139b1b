"""Lines of the flow log: how a settled flow is written, as text and as JSON. Pure.

A text line is ``key=value`` with blanks between, without the keys whose value is empty; a JSON line
is an object that always has all keys. The keys and their order are the same:

time, node, then src and dst each with the address and with _kind, _namespace, _name,
_workload_kind, _workload, _zone of the endpoint that is charged (of a forwarded flow that is the
node, whosever the source address), protocol, src_port, dst_port (0: not kept), initiator (source,
destination, unknown), packets, bytes, class (or "unresolved"), reason (why unresolved).

What an address and its owner say is put together once per batch, not per flow.
"""

import json
import re
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from kzn.model.endpoint import AMBIGUOUS, EXTERNAL, UNKNOWN, Endpoint
from kzn.model.flows import INITIATOR_DESTINATION, INITIATOR_MASK, INITIATOR_SOURCE, Flows
from kzn.model.ip import text
from kzn.server import verdict as v
from kzn.server.keytable import I64

Form = Literal["text", "json"]
Field = tuple[str, str]

_KINDS = {EXTERNAL: "External", UNKNOWN: "Unknown", AMBIGUOUS: "Ambiguous"}
_INITIATORS = {INITIATOR_SOURCE: "source", INITIATOR_DESTINATION: "destination"}
_PROTOCOLS = {
    socket.IPPROTO_TCP: "tcp",
    socket.IPPROTO_UDP: "udp",
    socket.IPPROTO_ICMP: "icmp",
    socket.IPPROTO_ICMPV6: "icmpv6",
    socket.IPPROTO_SCTP: "sctp",
}
_BARE = re.compile(r"[^\s\"=\\]+", re.ASCII)


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """The flows ``chosen`` of one node's ``flows``, settled together.

    ``owners`` has an endpoint, or a negative code of kzn.model.endpoint, for each address and at
    last for the node itself; ``src`` and ``dst`` are rows of it, by flow, and so is ``verdict``.
    ``closed`` is when the interval ended, in seconds of the epoch.
    """

    closed: float
    node: str
    flows: Flows
    chosen: I64
    owners: Sequence[Endpoint | int]
    src: I64
    dst: I64
    verdict: I64

    def __len__(self) -> int:
        return len(self.chosen)


@dataclass(frozen=True, slots=True)
class _Style:
    begin: str
    between: str
    end: str
    key: Callable[[str], str]
    value: Callable[[str], str]
    keeps_empty: bool

    def fields(self, fields: Iterable[Field]) -> str:
        """Fields with ``between`` before each of them."""
        return "".join(
            f"{self.between}{self.key(key)}{self.value(value)}"
            for key, value in fields
            if value or self.keeps_empty
        )


def _bare(value: str) -> str:
    return value if _BARE.fullmatch(value) else json.dumps(value)


_STYLES: dict[Form, _Style] = {
    "text": _Style("", " ", "\n", lambda key: f"{key}=", _bare, keeps_empty=False),
    "json": _Style("{", ",", "}\n", lambda key: f'"{key}":', json.dumps, keeps_empty=True),
}


def format_chunk(chunk: Chunk, form: Form) -> bytes:
    """All lines of a chunk."""
    style = _STYLES[form]
    head = style.begin + style.fields([("time", _stamp(chunk.closed)), ("node", chunk.node)])
    head = head.replace(style.between, "", 1)
    address = [text(row.tobytes()) for row in chunk.flows.addresses]
    from_address = [style.fields([("src", one)]) for one in address]
    to_address = [style.fields([("dst", one)]) for one in address]
    sender = [style.fields(_owner("src", owner)) for owner in chunk.owners]
    receiver = [style.fields(_owner("dst", owner)) for owner in chunk.owners]
    verdicts = [style.fields(_verdict(code)) + style.end for code in range(len(v.NAMES))]
    protocols = [style.fields([("protocol", _PROTOCOLS.get(n, str(n)))]) for n in range(256)]
    initiators = [
        style.fields([("initiator", _INITIATORS.get(flag, "unknown"))])
        for flag in range(INITIATOR_MASK + 1)
    ]
    numbers = [
        style.between + style.key(key) for key in ("src_port", "dst_port", "packets", "bytes")
    ]
    src_port, dst_port, packets, size = numbers
    return "".join(
        [
            f"{head}{from_address[a]}{sender[s]}{to_address[b]}{receiver[d]}{protocols[protocol]}"
            f"{src_port}{sport}{dst_port}{dport}{initiators[flag]}{packets}{n}{size}{total}"
            f"{verdicts[code]}"
            for a, b, s, d, protocol, sport, dport, flag, n, total, code in _rows(chunk)
        ]
    ).encode()


def _rows(chunk: Chunk) -> Iterable[tuple[int, ...]]:
    flows, chosen = chunk.flows, chunk.chosen
    columns = (
        flows.src,
        flows.dst,
        chunk.src,
        chunk.dst,
        flows.protocol,
        flows.src_port,
        flows.dst_port,
        flows.flags & INITIATOR_MASK,
        flows.packets,
        flows.bytes,
        chunk.verdict,
    )
    return zip(*(column[chosen].tolist() for column in columns), strict=True)


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
