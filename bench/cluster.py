"""Batches that one server process on one CPU acknowledges from 5,000 agents.

Each agent has its own connection and loopback address, and sends its node's batch of 6,000 flows
every ten seconds; the server does everything that it does in production, from the handshake to the
ack. Meanwhile a watch delivers ``--events`` pod events a second, a quarter of them of a pod that
gets the addresses of another, and a node is replaced each second. The baseline is the number of
batches that were due. Stalls of the server's loop are told apart: while agents connect, while they
send, and when all of them close at once; of the first round, whose batches add all labels, and of
the measured one.
"""

import argparse
import asyncio
import json
import os
import statistics
import time
import urllib.request
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from socket import socketpair
from tempfile import TemporaryDirectory
from typing import Any

from lib.fleet import Fleet
from lib.report import finish
from lib.served import allow_many_files, send_events, serve

from kzn.wire.codec import decode_to_agent, encode_to_server
from kzn.wire.encode_batch import EncodedBatch, encode_batch
from kzn.wire.frames import frame
from kzn.wire.messages import Ack, Hello, Welcome
from kzn.wire.stream import FrameStream

OPTIONS = argparse.ArgumentParser()
OPTIONS.add_argument("--agents", type=int, default=5_000)
OPTIONS.add_argument("--seconds", type=float, default=30.0)
OPTIONS.add_argument("--events", type=int, default=1_000)
OPTIONS.add_argument("--state", action="store_true", help="with a state file, on this disk")
OPTIONS.add_argument("--json", action="store_true")
FLOWS, ADDRESSES = 6_000, 600
INTERVAL = 10.0


class Agents:
    """All agents in one event loop; ``waits`` are seconds from a batch's due time to its ack."""

    def __init__(self, port: int, batches: list[EncodedBatch], epoch: int) -> None:
        self.waits: list[float] = []
        self.sent = 0
        self._port = port
        self._epoch = epoch
        self._batches = batches
        self._turnstile = asyncio.Semaphore(50)
        self._streams: list[FrameStream] = []

    async def connect(self) -> None:
        """Connect all, fifty at a time."""
        numbers = range(len(self._batches))
        self._streams = await asyncio.gather(*map(self._connect, numbers))

    async def send(self, seconds: float) -> None:
        """Send batches for ``seconds``, and wait for every ack."""
        begin = time.monotonic() + 1.0
        await asyncio.gather(
            *(self._send(n, stream, begin, seconds) for n, stream in enumerate(self._streams))
        )

    async def close(self) -> None:
        """Close all connections at once, as a network partition does."""
        for stream in self._streams:
            stream.abort()

    async def _connect(self, number: int) -> FrameStream:
        async with self._turnstile:
            own = f"127.{1 + (number >> 16)}.{number >> 8 & 255}.{1 + number % 250}"
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", self._port, local_addr=(own, 0)
            )
            stream = FrameStream(reader, writer, 1 << 20)
            hello = Hello(f"node-{number}", self._epoch, "", "bench", "postrouting")
            await stream.send(encode_to_server(hello))
            answer = decode_to_agent(await stream.receive() or b"")
            if not isinstance(answer, Welcome):
                raise SystemExit(f"agent {number}: {answer}")
            return stream

    async def _send(self, number: int, stream: FrameStream, begin: float, seconds: float) -> None:
        due, sequence = begin + INTERVAL * number / len(self._batches), 0
        while due < begin + seconds:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            sequence += 1
            batch = replace(self._batches[number], sequence=sequence)
            await stream.send(encode_to_server(batch))
            answer = decode_to_agent(await stream.receive() or b"")
            if answer != Ack(sequence, duplicate=False):
                raise SystemExit(f"agent {number}: {answer}")
            self.waits.append(time.monotonic() - due)
            self.sent += 1
            due += INTERVAL


def asked(pipe: Connection) -> dict[str, Any]:
    """Numbers of the server so far; its stalls since the last call."""
    pipe.send("numbers")
    numbers: dict[str, Any] = pipe.recv()
    return numbers


@dataclass(frozen=True, slots=True)
class Run:
    """The stalls of each part of a run in ms, and CPU seconds of the server while agents send."""

    stalls: dict[str, float]
    stalled_share: float
    longest_slice_ms: float
    cpu: float


def run(agents: Agents, pipe: Connection, seconds: float) -> Run:
    """Connect, send for ``seconds``, close all at once, and wait until the server has closed."""
    with asyncio.Runner() as runner:
        before = asked(pipe)
        runner.run(agents.connect())
        connected = asked(pipe)
        runner.run(agents.send(seconds))
        sent = asked(pipe)
        runner.run(agents.close())
    closed = [asked(pipe)]
    while closed[-1]["connections"]:
        time.sleep(0.02)
        closed.append(asked(pipe))
    parts = {"connect": [connected], "steady": [sent], "close": closed}
    every = [connected, sent, *closed]
    return Run(
        {name: max(one["longest_stall_ms"] for one in some) for name, some in parts.items()},
        sent["stalled_share"],
        max(one["longest_slice_ms"] for one in every),
        sent["cpu"] - before["cpu"],
    )


def main() -> None:
    """Measure and print."""
    options = OPTIONS.parse_args()
    allow_many_files()
    fleet = Fleet()
    ours, theirs = get_context("fork").Pipe()
    watched, told = socketpair()
    folder = TemporaryDirectory()
    state = Path(folder.name) / "state" if options.state else None
    server = get_context("fork").Process(target=serve, args=(theirs, watched, fleet, {0}, state))
    server.start()  # before this process opens what the child would inherit
    watched.close()
    other_cpu = 1 if (os.cpu_count() or 1) > 1 else 0
    sender = get_context("fork").Process(
        target=send_events, args=(told, fleet, other_cpu, options.events)
    )
    batches = [encode_batch(fleet.batch(n, FLOWS, ADDRESSES)) for n in range(options.agents)]
    size = statistics.mean(len(frame(encode_to_server(batch))) for batch in batches[:50])
    os.sched_setaffinity(0, {other_cpu})
    agents_port, http_port = ours.recv()
    first = Agents(agents_port, batches, epoch=1)
    filling = run(first, ours, INTERVAL)  # the first batches add all labels
    sender.start()
    told.close()
    before, began = asked(ours), time.monotonic()
    agents = Agents(agents_port, batches, epoch=2)
    full = run(agents, ours, options.seconds)
    after, took = asked(ours), time.monotonic() - began
    with urllib.request.urlopen(f"http://127.0.0.1:{http_port}/api/v1/status") as answer:
        status = json.loads(answer.read())
    ours.send("stop")
    server.join(60)
    folder.cleanup()
    sender.join(30)
    due = options.agents * int(options.seconds // INTERVAL)
    # Divided by the time that the batches cover: elapsed time depends on other load of the machine.
    load = full.cpu / options.seconds
    finish(
        "cluster",
        agents.sent,
        due,
        "batches acknowledged",
        {
            "first_ack_ms_p99": round(statistics.quantiles(first.waits, n=100)[98] * 1e3, 1),
            "ack_ms_median": round(statistics.median(agents.waits) * 1e3, 1),
            "ack_ms_p99": round(statistics.quantiles(agents.waits, n=100)[98] * 1e3, 1),
            "ack_ms_max": round(max(agents.waits) * 1e3, 1),
            **{f"first_{name}_stall_ms": longest for name, longest in filling.stalls.items()},
            **{f"{name}_stall_ms": longest for name, longest in full.stalls.items()},
            "longest_stall_ms": max(*filling.stalls.values(), *full.stalls.values()),
            "longest_slice_ms": max(filling.longest_slice_ms, full.longest_slice_ms),
            "stalled_share": full.stalled_share,
            "server_cpu_share": round(load, 3),
            "agents_at_a_full_cpu": round(options.agents / load),
            "events_a_second": round((after["events"] - before["events"]) / took),
            "ended_ownerships": after["ended_ownerships"],
            "rss_mb_before": round(before["rss_mb"]),
            "rss_mb_after": round(after["rss_mb"]),
            "flows_lost": (first.sent + agents.sent) * FLOWS - status["flows"],
            "frame_bytes": round(size),
            "agents": options.agents,
            "seconds": round(took, 1),
        },
    )


if __name__ == "__main__":
    main()
