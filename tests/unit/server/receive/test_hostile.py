"""Many bad peers at once: good agents still deliver, memory and time stay within limits."""

import asyncio
import os
import resource
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from kzn.daemon.listen import HostPort, bound_port, listen
from kzn.model.batch import AgentIdentity, Batch
from kzn.model.flows import Flows
from kzn.model.totals import Counts, Totals
from kzn.server.receive.fair_share import FairShare
from kzn.server.receive.limits import ReceiveLimits
from kzn.server.receive.receiver import Receiver
from kzn.wire.codec import decode_to_agent, encode_to_server
from kzn.wire.columns import Columns
from kzn.wire.encode_batch import encode_batch
from kzn.wire.frames import frame
from kzn.wire.limits import Limits
from kzn.wire.messages import Ack, Hello, Refusal, ToServer, Welcome
from kzn.wire.stream import FrameStream

HELLO = Hello("node-a", 77, "", "0.1.0", "postrouting")
GOOD, BAD = "127.0.0.1", "127.0.0.2"
MEGABYTE = 1 << 20
DEADLINE = 60.0


@dataclass
class Peer:
    """A connection on which a test sends frames, or any other bytes."""

    stream: FrameStream
    writer: asyncio.StreamWriter

    async def say(self, message: ToServer) -> bytes | None:
        await self.stream.send(encode_to_server(message))
        return await self.stream.receive()


@dataclass
class Scene:
    """A receiver on loopback; good agents on one address, bad peers on another."""

    receiver: Receiver
    port: int
    applied: list[tuple[str, int]] = field(default_factory=list)

    @asynccontextmanager
    async def peer(self, address: str = BAD) -> AsyncIterator[Peer]:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, local_addr=(address, 0)
        )
        stream = FrameStream(reader, writer, MEGABYTE)
        try:
            yield Peer(stream, writer)
        finally:
            stream.abort()

    async def agent(self, number: int, batches: int) -> None:
        """A good agent: authenticates and delivers; fails if an answer takes too long."""
        hello = replace(HELLO, node=f"good-{number}", epoch=number + 1)
        async with self.peer(GOOD) as peer, asyncio.timeout(DEADLINE):
            assert isinstance(decode_to_agent(await peer.say(hello) or b""), Welcome)
            for sequence in range(1, batches + 1):
                answer = await peer.say(encode_batch(batch(sequence)))
                assert decode_to_agent(answer or b"") == Ack(sequence)

    @property
    def refusals(self) -> dict[str, int]:
        return dict(self.receiver.stats.refusals)


def batch(sequence: int) -> Batch:
    return Batch(sequence, 10_000, 0, Flows.empty(), Totals(seen=Counts(sequence, 100)))


def play(act: Callable[[Scene], Awaitable[None]], limits: ReceiveLimits) -> None:
    async def run() -> None:
        sockets = listen(HostPort("127.0.0.1", 0))
        scene = Scene(None, bound_port(sockets))  # type: ignore[arg-type]  # made right below

        def apply(who: AgentIdentity, got: Batch) -> None:
            scene.applied.append((who.node, got.sequence))

        scene.receiver = Receiver(apply, limits=limits)
        await scene.receiver.start(sockets)
        async with asyncio.timeout(DEADLINE):
            try:
                await act(scene)
            finally:
                await scene.receiver.close(5.0)
        assert scene.receiver.stats.connections == 0
        assert scene.receiver.stats.unfinished_bytes == 0

    asyncio.run(run())


async def silent(scene: Scene) -> None:
    """Connects and sends nothing."""
    async with scene.peer() as peer:
        await peer.stream.receive()


async def noisy(scene: Scene) -> None:
    """Sends random bytes, connection after connection."""
    for _ in range(5):
        async with scene.peer() as peer:
            peer.writer.write(os.urandom(3) + b"\xff" * 5000)
            await peer.stream.receive()


async def endless(scene: Scene) -> None:
    """Authenticates, announces a large frame and never finishes it."""
    async with scene.peer() as peer:
        await peer.say(replace(HELLO, node="endless"))
        peer.writer.write((4 * MEGABYTE).to_bytes(4, "big") + bytes(MEGABYTE))
        await peer.stream.receive()


async def liar(scene: Scene) -> None:
    """Sends decompression bombs: columns that inflate to more than they declare."""
    bomb = Columns(1, 1, 0, 1, zlib.compress(bytes(64 * MEGABYTE), 9))
    for i in range(5):
        async with scene.peer() as peer:
            await peer.say(replace(HELLO, node="liar", epoch=i + 1))
            await peer.say(replace(encode_batch(batch(1)), columns=bomb))


async def deaf(scene: Scene) -> None:
    """Sends one batch again and again and reads no answer."""
    async with scene.peer() as peer:
        await peer.stream.send(encode_to_server(replace(HELLO, node="deaf")))
        repeated = frame(encode_to_server(encode_batch(batch(1)))) * 100
        for _ in range(1000):
            peer.writer.write(repeated)
            await peer.writer.drain()


LIMITS = ReceiveLimits(
    wire=Limits(max_frame=8 * MEGABYTE),
    unauthenticated=50,
    unfinished_bytes=4 * MEGABYTE,
    handshake=0.5,
    frame=0.5,
    idle=2.0,
    write=0.2,
    linger=0.05,
)


@pytest.mark.slow
def test_good_agents_deliver_among_many_bad_peers() -> None:
    kinds = (silent, noisy, endless, liar, deaf)

    async def quiet(bad: Callable[[Scene], Awaitable[None]], scene: Scene) -> None:
        with suppress(Exception):  # the server may refuse or reset it at any point
            await bad(scene)

    async def act(scene: Scene) -> None:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        crowd = [asyncio.create_task(quiet(kind, scene)) for kind in kinds for _ in range(10)]
        await asyncio.gather(*(scene.agent(number, 20) for number in range(20)))
        good = [row for row in scene.applied if row[0].startswith("good-")]
        assert sorted(good) == sorted((f"good-{i}", s) for i in range(20) for s in range(1, 21))
        await asyncio.gather(*crowd)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10
        assert grown < 64 * MEGABYTE
        assert {"frame_too_large", "inflated_length", "timeout", "memory"} <= set(scene.refusals)

    play(act, replace(LIMITS, unauthenticated=100))


def test_the_oldest_unauthenticated_connections_are_closed_for_new_ones() -> None:
    async def act(scene: Scene) -> None:
        crowd = [asyncio.create_task(silent(scene)) for _ in range(30)]
        while scene.receiver.stats.accepted < 30:  # noqa: ASYNC110 - play() has a deadline
            await asyncio.sleep(0)
        assert scene.refusals == {"unauthenticated": 20}
        await scene.agent(0, 3)
        assert scene.refusals == {"unauthenticated": 21}
        for task in crowd:
            task.cancel()
        await asyncio.gather(*crowd, return_exceptions=True)

    play(act, ReceiveLimits(unauthenticated=10, linger=0.05))


@pytest.mark.slow
def test_memory_of_unfinished_frames_is_limited_over_all_connections() -> None:
    most = 0

    async def act(scene: Scene) -> None:
        nonlocal most
        crowd = [asyncio.create_task(endless(scene)) for _ in range(40)]
        while not all(task.done() for task in crowd):
            most = max(most, scene.receiver.stats.unfinished_bytes)
            await asyncio.sleep(0)
        await asyncio.gather(*crowd, return_exceptions=True)
        assert 30 <= scene.refusals["memory"] < 40
        assert scene.receiver.stats.broken == 0

    play(act, replace(LIMITS, unauthenticated=100))
    assert MEGABYTE < most <= 4 * MEGABYTE


def test_an_address_that_overloads_the_loop_is_throttled_when_others_are_connected() -> None:
    n = 60_000
    column = np.arange(n, dtype=np.uint32)
    many = Flows(
        np.random.default_rng(1).integers(0, 255, (n, 16), np.uint8),
        src=column,
        dst=column[::-1].copy(),
        src_port=column.astype(np.uint16),
        dst_port=column.astype(np.uint16),
        protocol=np.zeros(n, np.uint8),
        flags=np.zeros(n, np.uint8),
        packets=column.astype(np.uint64),
        bytes=column.astype(np.uint64),
    )
    large = encode_batch(Batch(1, 0, 0, many, Totals()))

    async def hog(scene: Scene) -> None:
        async with scene.peer() as peer:
            await peer.say(replace(HELLO, node="hog"))
            for sequence in range(1, 100):
                await peer.say(replace(large, sequence=sequence))

    async def act(scene: Scene) -> None:
        async with scene.peer(GOOD):
            working = asyncio.create_task(hog(scene))
            while not scene.receiver.stats.throttled_frames:  # noqa: ASYNC110 - play() has a deadline
                await asyncio.sleep(0)
            done = len(scene.applied)
            await scene.agent(0, 20)
            assert sum(node == "hog" for node, _ in scene.applied) <= done + 1
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)

    play(act, ReceiveLimits(share=1e-3, burst=0.03, linger=0.05))


def test_a_batch_that_cannot_be_decoded_is_charged_to_its_sender(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    charged: list[tuple[str, float]] = []

    def charge(_: FairShare, address: str, seconds: float, now: float) -> float:
        del now
        charged.append((address, seconds))
        return 0.0

    async def act(scene: Scene) -> None:
        wrong = encode_batch(replace(batch(1), closed_ms_ago=20_000))  # ended before it began
        async with scene.peer() as peer:
            await peer.say(HELLO)
            monkeypatch.setattr(FairShare, "charge", charge)
            assert isinstance(decode_to_agent(await peer.say(wrong) or b""), Refusal)
        assert scene.refusals == {"age": 1}

    play(act, ReceiveLimits(linger=0.05))
    [(address, seconds)] = charged
    assert address == BAD
    assert seconds > 0
