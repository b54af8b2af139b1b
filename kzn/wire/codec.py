"""Messages to protobuf bytes and back.

In: the bytes of one frame. Out: one message, or WireError with a reason.
Never: parses more than one field of an envelope, since a frame full of empty messages would take
many times its size in memory.
"""

from typing import TypeVar

from google.protobuf.message import DecodeError

from kzn.errors import WireError
from kzn.wire import kzn_pb2
from kzn.wire.columns import Columns
from kzn.wire.encode_batch import EncodedBatch
from kzn.wire.limits import MAX_NODE_ADDRESSES, Limits
from kzn.wire.messages import (
    MAX_TEXT,
    Ack,
    Hello,
    NodeAddresses,
    Reason,
    Refusal,
    ToAgent,
    ToServer,
    Welcome,
)

_Envelope = TypeVar("_Envelope", kzn_pb2.ToServer, kzn_pb2.ToAgent)
_LENGTH_DELIMITED = 2
_MAX_VARINT32 = 5
_ADDRESS = 16


def encode_to_server(message: ToServer) -> bytes:
    """The bytes of an agent's message."""
    if isinstance(message, Hello):
        hello = kzn_pb2.Hello(
            protocol=message.protocol,
            node=message.node,
            epoch=message.epoch,
            token=message.token,
            agent_version=message.agent_version,
            probe=message.probe,
            process=message.process,
            interval_ms=message.interval_ms,
        )
        return kzn_pb2.ToServer(hello=hello).SerializeToString()
    if isinstance(message, NodeAddresses):
        told = kzn_pb2.NodeAddresses(addresses=b"".join(message.addresses))
        return kzn_pb2.ToServer(addresses=told).SerializeToString()
    batch = kzn_pb2.FlowBatch(
        sequence=message.sequence,
        opened_ms_ago=message.opened_ms_ago,
        closed_ms_ago=message.closed_ms_ago,
        flows=message.columns.flows,
        ipv4=message.columns.ipv4,
        ipv6=message.columns.ipv6,
        planes=message.columns.planes,
        columns=message.columns.data,
        totals=message.totals,
        via_planes=message.columns.via_planes,
        via=message.columns.via,
        sender_planes=message.columns.sender_planes,
        sender=message.columns.sender,
        compression=message.columns.compression,
    )
    return kzn_pb2.ToServer(batch=batch).SerializeToString()


def decode_to_server(data: bytes) -> ToServer:
    """An agent's message; the columns of a batch are not decoded."""
    envelope = _parse(kzn_pb2.ToServer, data)
    if envelope.WhichOneof("message") == "hello":
        hello = envelope.hello
        return Hello(
            node=hello.node,
            epoch=hello.epoch,
            token=hello.token,
            agent_version=hello.agent_version,
            probe=hello.probe,
            protocol=hello.protocol,
            process=hello.process,
            interval_ms=hello.interval_ms,
        )
    if envelope.WhichOneof("message") == "batch":
        batch = envelope.batch
        return EncodedBatch(
            sequence=batch.sequence,
            opened_ms_ago=batch.opened_ms_ago,
            closed_ms_ago=batch.closed_ms_ago,
            columns=Columns(
                batch.flows,
                batch.ipv4,
                batch.ipv6,
                batch.planes,
                batch.columns,
                batch.via_planes,
                batch.via,
                batch.sender_planes,
                batch.sender,
                batch.compression,
            ),
            totals=batch.totals,
        )
    if envelope.WhichOneof("message") == "addresses":
        return NodeAddresses(_addresses(envelope.addresses.addresses))
    raise _unknown(data)


def encode_to_agent(message: ToAgent) -> bytes:
    """The bytes of a server's message."""
    if isinstance(message, Ack):
        ack = kzn_pb2.Ack(sequence=message.sequence, duplicate=message.duplicate)
        return kzn_pb2.ToAgent(ack=ack).SerializeToString()
    if isinstance(message, Refusal):
        refusal = kzn_pb2.Refusal(
            reason=f"REASON_{message.reason.name}",
            text=message.text[:MAX_TEXT],
        )
        return kzn_pb2.ToAgent(refusal=refusal).SerializeToString()
    welcome = kzn_pb2.Welcome(
        protocol=message.protocol,
        last_applied=message.last_applied,
        max_frame=message.limits.max_frame,
        max_flows=message.limits.max_flows,
        max_addresses=message.limits.max_addresses,
        instance=message.instance,
        max_node_addresses=message.max_node_addresses,
        compressions=message.compressions,
    )
    return kzn_pb2.ToAgent(welcome=welcome).SerializeToString()


def decode_to_agent(data: bytes) -> ToAgent:
    """A server's message; an unknown reason becomes `Reason.UNSPECIFIED`."""
    envelope = _parse(kzn_pb2.ToAgent, data)
    which = envelope.WhichOneof("message")
    if which == "ack":
        return Ack(envelope.ack.sequence, envelope.ack.duplicate)
    if which == "refusal":
        return Refusal(_reason(envelope.refusal.reason), envelope.refusal.text[:MAX_TEXT])
    if which == "welcome":
        welcome = envelope.welcome
        return Welcome(
            last_applied=welcome.last_applied if welcome.HasField("last_applied") else None,
            limits=Limits(welcome.max_frame, welcome.max_flows, welcome.max_addresses),
            protocol=welcome.protocol,
            instance=welcome.instance,
            max_node_addresses=welcome.max_node_addresses,
            compressions=welcome.compressions,
        )
    raise _unknown(data)


def _addresses(data: bytes) -> tuple[bytes, ...]:
    count, rest = divmod(len(data), _ADDRESS)
    if rest:
        raise WireError(f"addresses of {len(data)} bytes: not 16 each", reason="node_addresses")
    if count > MAX_NODE_ADDRESSES:
        raise WireError(
            f"the node has {count} addresses, the limit is {MAX_NODE_ADDRESSES}",
            reason="node_addresses_limit",
        )
    return tuple(data[at : at + _ADDRESS] for at in range(0, len(data), _ADDRESS))


def _reason(number: int) -> Reason:
    known = kzn_pb2.Refusal.Reason.values()
    if number not in known:
        return Reason.UNSPECIFIED
    return Reason[kzn_pb2.Refusal.Reason.Name(number).removeprefix("REASON_")]


def _parse(kind: type[_Envelope], data: bytes) -> _Envelope:
    if not _is_one_field(data):
        raise WireError("the frame is not one message", reason="envelope")
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise WireError(f"the message cannot be parsed: {error}", reason="parse") from error


def _is_one_field(data: bytes) -> bool:
    """Whether ``data`` is one tag byte, one length, and that many bytes."""
    if not data or data[0] & 0x07 != _LENGTH_DELIMITED or data[0] & 0x80:
        return False
    length = 0
    for i, byte in enumerate(data[1 : 1 + _MAX_VARINT32]):
        length |= (byte & 0x7F) << (7 * i)
        if not byte & 0x80:
            return 2 + i + length == len(data)
    return False


def _unknown(data: bytes) -> WireError:
    return WireError(f"unknown kind of message {data[0] >> 3}", reason="unknown_message")
