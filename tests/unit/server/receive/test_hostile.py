"""Many bad peers at once beside good agents: nobody is stopped, memory and time stay bounded."""

import asyncio
import os
import resource
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace

import numpy as np

from kzn.daemon.listen import HostPort, bound_port, listen
from kzn.model.batch import AgentIdentity, Batch
from kzn.model.flows import Flows
from kzn.model.totals import Counts, Totals
from kzn.server.receive.limits import ReceiveLimits
from kzn.server.receive.receiver import Receiver
from kzn.wire.codec import decode_to_agent, encode_to_server
from kzn.wire.columns import Columns
from kzn.wire.encode_batch import encode_batch
from kzn.wire.frames import frame
from kzn.wire.limits import Limits
from kzn.wire.messages import Ack, Hello, Welcome
from kzn.wire.stream import FrameStream

HELLO = Hello("node-a", 77, "", "0.1.0", "postrouting")
GOOD, BAD = "127.0.0.1", "127.0.0.2"
MEGABYTE = 1 << 20


@dataclass
class Scene:
    """A receiver on loopback, good agents on one address, bad peers on another."""

    receiver: Receiver
    port: int
    applied: list[tuple[str, int]] = field(default_factory=list)

    @asynccontextmanager
    async def peer(self, address: str = BAD) -> AsyncIterator[FrameStream]:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, local_addr=(address, 0)
        )
        stream = FrameStream(reader, writer, MEGABYTE)
        try:
            yield stream
        finally:
            stream.abort()

    async def agent(self, number: int, batches: int) -> None:
        """A good agent: says hello and delivers; fails when it is not answered in time."""
        hello = replace(HELLO, node=f"good-{number}", epoch=number + 1)
        async with self.peer(GOOD) as stream, asyncio.timeout(10):
            await stream.send(encode_to_server(hello))
            assert isinstance(decode_to_agent(await stream.receive() or b""), Welcome)
            for sequence in range(1, batches + 1):
                await stream.send(encode_to_server(encode_batch(batch(sequence))))
                assert decode_to_agent(await stream.receive() or b"") == Ack(sequence)

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
        async with asyncio.timeout(30):
            try:
                await act(scene)
            finally:
                await scene.receiver.close(5.0)
        assert scene.receiver.stats.connections == 0
        assert scene.receiver.stats.unfinished == 0

    asyncio.run(run())


async def silent(scene: Scene) -> None:
    """Connects and says nothing."""
    async with scene.peer() as stream:
        await stream.receive()


async def noisy(scene: Scene) -> None:
    """Sends what is no frame, again and again."""
    for _ in range(5):
        async with scene.peer() as stream:
            stream._writer.write(os.urandom(3) + b"\xff" * 5000)
            await stream.receive()


async def endless(scene: Scene) -> None:
    """Is welcomed, promises a large frame and never finishes it."""
    async with scene.peer() as stream:
        await stream.send(encode_to_server(replace(HELLO, node="endless")))
        await stream.receive()
        stream._writer.write((4 * MEGABYTE).to_bytes(4, "big") + bytes(MEGABYTE))
        await stream.receive()


async def liar(scene: Scene) -> None:
    """Sends batches whose columns are a bomb: little on the wire, more than declared inside."""
    bomb = Columns(1, 1, 0, 1, zlib.compress(bytes(64 * MEGABYTE), 9))
    for i in range(5):
        async with scene.peer() as stream:
            await stream.send(encode_to_server(replace(HELLO, node="liar", epoch=i + 1)))
            await stream.receive()
            await stream.send(encode_to_server(replace(encode_batch(batch(1)), columns=bomb)))
            await stream.receive()


async def deaf(scene: Scene) -> None:
    """Sends one batch over and over and reads no answer."""
    async with scene.peer() as stream:
        await stream.send(encode_to_server(replace(HELLO, node="deaf")))
        again = frame(encode_to_server(encode_batch(batch(1)))) * 100
        for _ in range(1000):
            stream._writer.write(again)
            await stream._writer.drain()


LIMITS = ReceiveLimits(
    wire=Limits(max_frame=8 * MEGABYTE),
    strangers=50,
    backlog=4 * MEGABYTE,
    handshake=0.5,
    frame=0.5,
    idle=2.0,
    write=0.2,
    linger=0.05,
)


def test_good_agents_deliver_amid_a_crowd_of_bad_peers() -> None:
    kinds = (silent, noisy, endless, liar, deaf)

    async def quiet(bad: Callable[[Scene], Awaitable[None]], scene: Scene) -> None:
        with suppress(Exception):  # what becomes of them is their business
            await bad(scene)

    async def act(scene: Scene) -> None:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        crowd = [asyncio.create_task(quiet(kind, scene)) for kind in kinds for _ in range(18)]
        await asyncio.gather(*(scene.agent(number, 20) for number in range(20)))
        good = [row for row in scene.applied if row[0].startswith("good-")]
        assert sorted(good) == sorted((f"good-{i}", s) for i in range(20) for s in range(1, 21))
        await asyncio.gather(*crowd)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10
        assert grown < 64 * MEGABYTE
        assert {"frame_too_large", "inflated_length", "timeout", "memory"} <= set(scene.refusals)

    play(act, replace(LIMITS, strangers=100))


def test_strangers_make_room_for_those_who_say_who_they_are() -> None:
    async def act(scene: Scene) -> None:
        crowd = [asyncio.create_task(silent(scene)) for _ in range(30)]
        while scene.receiver.stats.accepted < 30:  # noqa: ASYNC110 - play() has a deadline
            await asyncio.sleep(0)
        assert scene.refusals == {"strangers": 20}
        await scene.agent(0, 3)
        assert scene.refusals == {"strangers": 21}
        for task in crowd:
            task.cancel()
        await asyncio.gather(*crowd, return_exceptions=True)

    play(act, ReceiveLimits(strangers=10, linger=0.05))


def test_unfinished_frames_are_bounded_over_all_connections() -> None:
    most = 0

    async def act(scene: Scene) -> None:
        nonlocal most
        crowd = [asyncio.create_task(endless(scene)) for _ in range(40)]
        while not all(task.done() for task in crowd):
            most = max(most, scene.receiver.stats.unfinished)
            await asyncio.sleep(0)
        await asyncio.gather(*crowd, return_exceptions=True)
        assert 30 <= scene.refusals["memory"] < 40
        assert scene.receiver.stats.broken == 0

    play(act, replace(LIMITS, strangers=100))
    assert MEGABYTE < most <= 4 * MEGABYTE


def test_an_address_that_wants_all_of_the_loop_stands_back_for_others() -> None:
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
        async with scene.peer() as stream:
            await stream.send(encode_to_server(replace(HELLO, node="hog")))
            await stream.receive()
            for sequence in range(1, 100):
                await stream.send(encode_to_server(replace(large, sequence=sequence)))
                await stream.receive()

    async def act(scene: Scene) -> None:
        async with scene.peer(GOOD):
            working = asyncio.create_task(hog(scene))
            while not scene.receiver.stats.waits:  # noqa: ASYNC110 - play() has a deadline
                await asyncio.sleep(0)
            done = len(scene.applied)
            await scene.agent(0, 20)
            assert sum(node == "hog" for node, _ in scene.applied) <= done + 1
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)

    play(act, ReceiveLimits(share=1e-3, burst=0.03, linger=0.05))
