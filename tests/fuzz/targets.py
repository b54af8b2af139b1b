"""The fuzz targets. In: bytes. An exception other than WireError is a finding.

Each target also asserts invariants: buffers and allocations stay below the declared and the allowed
size, and a decoded message is the same when it is encoded and decoded again.
"""

import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from kzn.errors import RefusedError, WireError
from kzn.model.batch import AgentIdentity
from kzn.wire.codec import decode_to_agent, decode_to_server, encode_to_agent, encode_to_server
from kzn.wire.columns import PLANES, Columns
from kzn.wire.decode_batch import decode_batch
from kzn.wire.encode_batch import EncodedBatch, encode_batch
from kzn.wire.frames import HEADER, FrameReader
from kzn.wire.limits import MAX_NODE_ADDRESSES, Limits
from kzn.wire.messages import Ack
from kzn.wire.sequences import AppliedSequences
from kzn.wire.session import AgentSession, Apply, Authenticate, Repeat, ServerSession, TakeAddresses

LIMITS = Limits(max_frame=1 << 16, max_flows=512, max_addresses=512)
_AGENT = AgentIdentity("node-a", 7, "postrouting", "0.1.0")


def framing(data: bytes) -> None:
    """The stream ``data[2:]``, in pieces of ``data[0]``, under a limit of ``data[1]``."""
    if len(data) < 2:
        return
    piece, limit, stream = data[0] + 1, data[1] + 1, data[2:]
    reader = FrameReader(limit)
    whole = 0
    try:
        for start in range(0, len(stream), piece):
            for message in reader.feed(stream[start : start + piece]):
                _require(0 < len(message) <= limit, "a message longer than the limit")
                whole += HEADER + len(message)
            _require(reader.buffered < HEADER + limit, "more than one frame is buffered")
    except WireError:
        return
    _require(whole + reader.buffered == len(stream), "bytes were lost")


def to_server(data: bytes) -> None:
    """A frame from an agent: parsed, and its columns read."""
    for frame in (data, _mended(data)):
        with suppress(WireError):
            message = decode_to_server(frame)
            _require(
                decode_to_server(encode_to_server(message)) == message,
                "the message changed when encoded again",
            )
            if isinstance(message, EncodedBatch):
                _decode(message)


def _further(data: bytes, length: int, *, fits: bool) -> bytes:
    """A stream of ``data``, or of as many bytes as ``length`` says."""
    body = (data * (length // len(data) + 1))[:length] if fits else data
    return zlib.compress(body, 1)


def columns(data: bytes) -> None:
    """A batch with the header ``data[:16]``; the rest is compressed as its columns."""
    if len(data) < 16:
        return
    head = [int.from_bytes(data[i : i + 2], "little") for i in range(0, 12, 2)]
    flows, ipv4, ipv6 = head[0] % 600, head[1] % 600, head[2] % 600
    planes = int.from_bytes(data[12:16], "little") >> (head[3] % 3)
    declared = Columns(flows, ipv4, ipv6, planes, b"")
    body = data[16:]
    if head[3] & 4:  # a body of the declared length passes the check after inflating
        body = (body * (declared.inflated // max(1, len(body)) + 1))[: declared.inflated]
    via_planes = head[5] & 0xFF if head[3] & 8 else 0
    sender_planes = head[5] >> 8 & 0xFF if head[3] & 16 else 0
    declared = Columns(flows, ipv4, ipv6, planes, b"", via_planes, b"", sender_planes)
    via, sender = (
        _further(data[::-1], sum(declared.further_inflated(planes)), fits=bool(head[3] & 4))
        for planes in (via_planes, sender_planes)
    )
    packed = replace(declared, data=zlib.compress(body, 1), via=via, sender=sender)
    with suppress(WireError):
        _decode(EncodedBatch(1, head[4], head[5], packed, b""))


def _decode(encoded: EncodedBatch) -> None:
    batch = decode_batch(encoded, LIMITS)
    flows = batch.flows
    _require(len(flows) == encoded.columns.flows <= LIMITS.max_flows, "the number of flows differs")
    _require(len(flows.addresses) <= LIMITS.max_addresses, "more addresses than the limit")
    _require(encoded.columns.planes >> PLANES == 0, "planes that do not exist")
    again = decode_batch(encode_batch(batch), LIMITS)
    for name in ("packets", "bytes"):
        _require(
            int(getattr(again.flows, name).sum()) == int(getattr(flows, name).sum()),
            f"{name} changed when encoded again",
        )
    _require(again.totals == batch.totals, "totals changed when encoded again")


def to_agent(data: bytes) -> None:
    """A frame from a server, as the answer to Hello and as the answer to a batch."""
    for frame in (data, _mended(data)):
        with suppress(WireError, RefusedError):
            message = decode_to_agent(frame)
            _require(
                decode_to_agent(encode_to_agent(message)) == message,
                "the message changed when encoded again",
            )
            session = AgentSession(_AGENT)
            with suppress(WireError, RefusedError):
                session.welcomed(message)
            _require(session.acked(message, 3).sequence == 3, "an ack of a different batch")


def handshake(data: bytes) -> None:
    """Frames of two connections; the low bit of a frame's length selects the connection."""
    applied_sequences = AppliedSequences(max_absent=4)
    sessions = [ServerSession(applied_sequences, LIMITS) for _ in range(2)]
    applied: set[tuple[str, int, int]] = set()
    reader = FrameReader(LIMITS.max_frame)
    with suppress(WireError):
        for message in reader.feed(data):
            _receive(sessions[len(message) & 1], _mended(message), applied)
    for session in sessions:
        session.close()
    _require(len(applied_sequences) <= 4, "absent agents are not bounded")


def _receive(session: ServerSession, message: bytes, applied: set[tuple[str, int, int]]) -> None:
    step = session.receive(decode_to_server(message))
    if isinstance(step, Authenticate):
        _require(session.identity is None, "authenticated twice")
        session.authenticated(step.identity)
    elif isinstance(step, Apply):
        _require(step.identity == session.identity, "a batch of another agent")
        key = (step.identity.node, step.identity.epoch, step.batch.sequence)
        _require(key not in applied, "a batch was applied twice")
        applied.add(key)
        _require(
            session.applied(step.batch.sequence) == Ack(step.batch.sequence),
            "an ack of a different batch",
        )
    elif isinstance(step, TakeAddresses):
        _require(step.identity == session.identity, "addresses of another agent's node")
        _require(len(step.addresses) <= MAX_NODE_ADDRESSES, "more addresses than are taken")
    elif isinstance(step, Repeat):
        _require(step.ack.duplicate, "a new batch was acknowledged as a duplicate")
    else:
        session.close()


def _mended(data: bytes) -> bytes:
    """``data`` with the length of its only field corrected, which mutations seldom keep valid."""
    start = 1
    while start < len(data) and data[start] & 0x80:
        start += 1
    body, length = data[start + 1 :], bytearray()
    rest = len(body)
    while rest > 0x7F:
        length.append(rest & 0x7F | 0x80)
        rest >>= 7
    return data[:1] + bytes([*length, rest]) + body


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise RuntimeError(what)


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target for target in (framing, to_server, columns, to_agent, handshake)
}
