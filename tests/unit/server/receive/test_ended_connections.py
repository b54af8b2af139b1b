"""What a connection leaves behind: nothing that waits for the garbage collector.

An old connection is frozen (kzn/daemon/garbage.py), and agents connect anew every hour.
"""

import asyncio
import gc
from collections.abc import Iterator
from dataclasses import replace

import pytest

from kzn.daemon.garbage import release
from kzn.daemon.listen import HostPort, bound_port, listen
from kzn.model.batch import Batch
from kzn.model.flows import Flows
from kzn.model.totals import Totals
from kzn.server.receive.connection import AgentConnection
from kzn.server.receive.receiver import Receiver
from kzn.wire.codec import encode_to_server
from kzn.wire.encode_batch import encode_batch
from kzn.wire.messages import Hello
from kzn.wire.stream import FrameStream

HELLO = Hello("node-a", 77, "", "0.1.0", "postrouting", process=7)
BATCH = encode_batch(Batch(1, 10_000, 0, Flows.empty(), Totals()))
KINDS = (AgentConnection, FrameStream, asyncio.StreamReader, asyncio.Transport)


@pytest.fixture(autouse=True)
def _no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def alive() -> set[int]:
    return {id(one) for one in gc.get_objects() if isinstance(one, KINDS)}


async def say(port: int, hello: Hello, *, cut: bool) -> None:
    """Send a batch and close, or leave in the middle of a frame."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    stream = FrameStream(reader, writer, 1 << 20)
    for message in (hello, BATCH):
        await stream.send(encode_to_server(message))
        assert await stream.receive() is not None
    if cut:
        writer.write(b"\0\0")
        await writer.drain()
        stream.abort()
    else:
        await stream.close()
    release(writer.transport)


@pytest.mark.parametrize("cut", [False, True])
def test_a_connection_that_has_ended_is_freed_by_reference_counts(*, cut: bool) -> None:
    async def act() -> None:
        sockets = listen(HostPort("127.0.0.1", 0))
        receiver = Receiver(lambda _identity, _batch: None)
        await receiver.start(sockets)
        before = alive()
        async with asyncio.timeout(20):
            for process in (7, 8):
                await say(bound_port(sockets), replace(HELLO, process=process), cut=cut)
                while receiver.stats.connections:  # noqa: ASYNC110 - no event, and a deadline
                    await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert not alive() - before
        await receiver.close(5.0)

    asyncio.run(act())
