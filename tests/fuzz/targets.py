"""What is fuzzed: bytes in, and anything but a WireError that leaves is a finding.

Each target also holds the room to its promises: what is buffered or allocated stays below what was
declared and allowed, and what was taken adds up.
"""

import zlib
from collections.abc import Callable
from contextlib import suppress

from kzn.errors import RefusedError, WireError
from kzn.model.batch import AgentIdentity
from kzn.wire.codec import decode_to_agent, decode_to_server, encode_to_agent, encode_to_server
from kzn.wire.columns import PLANES, Columns
from kzn.wire.decode_batch import decode_batch
from kzn.wire.encode_batch import EncodedBatch, encode_batch
from kzn.wire.frames import HEADER, FrameReader
from kzn.wire.limits import Limits
from kzn.wire.messages import Ack
from kzn.wire.sequences import AppliedSequences
from kzn.wire.session import AgentSession, Apply, Authenticate, Repeat, ServerSession

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
                _require(0 < len(message) <= limit, "a message beyond the limit")
                whole += HEADER + len(message)
            _require(reader.buffered < HEADER + limit, "more is kept than one frame")
    except WireError:
        return
    _require(whole + reader.buffered == len(stream), "bytes went astray")


def to_server(data: bytes) -> None:
    """A frame from an agent: parsed, and its columns read."""
    for frame in (data, _mended(data)):
        with suppress(WireError):
            message = decode_to_server(frame)
            _require(decode_to_server(encode_to_server(message)) == message, "another message")
            if isinstance(message, EncodedBatch):
                _decode(message)


def columns(data: bytes) -> None:
    """A batch whose head is ``data[:16]`` and whose columns, well compressed, are the rest."""
    if len(data) < 16:
        return
    head = [int.from_bytes(data[i : i + 2], "little") for i in range(0, 12, 2)]
    flows, ipv4, ipv6 = head[0] % 600, head[1] % 600, head[2] % 600
    planes = int.from_bytes(data[12:16], "little") >> (head[3] % 3)
    declared = Columns(flows, ipv4, ipv6, planes, b"")
    body = data[16:]
    if head[3] & 4:  # a body of the length that is declared gets past the inflating
        body = (body * (declared.inflated // max(1, len(body)) + 1))[: declared.inflated]
    packed = Columns(flows, ipv4, ipv6, planes, zlib.compress(body, 1))
    with suppress(WireError):
        _decode(EncodedBatch(1, head[4], head[5], packed, b""))


def _decode(encoded: EncodedBatch) -> None:
    batch = decode_batch(encoded, LIMITS)
    flows = batch.flows
    _require(len(flows) == encoded.columns.flows <= LIMITS.max_flows, "another number of flows")
    _require(len(flows.addresses) <= LIMITS.max_addresses, "more addresses than are taken")
    _require(encoded.columns.planes >> PLANES == 0, "planes that do not exist")
    again = decode_batch(encode_batch(batch), LIMITS)
    for name in ("packets", "bytes"):
        _require(
            int(getattr(again.flows, name).sum()) == int(getattr(flows, name).sum()),
            f"other {name} when sent on",
        )
    _require(again.totals == batch.totals, "other totals when sent on")


def to_agent(data: bytes) -> None:
    """A frame from a server, as an answer to Hello and as one to a batch."""
    for frame in (data, _mended(data)):
        with suppress(WireError, RefusedError):
            message = decode_to_agent(frame)
            _require(decode_to_agent(encode_to_agent(message)) == message, "another message")
            session = AgentSession(_AGENT)
            with suppress(WireError, RefusedError):
                session.welcomed(message)
            _require(session.acked(message, 3).sequence == 3, "an ack of another batch")


def handshake(data: bytes) -> None:
    """A whole conversation: frames from two connections, told apart by their lengths' low bit."""
    book = AppliedSequences(max_absent=4)
    sessions = [ServerSession(book, LIMITS), ServerSession(book, LIMITS)]
    applied: set[tuple[str, int, int]] = set()
    reader = FrameReader(LIMITS.max_frame)
    with suppress(WireError):
        for message in reader.feed(data):
            _one_turn(sessions[len(message) & 1], _mended(message), applied)
    for session in sessions:
        session.close()
    _require(len(book) <= 4, "absent agents are not bounded")


def _one_turn(session: ServerSession, message: bytes, applied: set[tuple[str, int, int]]) -> None:
    step = session.receive(decode_to_server(message))
    if isinstance(step, Authenticate):
        _require(session.identity is None, "admitted twice")
        session.authenticated(step.identity)
    elif isinstance(step, Apply):
        _require(step.identity == session.identity, "a batch of somebody else")
        key = (step.identity.node, step.identity.epoch, step.batch.sequence)
        _require(key not in applied, "applied twice")
        applied.add(key)
        _require(session.applied(step.batch.sequence) == Ack(step.batch.sequence), "another ack")
    elif isinstance(step, Repeat):
        _require(step.ack.duplicate, "a repetition that is none")
    else:
        session.close()


def _mended(data: bytes) -> bytes:
    """``data`` with the length of its one field made right: mutations seldom keep it so."""
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
