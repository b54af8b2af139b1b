"""Delivery over loopback: whichever way a connection fails, a batch is applied once."""

import asyncio
import logging
import random
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from kzn.agent.deliver.shipper import HURRIED_WAIT_SECONDS, Shipper, ShipTimeouts, _EncodedOnce
from kzn.daemon.backoff import Backoff
from kzn.daemon.connect import Dial, Streams, dial_tcp
from kzn.daemon.listen import HostPort, bound_port, listen
from kzn.errors import KznError, RefusedError
from kzn.model.batch import AgentIdentity, Batch
from kzn.model.flows import Flows
from kzn.model.totals import Counts, Totals
from kzn.server.auth.permit import Authenticate, PeerInfo, Permit, accept_all
from kzn.server.receive.limits import ReceiveLimits
from kzn.server.receive.receiver import Receiver
from kzn.wire.codec import encode_to_agent
from kzn.wire.compression import Compression
from kzn.wire.frames import frame
from kzn.wire.limits import Limits
from kzn.wire.messages import Ack, Hello, Reason, Refusal, Welcome

IDENTITY = AgentIdentity("node-a", 77, "postrouting", "0.1.0")
SERVER = HostPort("kzn-server", 7070)
TIMEOUTS = ShipTimeouts(connect=5.0, welcome=5.0, ack=5.0)
SHORT = ShipTimeouts(connect=0.3, welcome=0.3, ack=0.3)


def batch(sequence: int = 1) -> Batch:
    return Batch(sequence, 10_000, 0, Flows.empty(), Totals(seen=Counts(sequence, 100)))


@dataclass
class First:
    """Stores the first server of a batch, as the spool does."""

    server: int = 0

    def sending_to(self, server: int) -> None:
        self.server = server


class Time:
    """A clock that advances only by waits."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.waits.append(seconds)
        await asyncio.sleep(0)


@dataclass
class Scene:
    """A real receiver, a fake clock, and shippers with the connections of the test."""

    receiver: Receiver
    address: HostPort
    applied: list[Batch]
    told: list[tuple[str, Sequence[bytes]]] = field(default_factory=list)
    time: Time = field(default_factory=Time)
    shippers: list[Shipper] = field(default_factory=list)

    def shipper(
        self,
        *dials: Dial,
        timeouts: ShipTimeouts = TIMEOUTS,
        token: Callable[[], str] = str,
        sleep: Callable[[float], Awaitable[None]] | None = None,
        addresses: Callable[[], tuple[bytes, ...] | None] = lambda: None,
    ) -> Shipper:
        """A shipper; its first connections are ``dials``, all later ones reach the receiver."""
        queue = [*dials]
        direct = dial_tcp(self.address)

        async def dial() -> Streams:
            return await (queue.pop(0) if queue else direct)()

        made = Shipper(
            IDENTITY,
            SERVER,
            first=First(),
            dial=dial,
            timeouts=timeouts,
            token=token,
            addresses=addresses,
            backoff=Backoff(random.Random(1)),
            clock=self.time,
            sleep=sleep or self.time.sleep,
        )
        self.shippers.append(made)
        return made

    @property
    def sequences(self) -> list[int]:
        return [applied.sequence for applied in self.applied]


def play(
    act: Callable[[Scene], Awaitable[None]],
    limits: ReceiveLimits | None = None,
    authenticate: Authenticate = accept_all,
) -> None:
    async def run() -> None:
        sockets = listen(HostPort("127.0.0.1", 0))
        applied: list[Batch] = []
        receiver = Receiver(
            lambda _identity, got: applied.append(got),
            limits=limits,
            authenticate=authenticate,
            take_addresses=lambda node, told: scene.told.append((node, told)),
        )
        await receiver.start(sockets)
        scene = Scene(receiver, HostPort("127.0.0.1", bound_port(sockets)), applied)
        async with asyncio.timeout(20):
            try:
                await act(scene)
            finally:
                for shipper in scene.shippers:
                    await shipper.close()
                await receiver.close(5.0)

    asyncio.run(run())


def answering(*answers: bytes) -> Dial:
    """A server that sends one of ``answers`` after each message, and then nothing."""

    async def dial() -> Streams:
        ours, theirs = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=theirs)

        async def serve() -> None:
            for answer in answers:
                await reader.read(1 << 16)
                writer.write(answer)
            while await reader.read(1 << 16):
                pass
            writer.close()

        task = asyncio.create_task(serve())
        BACKGROUND.add(task)
        task.add_done_callback(BACKGROUND.discard)
        return await asyncio.open_connection(sock=ours)

    return dial


BACKGROUND: set[asyncio.Task[None]] = set()


def failing(error: Exception) -> Dial:
    async def dial() -> Streams:
        raise error

    return dial


def cutting(to: HostPort, sent: int, answered: int) -> Dial:
    """A connection to ``to`` that breaks after so many bytes in either direction."""

    async def dial() -> Streams:
        ours, theirs = socket.socketpair()
        near = await asyncio.open_connection(sock=theirs)
        far = await asyncio.open_connection(to.host, to.port)

        async def carry(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter, budget: int
        ) -> None:
            while budget > 0 and (data := await reader.read(budget)):
                budget -= len(data)
                writer.write(data)
                await writer.drain()

        async def run() -> None:
            both = {
                asyncio.create_task(carry(near[0], far[1], sent)),
                asyncio.create_task(carry(far[0], near[1], answered)),
            }
            _, rest = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            for task in rest:
                task.cancel()
            for _, writer in (near, far):
                with suppress(OSError):
                    writer.close()
                    await writer.wait_closed()

        task = asyncio.create_task(run())
        BACKGROUND.add(task)
        task.add_done_callback(BACKGROUND.discard)
        return await asyncio.open_connection(sock=ours)

    return dial


WELCOME = frame(encode_to_agent(Welcome(None, Limits())))
UNCUT = 1 << 30


def exchange_sizes() -> tuple[int, int]:
    """Bytes of one exchange: to the server, to the agent."""
    sizes = (0, 0)

    async def act(scene: Scene) -> None:
        nonlocal sizes
        await scene.shipper().deliver(batch())
        stats = scene.receiver.stats
        sizes = (stats.received_bytes, stats.sent_bytes)

    play(act)
    return sizes


def test_a_batch_is_delivered() -> None:
    async def act(scene: Scene) -> None:
        shipper = scene.shipper()
        await shipper.deliver(batch())
        assert scene.applied[0].totals == batch().totals
        stats = shipper.stats
        assert (stats.connected, stats.connects, stats.sent, stats.acked) == (True, 1, 1, 1)
        assert stats.sent_bytes == scene.receiver.stats.received_bytes
        assert not stats.failures

    play(act)


def test_the_connection_is_kept_for_the_next_batch() -> None:
    async def act(scene: Scene) -> None:
        shipper = scene.shipper()
        for sequence in (1, 2, 3):
            await shipper.deliver(batch(sequence))
        assert scene.sequences == [1, 2, 3]
        assert shipper.stats.connects == scene.receiver.stats.accepted == 1

    play(act)


def test_a_connection_cut_after_any_byte_costs_no_batch_and_doubles_none() -> None:
    sent, answered = exchange_sizes()
    assert sent > 50
    assert answered > 20

    async def act(scene: Scene) -> None:
        cuts = [(n, UNCUT) for n in range(sent)] + [(UNCUT, n) for n in range(answered)]
        sequence = 0
        for to_server, to_agent in cuts:
            sequence += 1
            shipper = scene.shipper(cutting(scene.address, to_server, to_agent))
            await shipper.deliver(batch(sequence))
            assert shipper.stats.acked == 1
            assert sum(shipper.stats.failures.values()) == 1
            await shipper.close()
        assert scene.sequences == list(range(1, sequence + 1))
        assert scene.receiver.stats.gaps == 0
        assert 0 < scene.receiver.stats.duplicates < answered

    play(act, ReceiveLimits(connections_per_address=1000))


def test_a_batch_with_a_lost_ack_is_applied_once() -> None:
    sent, answered = exchange_sizes()
    assert sent

    async def act(scene: Scene) -> None:
        shipper = scene.shipper(cutting(scene.address, UNCUT, answered - 1))
        await shipper.deliver(batch())
        assert scene.sequences == [1]
        assert shipper.stats.duplicates == scene.receiver.stats.duplicates == 1
        assert shipper.stats.sent == 2

    play(act)


def test_a_batch_delivered_twice_is_applied_once() -> None:
    async def act(scene: Scene) -> None:
        for _ in range(2):
            await scene.shipper().deliver(batch())
        assert scene.sequences == [1]

    play(act)


@pytest.mark.parametrize(
    ("dial", "reason"),
    [
        (answering(), "timeout"),
        (answering(WELCOME), "timeout"),
        (answering(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "speaks_http"),
        (answering(b"\xff\xff\xff\xff"), "frame_too_large"),
        (answering(b"\x00\x00\x00\x00"), "frame_empty"),
        (answering(frame(b"garbage")), "envelope"),
        (answering(frame(encode_to_agent(Ack(1)))), "unexpected_message"),
        (answering(WELCOME, WELCOME), "unexpected_message"),
        (answering(WELCOME, frame(encode_to_agent(Ack(2)))), "wrong_ack"),
        (answering(frame(encode_to_agent(Refusal(Reason.BUSY, "full")))), "refused_busy"),
        (
            answering(WELCOME, frame(encode_to_agent(Refusal(Reason.INTERNAL, "")))),
            "refused_internal",
        ),
        (failing(ConnectionRefusedError()), "connect"),
        (failing(ConnectionResetError()), "connection"),
        (failing(TimeoutError()), "timeout"),
        (failing(socket.gaierror(-2, "Name or service not known")), "resolve"),
        (failing(UnicodeError("label too long")), "resolve"),
    ],
)
def test_after_a_fault_the_batch_is_sent_again_on_another_connection(
    dial: Dial, reason: str
) -> None:
    async def act(scene: Scene) -> None:
        shipper = scene.shipper(dial, timeouts=SHORT if reason == "timeout" else TIMEOUTS)
        await shipper.deliver(batch())
        assert scene.sequences == [1]
        assert shipper.stats.failures == {reason: 1}
        assert len(scene.time.waits) == 1

    play(act)


@pytest.mark.parametrize("reason", [Reason.VERSION, Reason.TOKEN, Reason.NODE])
def test_a_refusal_for_good_is_an_error_with_a_hint_and_without_a_retry(reason: Reason) -> None:
    async def authenticate(_hello: Hello, _peer: PeerInfo) -> Refusal:
        return Refusal(reason, "not you")

    async def act(scene: Scene) -> None:
        shipper = scene.shipper()
        with pytest.raises(RefusedError, match="not you") as caught:
            await shipper.deliver(batch())
        assert caught.value.reason == reason
        assert caught.value.hint
        assert scene.time.waits == []
        assert not shipper.stats.connected

    play(act, authenticate=authenticate)


def test_waits_grow_while_the_server_is_away_and_are_reset_by_a_delivery() -> None:
    async def act(scene: Scene) -> None:
        absent, present = failing(ConnectionRefusedError()), dial_tcp(scene.address)
        shipper = scene.shipper(*[absent] * 12, present, absent, present)
        await shipper.deliver(batch(1))
        waits = scene.time.waits
        assert len(waits) == 12
        assert max(waits[6:]) > 8.0
        assert max(waits) <= 30.0
        await shipper.close()
        await shipper.deliver(batch(2))
        assert len(waits) == 13
        assert waits[-1] <= 1.0

    play(act)


def test_the_age_of_a_batch_includes_its_wait_for_the_server() -> None:
    async def act(scene: Scene) -> None:
        shipper = scene.shipper(*[failing(ConnectionRefusedError())] * 5)
        await shipper.deliver(batch())
        waited = round(scene.time.now * 1000)
        assert waited > 1000
        (got,) = scene.applied
        assert (got.opened_ms_ago, got.closed_ms_ago) == (10_000 + waited, waited)

    play(act)


def test_a_kept_connection_that_the_server_closed_is_replaced_without_a_wait() -> None:
    async def act(scene: Scene) -> None:
        shipper = scene.shipper()
        await shipper.deliver(batch(1))
        while scene.receiver.stats.connections:  # noqa: ASYNC110 - ended by the idle time-out
            await asyncio.sleep(0)
        await shipper.deliver(batch(2))
        assert scene.sequences == [1, 2]
        assert scene.time.waits == []
        assert shipper.stats.connects == 2

    play(act, ReceiveLimits(idle=0.05, linger=0.05))


def test_after_a_cancelled_delivery_the_next_one_works() -> None:
    async def act(scene: Scene) -> None:
        shipper = scene.shipper(answering(WELCOME))
        delivery = asyncio.create_task(shipper.deliver(batch(1)))
        while not shipper.stats.sent:  # noqa: ASYNC110 - play() has a deadline
            await asyncio.sleep(0)
        delivery.cancel()
        with pytest.raises(asyncio.CancelledError):
            await delivery
        assert not shipper.stats.connected
        await shipper.deliver(batch(1))
        await shipper.deliver(batch(2))
        assert scene.sequences == [1, 2]

    play(act)


def test_waiting_for_a_server_can_be_cancelled() -> None:
    async def forever(_seconds: float) -> None:
        await asyncio.Event().wait()

    async def run() -> None:
        shipper = Shipper(
            IDENTITY, SERVER, first=First(), dial=failing(ConnectionRefusedError()), sleep=forever
        )
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await shipper.deliver(batch())
        await shipper.close()

    asyncio.run(run())


def test_a_batch_above_the_servers_frame_limit_is_kept_and_not_sent() -> None:
    small = frame(encode_to_agent(Welcome(None, Limits(max_frame=10))))

    async def act(scene: Scene) -> None:
        shipper = scene.shipper(answering(small))
        await shipper.deliver(batch())
        assert shipper.stats.failures == {"frame_too_large": 1}
        assert shipper.stats.sent == 1
        assert scene.sequences == [1]

    play(act)


def test_the_token_is_read_at_each_connection_and_a_missing_one_is_a_failed_attempt() -> None:
    answers: list[KznError | str] = [KznError("token file: ENOENT"), "old", "new"]
    tokens = iter(answers)

    def token() -> str:
        found = next(tokens)
        if isinstance(found, KznError):
            raise found
        return found

    received = []

    async def authenticate(hello: Hello, _peer: PeerInfo) -> Permit | Refusal:
        received.append(hello.token)
        return Refusal(Reason.BUSY, "") if hello.token == "old" else Permit()  # noqa: S105

    async def act(scene: Scene) -> None:
        shipper = scene.shipper(token=token)
        await shipper.deliver(batch())
        assert received == ["old", "new"]
        assert shipper.stats.failures == {"credentials": 1, "refused_busy": 1}

    play(act, authenticate=authenticate)


def test_an_absent_server_is_logged_once_a_minute_and_its_return_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def act(scene: Scene) -> None:
        await scene.shipper(*[failing(ConnectionRefusedError("no"))] * 40).deliver(batch())
        assert 60 < scene.time.now < 1200

    with caplog.at_level(logging.INFO):
        play(act)
    lines = [
        record.getMessage()
        for record in caplog.records
        if record.name == "kzn.agent.deliver.shipper"
    ]
    assert "cannot deliver to server kzn-server:7070 (connect: no); batch 1 " in lines[0]
    assert 2 < len(lines) < 20
    assert lines[-1].startswith("delivering to server kzn-server:7070 again after ")


def test_a_copy_of_the_stats_does_not_change() -> None:
    shipper = Shipper(IDENTITY, SERVER, first=First(), dial=failing(OSError()))
    copy = shipper.stats.copy()
    shipper.stats.failures["timeout"] += 1
    assert not copy.failures


def test_an_agent_that_is_shutting_down_retries_at_once_and_with_short_waits() -> None:
    async def act(scene: Scene) -> None:
        waiting = asyncio.Event()
        waits: list[float] = []

        async def sleep(seconds: float) -> None:
            waits.append(seconds)
            waiting.set()
            await (asyncio.sleep(0) if len(waits) > 1 else asyncio.Event().wait())

        refused = [failing(ConnectionRefusedError())] * 9
        shipper = scene.shipper(*refused, sleep=sleep)
        delivery = asyncio.create_task(shipper.deliver(batch()))
        await waiting.wait()
        shipper.hurry()
        await delivery
        assert scene.sequences == [1]
        assert len(waits) == 9
        assert max(waits[1:]) == HURRIED_WAIT_SECONDS  # doubled without it, up to 30 s

    play(act)


def test_the_addresses_of_the_node_are_told_before_a_batch_whenever_they_changed() -> None:
    addresses: tuple[bytes, ...] | None = None

    async def act(scene: Scene) -> None:
        nonlocal addresses
        shipper = scene.shipper(addresses=lambda: addresses)
        await shipper.deliver(batch(1))
        assert scene.told == []  # not known yet
        addresses = (b"a" * 16,)
        await shipper.deliver(batch(2))
        await shipper.deliver(batch(3))
        assert scene.told == [("node-a", (b"a" * 16,))]
        addresses = (b"a" * 16, b"b" * 16)
        await shipper.deliver(batch(4))
        assert scene.told[1:] == [("node-a", addresses)]
        assert scene.sequences == [1, 2, 3, 4]

    play(act)


def test_the_addresses_are_told_again_on_every_connection() -> None:
    async def act(scene: Scene) -> None:
        addresses = (b"a" * 16,)
        shipper = scene.shipper(addresses=lambda: addresses)
        await shipper.deliver(batch(1))
        await shipper.close()
        await shipper.deliver(batch(2))
        assert scene.told == [("node-a", addresses)] * 2

    play(act)


def test_an_older_server_is_told_nothing_and_gets_its_batches() -> None:
    async def act(scene: Scene) -> None:
        older = answering(WELCOME, frame(encode_to_agent(Ack(1))))
        shipper = scene.shipper(older, addresses=lambda: (b"a" * 16,))
        await shipper.deliver(batch(1))
        assert (shipper.stats.acked, scene.told) == (1, [])

    play(act)


def test_a_batch_is_encoded_again_only_for_a_server_that_takes_another_compression() -> None:
    once = _EncodedOnce(batch(7))
    first = once.compressed(Compression.ZSTD)
    assert once.compressed(Compression.ZSTD) is first
    other = once.compressed(Compression.ZLIB)
    assert (first.sequence, first.totals) == (other.sequence, other.totals)
    assert [one.columns.compression for one in (first, other)] == [1, 0]
