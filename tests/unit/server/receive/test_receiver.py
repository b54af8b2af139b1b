"""The receiver over loopback: each batch is applied once, and no peer disturbs another."""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import pytest

from kzn.daemon.listen import HostPort, bound_port, listen
from kzn.model.batch import AgentIdentity, Batch
from kzn.model.flows import Flows
from kzn.model.totals import Counts, Totals
from kzn.server.auth.permit import Authenticate, PeerInfo, Permit, accept_all
from kzn.server.receive.context import Durable, TakeAddresses, at_once, ignore_addresses
from kzn.server.receive.limits import ReceiveLimits
from kzn.server.receive.receiver import Receiver
from kzn.server.receive.turns import FRAME_BYTES, TURN_BYTES
from kzn.wire.codec import decode_to_agent, encode_to_server
from kzn.wire.compression import offer
from kzn.wire.encode_batch import encode_batch
from kzn.wire.frames import HEADER, frame
from kzn.wire.limits import MAX_NODE_ADDRESSES, Limits
from kzn.wire.messages import Ack, Hello, NodeAddresses, Reason, Refusal, ToAgent, ToServer, Welcome
from kzn.wire.stream import FrameStream

HELLO = Hello("node-a", 77, "", "0.1.0", "postrouting")
IDENTITY = AgentIdentity("node-a", 77, "postrouting", "0.1.0")


@dataclass
class Applied:
    """Records batches in place of the pipeline; fails on request."""

    batches: list[tuple[AgentIdentity, Batch]] = field(default_factory=list)
    fail: bool = False
    on_batch: Callable[[], None] = lambda: None

    def __call__(self, identity: AgentIdentity, batch: Batch) -> None:
        if self.fail:
            raise RuntimeError("a bug")
        self.on_batch()
        self.batches.append((identity, batch))

    @property
    def sequences(self) -> list[int]:
        return [batch.sequence for _, batch in self.batches]


class Client:
    """A connection that sends what a test gives it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.stream = FrameStream(reader, writer, 1 << 20)

    async def say(self, message: ToServer) -> ToAgent | None:
        await self.stream.send(encode_to_server(message))
        return await self.next_answer()

    async def next_answer(self) -> ToAgent | None:
        data = await self.stream.receive()
        return None if data is None else decode_to_agent(data)

    async def refusal(self) -> Reason:
        answer = await self.next_answer()
        assert isinstance(answer, Refusal)
        assert await self.next_answer() is None
        return answer.reason


@dataclass
class Scene:
    """A receiver on loopback and the connections to it."""

    receiver: Receiver
    port: int
    applied: Applied
    clients: list[Client] = field(default_factory=list)

    async def client(self) -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port))
        self.clients.append(client)
        return client

    async def agent(self, hello: Hello = HELLO) -> Client:
        client = await self.client()
        assert isinstance(await client.say(hello), Welcome)
        return client

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():  # noqa: ASYNC110 - the receiver has no event; play() has a deadline
            await asyncio.sleep(0)


def play(
    act: Callable[[Scene], Awaitable[None]],
    limits: ReceiveLimits | None = None,
    authenticate: Authenticate = accept_all,
    send_buffer: int = 0,
    durable: Durable = at_once,
    take_addresses: TakeAddresses = ignore_addresses,
    *,
    verifies: bool = False,
) -> None:
    async def run() -> None:
        sockets = listen(HostPort("127.0.0.1", 0))
        if send_buffer:
            sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        applied = Applied()
        receiver = Receiver(
            applied,
            limits=limits,
            authenticate=authenticate,
            durable=durable,
            take_addresses=take_addresses,
            verifies=verifies,
        )
        await receiver.start(sockets)
        scene = Scene(receiver, bound_port(sockets), applied)
        async with asyncio.timeout(20):
            try:
                await act(scene)
            finally:
                for client in scene.clients:
                    client.stream.abort()
                await receiver.close(5.0)
        assert receiver.stats.connections == 0

    asyncio.run(run())


def batch(sequence: int) -> Batch:
    return Batch(sequence, 10_000, 0, Flows.empty(), Totals(seen=Counts(sequence, 100)))


def message(sequence: int) -> ToServer:
    return encode_batch(batch(sequence))


def test_addresses_are_those_of_the_authenticated_node_and_are_acked_between_batches() -> None:
    taken: list[tuple[str, Sequence[bytes]]] = []

    async def act(scene: Scene) -> None:
        agent = await scene.agent()
        assert await agent.say(NodeAddresses((b"a" * 16, b"b" * 16))) == Ack(0)
        assert await agent.say(message(1)) == Ack(1)
        assert await agent.say(NodeAddresses(())) == Ack(0)
        assert taken == [(HELLO.node, (b"a" * 16, b"b" * 16)), (HELLO.node, ())]
        assert scene.receiver.stats.batches == 1

    play(act, take_addresses=lambda node, told: taken.append((node, told)))


def test_addresses_before_hello_or_of_a_refused_agent_are_not_taken() -> None:
    taken: list[str] = []

    async def refuse(_hello: Hello, _peer: PeerInfo) -> Refusal:
        return Refusal(Reason.NODE, "not the token's node")

    async def act(scene: Scene) -> None:
        client = await scene.client()
        await client.stream.send(encode_to_server(NodeAddresses((b"a" * 16,))))
        assert await client.refusal() is Reason.UNEXPECTED
        client = await scene.client()
        await client.stream.send(encode_to_server(HELLO))
        await client.stream.send(encode_to_server(NodeAddresses((b"a" * 16,))))
        assert await client.refusal() is Reason.NODE
        assert not taken

    play(act, authenticate=refuse, take_addresses=lambda node, _told: taken.append(node))


def test_too_many_addresses_are_refused_as_too_large() -> None:
    taken: list[str] = []

    async def act(scene: Scene) -> None:
        agent = await scene.agent()
        await agent.stream.send(
            encode_to_server(NodeAddresses((bytes(16),) * (MAX_NODE_ADDRESSES + 1)))
        )
        assert await agent.refusal() is Reason.TOO_LARGE
        assert scene.receiver.stats.refusals["node_addresses_limit"] == 1
        assert not taken

    play(act, take_addresses=lambda node, _told: taken.append(node))


def test_a_batch_is_applied_and_acked() -> None:
    async def act(scene: Scene) -> None:
        agent = await scene.agent()
        assert await agent.say(message(1)) == Ack(1)
        ((identity, got),) = scene.applied.batches
        assert identity == IDENTITY
        assert got.totals == batch(1).totals
        stats = scene.receiver.stats
        assert (stats.connections, stats.accepted, stats.frames, stats.batches) == (1, 1, 2, 1)
        assert stats.received_bytes == agent.stream.sent
        assert stats.sent_bytes == agent.stream.received

    play(act)


def test_a_replayed_batch_is_acked_but_not_applied_again_on_any_connection() -> None:
    async def act(scene: Scene) -> None:
        agent = await scene.agent()
        await agent.say(message(1))
        assert await agent.say(message(1)) == Ack(1, duplicate=True)
        other = await scene.client()
        assert await other.say(HELLO) == Welcome(
            1, Limits(), max_node_addresses=MAX_NODE_ADDRESSES, compressions=offer()
        )
        assert await other.say(message(1)) == Ack(1, duplicate=True)
        assert scene.applied.sequences == [1]
        assert scene.receiver.stats.duplicates == 2

    play(act)


def test_another_epoch_of_the_node_has_its_own_sequence() -> None:
    async def act(scene: Scene) -> None:
        await (await scene.agent()).say(message(1))
        assert await (await scene.agent(replace(HELLO, epoch=78))).say(message(1)) == Ack(1)
        assert scene.applied.sequences == [1, 1]

    play(act)


def test_a_gap_is_applied_and_counted() -> None:
    async def act(scene: Scene) -> None:
        agent = await scene.agent()
        for sequence in (1, 3):
            assert await agent.say(message(sequence)) == Ack(sequence)
        assert scene.receiver.stats.gaps == 1
        assert scene.applied.sequences == [1, 3]

    play(act)


def test_a_batch_that_failed_to_apply_is_refused_and_can_be_resent(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def act(scene: Scene) -> None:
        scene.applied.fail = True
        agent = await scene.agent()
        answer = await agent.say(message(1))
        assert isinstance(answer, Refusal)
        assert answer.reason is Reason.INTERNAL
        assert "bug" not in answer.text
        scene.applied.fail = False
        assert await (await scene.agent()).say(message(1)) == Ack(1)
        assert scene.applied.sequences == [1]

    play(act)
    assert "batch 1 of node-a not applied" in caplog.text


BAD_COLUMNS = replace(
    encode_batch(batch(1)), columns=replace(encode_batch(batch(1)).columns, data=b"no zlib")
)


@pytest.mark.parametrize(
    ("data", "reason", "label"),
    [
        (b"GET / HTTP/1.1\r\nHost: kzn\r\n\r\n", Reason.MALFORMED, "speaks_http"),
        (b"\x16\x03\x01\x02\x00\x01\x00", Reason.MALFORMED, "speaks_tls"),
        (b"\x00\x00\x40\x01", Reason.TOO_LARGE, "frame_too_large"),
        (b"\x00\x00\x00\x00", Reason.MALFORMED, "frame_empty"),
        (frame(b"garbage"), Reason.MALFORMED, "envelope"),
        (frame(encode_to_server(message(1))), Reason.UNEXPECTED, "unexpected"),
        (frame(encode_to_server(replace(HELLO, protocol=2))), Reason.VERSION, "version"),
        (frame(encode_to_server(replace(HELLO, node="a b"))), Reason.NODE, "node"),
    ],
)
def test_an_unauthenticated_peer_gets_a_refusal_and_is_closed(
    data: bytes, reason: Reason, label: str
) -> None:
    async def act(scene: Scene) -> None:
        agent = await scene.agent()
        peer = await scene.client()
        peer.writer.write(data)
        assert await peer.refusal() is reason
        assert scene.receiver.stats.refusals == {label: 1}
        assert await agent.say(message(1)) == Ack(1)

    play(act)


@pytest.mark.parametrize(
    ("data", "reason", "label"),
    [
        (frame(encode_to_server(HELLO)), Reason.UNEXPECTED, "unexpected"),
        (frame(encode_to_server(message(0))), Reason.MALFORMED, "malformed"),
        (frame(encode_to_server(BAD_COLUMNS)), Reason.MALFORMED, "inflate"),
        (b"\x00\x80\x00\x01", Reason.TOO_LARGE, "frame_too_large"),
    ],
)
def test_an_agent_that_breaks_the_protocol_gets_a_refusal_and_is_closed(
    data: bytes, reason: Reason, label: str
) -> None:
    async def act(scene: Scene) -> None:
        agent = await scene.agent()
        agent.writer.write(data)
        assert await agent.refusal() is reason
        assert scene.receiver.stats.refusals == {label: 1}
        assert scene.applied.sequences == []

    play(act, ReceiveLimits(wire=Limits(max_frame=1 << 23)))


def test_a_refusal_arrives_although_unread_bytes_remain() -> None:
    async def act(scene: Scene) -> None:
        peer = await scene.client()
        peer.writer.write(b"\xff" * 300_000)
        assert await peer.refusal() is Reason.TOO_LARGE

    play(act)


def test_an_agent_that_fails_authentication_is_refused_with_the_reason() -> None:
    async def authenticate(hello: Hello, _peer: PeerInfo) -> Permit | Refusal:
        return Permit() if hello.token == "good" else Refusal(Reason.TOKEN, "no")  # noqa: S105

    async def act(scene: Scene) -> None:
        assert await (await scene.client()).say(HELLO) == Refusal(Reason.TOKEN, "no")
        await scene.agent(replace(HELLO, token="good"))  # noqa: S106

    play(act, authenticate=authenticate)


def test_an_exception_during_authentication_is_an_internal_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def authenticate(_hello: Hello, _peer: PeerInfo) -> Permit | Refusal:
        raise RuntimeError("a bug")

    async def act(scene: Scene) -> None:
        answer = await (await scene.client()).say(HELLO)
        assert isinstance(answer, Refusal)
        assert answer.reason is Reason.INTERNAL

    play(act, authenticate=authenticate)
    assert "authentication of node-a failed" in caplog.text


def test_silence_before_hello_times_out() -> None:
    async def act(scene: Scene) -> None:
        assert await (await scene.client()).refusal() is Reason.TIMEOUT

    play(act, ReceiveLimits(handshake=0.05))


def test_silence_and_an_unfinished_frame_time_out_after_hello() -> None:
    async def act(scene: Scene) -> None:
        silent, trickling = await scene.agent(), await scene.agent()
        trickling.writer.write(frame(encode_to_server(message(1)))[:-1])
        assert await silent.refusal() is Reason.TIMEOUT
        assert await trickling.refusal() is Reason.TIMEOUT
        assert scene.receiver.stats.refusals == {"timeout": 2}

    play(act, ReceiveLimits(idle=0.1))


def test_a_started_frame_has_a_shorter_timeout_than_silence() -> None:
    async def act(scene: Scene) -> None:
        silent, trickling = await scene.agent(), await scene.agent()
        trickling.writer.write(frame(encode_to_server(message(1)))[:-1])
        assert await trickling.refusal() is Reason.TIMEOUT
        assert await silent.say(message(1)) == Ack(1)

    play(act, ReceiveLimits(idle=60.0, frame=0.05))


def test_after_its_permit_ended_an_agent_authenticates_again_and_loses_no_batch() -> None:
    async def authenticate(_hello: Hello, _peer: PeerInfo) -> Permit | Refusal:
        return permits.pop()

    permits = [Permit(), Permit(0.0)]

    async def act(scene: Scene) -> None:
        agent = await scene.agent()
        answer = await agent.say(message(1))
        assert isinstance(answer, Refusal)
        assert not answer.reason.permanent
        assert scene.receiver.stats.refusals == {"permit_ended": 1}
        assert scene.applied.sequences == []
        assert await (await scene.agent()).say(message(1)) == Ack(1)

    play(act, authenticate=authenticate)


def test_authentication_that_takes_too_long_is_refused_as_busy() -> None:
    async def authenticate(_hello: Hello, _peer: PeerInfo) -> Permit | Refusal:
        await asyncio.Event().wait()
        raise AssertionError

    async def act(scene: Scene) -> None:
        answer = await (await scene.client()).say(HELLO)
        assert isinstance(answer, Refusal)
        assert answer.reason is Reason.BUSY
        assert scene.receiver.stats.refusals == {"authentication_timeout": 1}

    play(act, ReceiveLimits(handshake=0.05), authenticate=authenticate)


@pytest.mark.slow
def test_a_peer_that_never_reads_times_out() -> None:
    async def act(scene: Scene) -> None:
        agent = await scene.agent()
        agent.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await agent.say(message(1))
        repeated = frame(encode_to_server(message(1))) * 100
        with suppress(OSError):
            while scene.receiver.stats.connections:
                agent.writer.write(repeated)
                await agent.writer.drain()
        assert scene.receiver.stats.refusals == {"timeout": 1}

    play(act, ReceiveLimits(write=0.05, linger=0.05), send_buffer=4096)


def test_a_peer_with_many_frames_does_not_delay_others() -> None:
    async def act(scene: Scene) -> None:
        busy, modest = await scene.agent(), await scene.agent(replace(HELLO, epoch=78))
        await busy.say(message(1))
        many = 2000
        busy.writer.write(frame(encode_to_server(message(1))) * many)
        assert await modest.say(message(1)) == Ack(1)
        assert scene.receiver.stats.duplicates < many

    play(act)


def test_batches_that_arrive_at_once_are_applied_together_and_not_all_in_one_turn() -> None:
    async def act(scene: Scene) -> None:
        agents = [await scene.agent(replace(HELLO, node=f"node-{n}")) for n in range(90)]
        turns = 0
        at: list[int] = []
        scene.applied.on_batch = lambda: at.append(turns)
        data = frame(encode_to_server(message(1)))
        for agent in agents:
            agent.writer.write(data)
        while len(at) < len(agents):
            turns += 1
            await asyncio.sleep(0)
        assert max(map(at.count, at)) > 1
        assert max(map(at.count, at)) <= TURN_BYTES // (FRAME_BYTES + len(data) - HEADER)
        for agent in agents:
            assert await agent.next_answer() == Ack(1)

    play(act)


@pytest.mark.parametrize(
    ("limits", "label"),
    [
        (ReceiveLimits(connections=2), "connections"),
        (ReceiveLimits(connections_per_address=2), "connections_per_address"),
    ],
)
def test_a_connection_above_the_limit_is_refused_until_another_closes(
    limits: ReceiveLimits, label: str
) -> None:
    async def act(scene: Scene) -> None:
        first, _ = await scene.agent(), await scene.agent()
        assert await (await scene.client()).refusal() is Reason.BUSY
        assert scene.receiver.stats.refusals == {label: 1}
        first.stream.abort()
        await scene.until(lambda: scene.receiver.stats.connections == 1)
        await scene.agent()

    play(act, limits)


def test_agents_that_proved_their_nodes_do_not_count_for_the_address_they_share() -> None:
    async def act(scene: Scene) -> None:
        agents = [await scene.agent(replace(HELLO, node=f"n{n}", epoch=n)) for n in range(1, 9)]
        idle = [await scene.client() for _ in range(2)]
        await scene.until(lambda: scene.receiver.stats.connections == 10)
        assert await (await scene.client()).refusal() is Reason.BUSY  # the address has two unproved
        idle[0].stream.abort()
        await scene.until(lambda: scene.receiver.stats.connections == 9)
        await scene.agent(replace(HELLO, node="n9", epoch=9))
        assert scene.receiver.stats.refusals == {"connections_per_address": 1}
        for agent in agents:
            agent.stream.abort()
        await scene.until(lambda: scene.receiver.stats.connections == 2)
        await scene.client()  # the second that is not proved
        await scene.until(lambda: scene.receiver.stats.connections == 3)
        assert await (await scene.client()).refusal() is Reason.BUSY

    play(act, ReceiveLimits(connections_per_address=2), verifies=True)


def test_one_proved_agent_has_a_limit_of_its_own() -> None:
    async def act(scene: Scene) -> None:
        for epoch in (1, 2):
            await scene.agent(replace(HELLO, epoch=epoch))
        third = await scene.client()
        answer = await third.say(replace(HELLO, epoch=3))
        assert isinstance(answer, Refusal)
        assert answer.reason is Reason.BUSY
        await scene.agent(replace(HELLO, node="other", epoch=4))

    play(act, ReceiveLimits(connections_per_address=2), verifies=True)


def test_a_disconnect_within_a_frame_is_counted_and_one_between_frames_is_not() -> None:
    async def act(scene: Scene) -> None:
        for data, broken in ((b"", 0), (b"\x00\x00", 1)):
            agent = await scene.agent()
            agent.writer.write(data)
            agent.writer.write_eof()
            assert await agent.next_answer() is None
            await scene.until(lambda: scene.receiver.stats.connections == 0)
            assert scene.receiver.stats.broken == broken
            assert scene.receiver.stats.refusals == {}

    play(act)


def test_close_refuses_all_connections_and_accepts_no_new_ones() -> None:
    async def act(scene: Scene) -> None:
        agents = [await scene.agent(), await scene.client()]
        closing = asyncio.create_task(scene.receiver.close(5.0))
        for agent in agents:
            assert await agent.refusal() is Reason.SHUTTING_DOWN
            agent.stream.abort()
        await closing
        with pytest.raises(OSError, match="Connect call failed"):
            await scene.client()

    play(act)


def test_close_waits_for_frames_being_processed_up_to_its_deadline() -> None:
    decided = asyncio.Event()
    asked = asyncio.Event()

    async def authenticate(hello: Hello, _peer: PeerInfo) -> Permit | Refusal:
        asked.set()
        await (decided if hello.epoch == 77 else asyncio.Event()).wait()
        return Permit()

    async def act(scene: Scene) -> None:
        agent, stuck = await scene.client(), await scene.client()
        await stuck.stream.send(encode_to_server(replace(HELLO, epoch=78)))
        await asked.wait()
        asked.clear()
        await agent.stream.send(encode_to_server(HELLO))
        await asked.wait()
        closing = asyncio.create_task(scene.receiver.close(0.2))
        await asyncio.sleep(0)
        decided.set()
        assert isinstance(await agent.next_answer(), Welcome)
        assert await agent.refusal() is Reason.SHUTTING_DOWN
        async with asyncio.timeout(5):
            await closing
        assert scene.receiver.stats.connections == 0

    play(act, ReceiveLimits(linger=15.0), authenticate=authenticate)


def test_a_peer_that_keeps_reconnecting_is_logged_once_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def act(scene: Scene) -> None:
        for _ in range(5):
            await (await scene.client()).say(replace(HELLO, protocol=9))

    with caplog.at_level(logging.WARNING):
        play(act)
    (line,) = caplog.messages
    assert line.startswith("refused unauthenticated peer from 127.0.0.1: ")


def test_acks_of_a_batch_and_its_repeat_wait_until_the_batch_is_durable() -> None:
    durable = asyncio.Event()

    async def wait() -> None:
        await durable.wait()

    async def act(scene: Scene) -> None:
        first, second = await scene.agent(), await scene.agent()
        answers = [asyncio.create_task(agent.say(message(1))) for agent in (first, second)]
        await scene.until(lambda: scene.receiver.stats.duplicates == 1)
        assert not any(answer.done() for answer in answers)
        assert scene.applied.sequences == [1]
        durable.set()
        assert {await answer for answer in answers} == {Ack(1), Ack(1, duplicate=True)}

    play(act, durable=wait)


def test_a_batch_that_does_not_become_durable_is_refused_as_busy() -> None:
    async def never() -> None:
        await asyncio.Event().wait()

    async def act(scene: Scene) -> None:
        answer = await (await scene.agent()).say(message(1))
        assert isinstance(answer, Refusal)
        assert answer.reason is Reason.BUSY
        again = await (await scene.agent()).say(message(1))
        assert isinstance(again, Refusal)
        assert scene.applied.sequences == [1]

    play(act, ReceiveLimits(durable=0.05), durable=never)


def test_a_second_agent_of_a_node_is_refused_with_a_reason_and_may_try_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)

    async def act(scene: Scene) -> None:
        first = await scene.agent(replace(HELLO, process=1))
        for _ in range(2):
            second = await scene.client()
            answer = await second.say(replace(HELLO, process=2, epoch=78))
            assert isinstance(answer, Refusal)
            assert answer.reason is Reason.SECOND_AGENT
            assert not answer.reason.permanent
            assert "another agent of node node-a is connected from 127.0.0.1" in answer.text
            assert await second.next_answer() is None
        assert await first.say(message(1)) == Ack(1)
        assert scene.receiver.stats.refusals == {"second_agent": 2}
        first.stream.abort()
        await scene.until(lambda: scene.receiver.stats.connections == 0)
        await scene.agent(replace(HELLO, process=2, epoch=78))

    play(act)
    [line] = [r.getMessage() for r in caplog.records if "another agent" in r.getMessage()]
    assert line.startswith("refused agent of node-a from 127.0.0.1")


def test_a_restarted_agent_gets_in_while_its_earlier_connection_is_half_open() -> None:
    async def act(scene: Scene) -> None:
        first = await scene.agent(replace(HELLO, process=1))
        assert await first.say(message(1)) == Ack(1)
        again = await scene.client()
        welcome = await again.say(replace(HELLO, process=2))
        assert isinstance(welcome, Welcome)
        assert welcome.last_applied == 1
        with suppress(OSError):
            assert await first.next_answer() is None
        assert await again.say(message(2)) == Ack(2)
        assert scene.applied.sequences == [1, 2]
        assert scene.receiver.stats.refusals == {"superseded": 1}
        await scene.until(lambda: scene.receiver.stats.connections == 1)

    play(act)


def test_a_peer_that_is_not_authenticated_supersedes_no_agent() -> None:
    async def authenticate(hello: Hello, _peer: PeerInfo) -> Permit | Refusal:
        return Permit() if hello.process == 1 else Refusal(Reason.TOKEN, "no")

    async def act(scene: Scene) -> None:
        first = await scene.agent(replace(HELLO, process=1))
        other = await scene.client()
        answer = await other.say(replace(HELLO, process=2))
        assert isinstance(answer, Refusal)
        assert await first.say(message(1)) == Ack(1)
        assert scene.receiver.stats.refusals == {"token": 1}

    play(act, authenticate=authenticate)


def test_all_sets_of_one_agent_and_agents_of_older_versions_are_accepted() -> None:
    async def act(scene: Scene) -> None:
        hellos = [replace(HELLO, process=1), replace(HELLO, process=1, epoch=78), HELLO]
        agents = [await scene.agent(hello) for hello in hellos]
        for number, agent in zip((1, 1, 2), agents, strict=True):
            assert await agent.say(message(number)) == Ack(number)
        assert scene.receiver.stats.refusals == {}

    play(act)
