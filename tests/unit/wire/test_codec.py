"""kzn/wire/codec.py: golden bytes, round trips, and what is refused."""

from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kzn.errors import WireError
from kzn.wire import kzn_pb2
from kzn.wire.codec import (
    decode_to_agent,
    decode_to_server,
    encode_to_agent,
    encode_to_server,
)
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

HELLO = Hello("node-a", 0x0102030405060708, "secret", "0.1.0", "postrouting")
BATCH = EncodedBatch(7, 2**40, 5, Columns(3, 2, 1, 0x3FFFFFFF, b"zz"), b"tt")

U32, U64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
HELLOS = st.builds(
    Hello,
    st.text(),
    U64,
    st.text(),
    st.text(),
    st.text(),
    protocol=st.integers(0, 9),
    process=U64,
    interval_ms=U32,
)
BATCHES = st.builds(
    EncodedBatch,
    U64,
    U64,
    U64,
    st.builds(Columns, U32, U32, U32, U32, st.binary(), U32, st.binary()),
    st.binary(),
)
LIMITS = st.builds(Limits, U32, U32, U32)
WELCOMES = st.builds(Welcome, st.none() | U64, LIMITS, protocol=U32, max_node_addresses=U32)
ADDRESSES = st.builds(
    NodeAddresses, st.lists(st.binary(min_size=16, max_size=16), max_size=20).map(tuple)
)
REFUSALS = st.builds(Refusal, st.sampled_from(Reason), st.text(max_size=MAX_TEXT))
ACKS = st.builds(Ack, U64, st.booleans())


def test_hello_on_the_wire() -> None:
    assert encode_to_server(HELLO) == (
        b"\x0a\x2f\x08\x01\x12\x06node-a\x19\x08\x07\x06\x05\x04\x03\x02\x01"
        b"\x22\x06secret\x2a\x050.1.0\x32\x0bpostrouting"
    )


def test_the_process_of_an_agent_follows_a_hello_that_is_otherwise_the_same() -> None:
    plain, found = encode_to_server(HELLO), encode_to_server(replace(HELLO, process=0x0A0B))
    assert found == b"\x0a\x38" + plain[2:] + b"\x39\x0b\x0a\x00\x00\x00\x00\x00\x00"
    assert decode_to_server(plain) == HELLO


def test_a_batch_on_the_wire() -> None:
    assert encode_to_server(BATCH) == (
        b"\x12\x1e\x08\x07\x10\x80\x80\x80\x80\x80\x20\x18\x05\x20\x03\x28\x02\x30\x01"
        b"\x3d\xff\xff\xff\x3f\x42\x02zz\x4a\x02tt"
    )


def test_outer_destinations_follow_a_batch_that_is_otherwise_the_same() -> None:
    found = replace(BATCH, columns=replace(BATCH.columns, via_planes=0x13, via=b"vv"))
    plain = encode_to_server(BATCH)
    assert encode_to_server(found) == b"\x12\x24" + plain[2:] + b"\x50\x13\x5a\x02vv"
    assert decode_to_server(encode_to_server(found)) == found


def test_senders_follow_a_batch_that_is_otherwise_the_same() -> None:
    found = replace(BATCH, columns=replace(BATCH.columns, sender_planes=0x13, sender=b"ss"))
    plain = encode_to_server(BATCH)
    assert encode_to_server(found) == b"\x12\x24" + plain[2:] + b"\x60\x13\x6a\x02ss"
    assert decode_to_server(encode_to_server(found)) == found


def test_addresses_of_a_node_on_the_wire() -> None:
    message = NodeAddresses((b"abcdefghijklmnop", bytes(16)))
    assert encode_to_server(message) == b"\x1a\x22\x0a\x20abcdefghijklmnop" + bytes(16)
    assert encode_to_server(NodeAddresses(())) == b"\x1a\x00"


@pytest.mark.parametrize(
    ("length", "reason"),
    [
        (15, "node_addresses"),
        (17, "node_addresses"),
        (16 * MAX_NODE_ADDRESSES + 16, "node_addresses_limit"),
    ],
)
def test_addresses_that_are_cut_or_too_many_are_refused(length: int, reason: str) -> None:
    told = kzn_pb2.NodeAddresses(addresses=bytes(length))
    data = kzn_pb2.ToServer(addresses=told).SerializeToString()
    with pytest.raises(WireError) as caught:
        decode_to_server(data)
    assert caught.value.reason == reason


def test_a_node_may_have_as_many_addresses_as_the_limit() -> None:
    most = NodeAddresses(tuple(n.to_bytes(16, "big") for n in range(MAX_NODE_ADDRESSES)))
    assert decode_to_server(encode_to_server(most)) == most


def test_an_ack_on_the_wire() -> None:
    assert encode_to_agent(Ack(7)) == b"\x1a\x02\x08\x07"


def test_a_refusal_on_the_wire() -> None:
    assert encode_to_agent(Refusal(Reason.NODE, "no")) == b"\x12\x06\x08\x03\x12\x02no"


@given(HELLOS | BATCHES | ADDRESSES)
def test_a_message_of_an_agent_survives_a_round_trip(message: ToServer) -> None:
    assert decode_to_server(encode_to_server(message)) == message


@given(WELCOMES | REFUSALS | ACKS)
def test_a_message_of_a_server_survives_a_round_trip(message: ToAgent) -> None:
    assert decode_to_agent(encode_to_agent(message)) == message


def test_an_unknown_sequence_is_not_sequence_0() -> None:
    for last in (None, 0):
        back = decode_to_agent(encode_to_agent(Welcome(last, Limits())))
        assert isinstance(back, Welcome)
        assert back.last_applied == last


def test_every_reason_has_a_number() -> None:
    numbers = {name.removeprefix("REASON_") for name in kzn_pb2.Refusal.Reason.keys()}  # noqa: SIM118 - an enum wrapper, no dict
    assert numbers == {reason.name for reason in Reason}


def test_a_reason_of_a_newer_server_is_unspecified_and_not_permanent() -> None:
    back = decode_to_agent(b"\x12\x06\x08\x63\x12\x02no")
    assert back == Refusal(Reason.UNSPECIFIED, "no")
    assert not Reason.UNSPECIFIED.permanent


def test_a_long_text_is_truncated() -> None:
    back = decode_to_agent(encode_to_agent(Refusal(Reason.NODE, "x" * 5000)))
    assert back == Refusal(Reason.NODE, "x" * MAX_TEXT)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "envelope"),
        (b"\x0a", "envelope"),
        (b"\x0a\x05abc", "envelope"),
        (b"\x0a\x00\x0a\x00", "envelope"),
        (b"\x0a\x00\x12\x00" * 1000, "envelope"),
        (b"\x0a\x80\x80\x80\x80\x80\x00", "envelope"),
        (b"\x08\x01", "envelope"),
        (b"\x0a\x02\x0a\x05", "parse"),
        (b"\x3a\x00", "unknown_message"),
    ],
)
def test_bytes_that_are_not_one_message_are_refused(data: bytes, reason: str) -> None:
    for decode in (decode_to_server, decode_to_agent):
        with pytest.raises(WireError) as caught:
            decode(data)
        assert caught.value.reason == reason


def test_a_text_that_is_not_utf_8_is_refused() -> None:
    with pytest.raises(WireError) as caught:
        decode_to_server(b"\x0a\x03\x12\x01\xff")
    assert caught.value.reason == "parse"


@given(st.binary(max_size=64))
def test_any_bytes_are_a_message_or_a_wire_error(data: bytes) -> None:
    wrapped = [data] + [bytes([tag, len(data)]) + data for tag in (0x0A, 0x12, 0x1A)]
    for candidate in wrapped:
        for decode in (decode_to_server, decode_to_agent):
            with suppress(WireError):
                decode(candidate)
