"""kzn/wire/session.py: both sides of a connection, without a socket."""

from dataclasses import replace

import pytest

from kzn.errors import RefusedError, WireError
from kzn.model.batch import AgentIdentity, Batch
from kzn.model.flows import Flows
from kzn.model.totals import Totals
from kzn.wire.compression import offer
from kzn.wire.encode_batch import EncodedBatch, encode_batch
from kzn.wire.limits import MAX_NODE_ADDRESSES, Limits
from kzn.wire.messages import Ack, Hello, NodeAddresses, Reason, Refusal, Welcome
from kzn.wire.sequences import AppliedSequences
from kzn.wire.session import (
    AgentSession,
    Apply,
    Authenticate,
    Repeat,
    ServerSession,
    TakeAddresses,
)

IDENTITY = AgentIdentity("node-a", 77, "postrouting", "0.1.0")
HELLO = Hello("node-a", 77, "token", "0.1.0", "postrouting")
LIMITS = Limits(max_frame=1000, max_flows=10, max_addresses=10)


def batch(sequence: int) -> EncodedBatch:
    return encode_batch(Batch(sequence, 10, 0, Flows.empty(), Totals()))


def welcome(last: int | None) -> Welcome:
    return Welcome(last, LIMITS, max_node_addresses=MAX_NODE_ADDRESSES, compressions=offer())


def welcomed(sequences: AppliedSequences) -> ServerSession:
    session = ServerSession(sequences, LIMITS)
    step = session.receive(HELLO)
    assert isinstance(step, Authenticate)
    session.authenticated(step.identity)
    return session


def test_an_agent_is_welcomed_with_limits_and_last_sequence() -> None:
    sequences = AppliedSequences()
    session = ServerSession(sequences, LIMITS)
    assert session.receive(HELLO) == Authenticate(HELLO, IDENTITY)
    assert session.authenticated(IDENTITY) == welcome(None)
    session.applied(4)
    session.close()
    assert ServerSession(sequences, LIMITS).authenticated(IDENTITY) == welcome(4)


def test_the_process_of_an_agent_is_part_of_its_identity() -> None:
    identity = replace(IDENTITY, process=9, interval_ms=300_000)
    hello = AgentSession(identity).hello("token")
    assert hello == replace(HELLO, process=9, interval_ms=300_000)
    step = ServerSession(AppliedSequences(), LIMITS).receive(hello)
    assert step == Authenticate(hello, identity)


def test_a_batch_is_applied_once_over_two_connections() -> None:
    sequences = AppliedSequences()
    first = welcomed(sequences)
    assert first.receive(batch(1)) == Apply(IDENTITY, batch(1), gap=False)
    assert first.applied(1) == Ack(1)
    second = welcomed(sequences)
    assert second.receive(batch(1)) == Repeat(Ack(1, duplicate=True))


def test_a_batch_that_was_not_applied_may_be_sent_again() -> None:
    session = welcomed(AppliedSequences())
    session.receive(batch(1))
    assert session.receive(batch(1)) == Apply(IDENTITY, batch(1), gap=False)


def test_a_batch_after_a_gap_is_applied_and_marked() -> None:
    session = welcomed(AppliedSequences())
    session.applied(1)
    assert session.receive(batch(3)) == Apply(IDENTITY, batch(3), gap=True)


@pytest.mark.parametrize(
    ("hello", "reason"),
    [
        (replace(HELLO, protocol=2), Reason.VERSION),
        (replace(HELLO, protocol=0), Reason.VERSION),
        (replace(HELLO, node=""), Reason.NODE),
        (replace(HELLO, node="x" * 254), Reason.NODE),
        (replace(HELLO, node='a"b\n'), Reason.NODE),
        (replace(HELLO, node="-a"), Reason.NODE),
        (replace(HELLO, probe="x" * 65), Reason.MALFORMED),
        (replace(HELLO, agent_version="\x1b[31m"), Reason.MALFORMED),
        (replace(HELLO, epoch=0), Reason.MALFORMED),
    ],
)
def test_an_invalid_hello_is_refused(hello: Hello, reason: Reason) -> None:
    step = ServerSession(AppliedSequences(), LIMITS).receive(hello)
    assert isinstance(step, Refusal)
    assert step.reason is reason


def test_a_batch_before_hello_is_refused() -> None:
    step = ServerSession(AppliedSequences(), LIMITS).receive(batch(1))
    assert isinstance(step, Refusal)
    assert step.reason is Reason.UNEXPECTED


def test_a_batch_before_authentication_is_refused() -> None:
    session = ServerSession(AppliedSequences(), LIMITS)
    session.receive(HELLO)
    assert isinstance(session.receive(batch(1)), Refusal)


def test_a_second_hello_is_refused() -> None:
    step = welcomed(AppliedSequences()).receive(HELLO)
    assert isinstance(step, Refusal)
    assert step.reason is Reason.UNEXPECTED


def test_sequence_0_is_refused() -> None:
    assert isinstance(welcomed(AppliedSequences()).receive(batch(0)), Refusal)


def test_close_may_be_called_twice_or_before_hello() -> None:
    sequences = AppliedSequences()
    session = welcomed(sequences)
    session.close()
    session.close()
    ServerSession(sequences, LIMITS).close()
    assert len(sequences) == 0


def test_hello_has_the_identity_of_the_agent() -> None:
    assert AgentSession(IDENTITY).hello("token") == HELLO


@pytest.mark.parametrize("reason", [Reason.TOKEN, Reason.BUSY])
def test_a_refusal_reaches_the_agent_with_its_reason(reason: Reason) -> None:
    with pytest.raises(RefusedError, match="go away") as caught:
        AgentSession(IDENTITY).welcomed(Refusal(reason, "go away"))
    assert caught.value.reason == reason


def test_a_server_of_another_protocol_version_is_an_error() -> None:
    with pytest.raises(RefusedError) as caught:
        AgentSession(IDENTITY).welcomed(Welcome(None, LIMITS, protocol=2))
    assert caught.value.reason == "version"


@pytest.mark.parametrize("sequence", [4, 6])
def test_an_ack_of_another_batch_is_an_error(sequence: int) -> None:
    with pytest.raises(WireError) as caught:
        AgentSession(IDENTITY).acked(Ack(sequence), 5)
    assert caught.value.reason == "wrong_ack"
    assert AgentSession(IDENTITY).acked(Ack(5, duplicate=True), 5).duplicate


def test_an_ack_for_hello_or_a_welcome_for_a_batch_is_an_error() -> None:
    session = AgentSession(IDENTITY)
    with pytest.raises(WireError):
        session.welcomed(Ack(1))
    with pytest.raises(WireError):
        session.acked(Welcome(None, LIMITS), 1)


def test_a_batch_beyond_the_servers_limits_is_not_sent() -> None:
    session = AgentSession(IDENTITY)
    session.welcomed(Welcome(None, LIMITS))
    session.check(batch(1), 1000)
    with pytest.raises(WireError) as caught:
        session.check(batch(1), 1001)
    assert caught.value.reason == "frame_too_large"
    small = AgentSession(IDENTITY)
    small.welcomed(Welcome(None, replace(LIMITS, max_flows=0)))
    columns = replace(batch(1).columns, flows=1)
    with pytest.raises(WireError) as caught:
        small.check(replace(batch(1), columns=columns), 10)
    assert caught.value.reason == "flows_limit"


TOLD = tuple(bytes([n]) * 16 for n in (1, 2, 3))


def test_a_server_takes_the_addresses_of_the_node_that_is_authenticated() -> None:
    session = welcomed(AppliedSequences())
    assert session.receive(NodeAddresses(TOLD)) == TakeAddresses(IDENTITY, TOLD, Ack(0))


def test_a_server_takes_no_addresses_before_hello() -> None:
    step = ServerSession(AppliedSequences(), LIMITS).receive(NodeAddresses(TOLD))
    assert isinstance(step, Refusal)
    assert step.reason is Reason.UNEXPECTED


@pytest.mark.parametrize(
    ("most", "message"),
    [(0, None), (2, NodeAddresses(TOLD[:2])), (9, NodeAddresses(TOLD))],
)
def test_an_agent_tells_what_the_server_takes_and_an_older_server_nothing(
    most: int, message: NodeAddresses | None
) -> None:
    session = AgentSession(IDENTITY)
    session.welcomed(Welcome(None, LIMITS, max_node_addresses=most))
    assert session.addresses(TOLD) == message


def test_an_agent_tells_no_more_than_the_limit_of_the_protocol() -> None:
    session = AgentSession(IDENTITY)
    session.welcomed(Welcome(None, LIMITS, max_node_addresses=1 << 31))
    message = session.addresses([bytes(16)] * (MAX_NODE_ADDRESSES + 1))
    assert message is not None
    assert len(message.addresses) == MAX_NODE_ADDRESSES
