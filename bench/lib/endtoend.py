"""CPU time of a complete server per flow, from the bytes of TCP connections to their acks.

In: the sizes of batches, how many nodes send at once, and what they send. Out: CPU seconds of the
server process per million flows, and the longest stall of its event loop.
"""

import asyncio
import os
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from socket import socketpair
from typing import Any

from lib.fleet import Fleet
from lib.served import allow_many_files, serve

from kzn.model.batch import Batch
from kzn.server.ledger import family
from kzn.wire.codec import decode_to_agent, encode_to_server
from kzn.wire.compression import Compression
from kzn.wire.encode_batch import EncodedBatch, encode_batch
from kzn.wire.messages import Ack, Hello, Welcome
from kzn.wire.stream import FrameStream

SIZES = (500, 2_000, 10_000)
NODES = (1, 20)
FLOWS_A_ROUND = 1_000_000
ROUNDS = 3
TYPICAL, RANDOM = Fleet(), Fleet(nodes=20, pods=3_000, workloads=300)
BATCHES = 4
"""Different batches of each node, sent in turn."""


@dataclass(frozen=True, slots=True)
class Row:
    """``seconds`` of CPU per million flows, the median of rounds without the heartbeat.

    The longest stall is that of one more round with it.
    """

    mix: str
    flows: int
    nodes: int
    seconds: float
    longest_stall_ms: float
    wire_bytes_a_flow: float

    @property
    def name(self) -> str:
        """Such as typical_500_flows_20_nodes."""
        return f"{self.mix}_{self.flows}_flows_{self.nodes}_node{'s' * (self.nodes > 1)}"


def typical(node: int, flows: int, sequence: int) -> Batch:
    """A batch of the largest cluster, over a tenth as many addresses as flows."""
    return TYPICAL.batch(node, flows, max(200, flows // 10), sequence)


def random(node: int, flows: int, sequence: int) -> Batch:
    """A batch in which each flow is between other ends."""
    return RANDOM.random_batch(node, flows, sequence)


MIXES: dict[str, tuple[Fleet, Callable[[int, int, int], Batch]]] = {
    "typical": (TYPICAL, typical),
    "random": (RANDOM, random),
}


def rows(
    mixes: tuple[str, ...] = tuple(MIXES),
    sizes: tuple[int, ...] = SIZES,
    nodes: tuple[int, ...] = NODES,
    rounds: int = ROUNDS,
) -> Iterator[Row]:
    """Measure each combination."""
    allow_many_files()
    for mix in mixes:
        fleet, batch = MIXES[mix]
        with served(fleet, {0}) as (pipe, port, _):
            for flows in sizes:
                for count in nodes:
                    yield measured(mix, flows, count, batch, pipe, port, rounds)


@contextmanager
def served(
    fleet: Fleet, cpus: set[int], rows: Callable[[Fleet], Iterable[family.Row]] | None = None
) -> Iterator[tuple[Connection, int, int]]:
    """A server in its own process on ``cpus``, which begins with ``rows``.

    Gives the pipe to it, its port for agents, and that for HTTP. This process has the other CPUs.
    """
    ours, theirs = get_context("fork").Pipe()
    watched, told = socketpair()
    before = os.sched_getaffinity(0)
    server = get_context("fork").Process(
        target=serve, args=(theirs, watched, fleet, cpus, None, rows)
    )
    server.start()
    watched.close()
    os.sched_setaffinity(0, before - cpus or before)
    ports = ours.recv()
    try:
        yield ours, *ports
    finally:
        ours.send("stop")
        server.join(30)
        told.close()
        os.sched_setaffinity(0, before)


def measured(
    mix: str,
    flows: int,
    count: int,
    batch: Callable[[int, int, int], Batch],
    pipe: Connection,
    port: int,
    rounds: int,
) -> Row:
    """``count`` agents, each of which sends its next batch as soon as the last one is acked."""
    batches = [
        [
            encode_batch(batch(node, flows, 1 + number), Compression.ZSTD)
            for number in range(BATCHES)
        ]
        for node in range(count)
    ]
    size = statistics.mean(len(encode_to_server(each[0])) for each in batches)
    times = max(2, FLOWS_A_ROUND // (flows * count))
    found = []
    agents = Agents(port, batches)
    asyncio.run(agents.run(max(BATCHES, times)))  # adds all labels and ends
    for _ in range(rounds):
        before = asked(pipe, "rest")
        asyncio.run(agents.run(times))
        after = asked(pipe)
        found.append((after["cpu"] - before["cpu"]) / (times * flows * count) * 1e6)
    asyncio.run(agents.run(times))
    stall = asked(pipe)["longest_stall_ms"]
    return Row(mix, flows, count, statistics.median(found), stall, size / flows)


def asked(pipe: Connection, message: str = "numbers") -> dict[str, Any]:
    """Numbers of the server so far; its longest stall since the last call.

    After "rest" its heartbeat, which takes CPU time itself, rests until the next call.
    """
    pipe.send(message)
    numbers: dict[str, Any] = pipe.recv()
    return numbers


class Agents:
    """Agents of node 0 and following; ``batches`` of each are sent in turn."""

    def __init__(self, port: int, batches: list[list[EncodedBatch]]) -> None:
        self._port = port
        self._batches = batches
        self.acked = 0

    async def run(self, times: int) -> None:
        """Connect, send ``times`` batches from each agent, and wait for every ack."""
        await self._run(lambda sequence: sequence <= times)

    async def run_while(self, more: Callable[[], bool]) -> None:
        """Connect, and send from each agent as long as ``more``; `acked` are the batches so far."""
        await self._run(lambda _: more())

    async def _run(self, more: Callable[[int], bool]) -> None:
        epoch = time.monotonic_ns()
        streams = await asyncio.gather(
            *(self._connect(node, epoch) for node in range(len(self._batches)))
        )
        await asyncio.gather(
            *(
                self._send(stream, batches, more)
                for stream, batches in zip(streams, self._batches, strict=True)
            )
        )

    async def _connect(self, node: int, epoch: int) -> FrameStream:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self._port, local_addr=(f"127.0.3.{1 + node}", 0)
        )
        stream = FrameStream(reader, writer, 1 << 20)
        await stream.send(
            encode_to_server(Hello(f"node-{node}", epoch, "", "bench", "postrouting"))
        )
        answer = decode_to_agent(await stream.receive() or b"")
        if not isinstance(answer, Welcome):
            raise SystemExit(f"agent {node}: {answer}")
        return stream

    async def _send(
        self, stream: FrameStream, batches: list[EncodedBatch], more: Callable[[int], bool]
    ) -> None:
        sequence = 1
        while more(sequence):
            batch = replace(batches[sequence % len(batches)], sequence=sequence)
            await stream.send(encode_to_server(batch))
            answer = decode_to_agent(await stream.receive() or b"")
            if answer != Ack(sequence, duplicate=False):
                raise SystemExit(f"{answer} instead of an ack of batch {sequence}")
            self.acked += 1
            sequence += 1
        stream.abort()
