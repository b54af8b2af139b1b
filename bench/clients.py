"""What hostile and hungry HTTP clients cost the agents of a server.

A server with 370,000 series and the totals of 5,000 nodes, in a process that may have 256
descriptors. 40 agents send a batch a second over TCP. In turn: nothing else; ten clients that ask
for /metrics and do not read, beside 300 that send half a request; one client that asks for each
page of the API again and again. Measured are the seconds from a batch to its ack, the memory, the
log lines, and how long the event loop is held. The baseline is the quiet server.
"""

import asyncio
import gc
import logging
import resource
import socket
import statistics
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from socket import socketpair
from typing import Any

from lib.fleet import Fleet
from lib.heartbeat import Heartbeat
from lib.report import finish
from lib.served import FleetSource, allow_many_files, resident

from kzn.daemon.garbage import limit_collections
from kzn.daemon.listen import HostPort, bound_port, listen
from kzn.daemon.signals import Shutdown
from kzn.model.totals import Counts
from kzn.server import fair_loop
from kzn.server.app import SWITCH_SECONDS, Server
from kzn.server.config import ServerConfig
from kzn.server.ledger.family import Row
from kzn.server.topology import Topology
from kzn.wire.codec import decode_to_agent, encode_to_server
from kzn.wire.encode_batch import encode_batch
from kzn.wire.messages import Ack, Hello, Welcome
from kzn.wire.stream import FrameStream

FLEET = Fleet(nodes=500, pods=15_000, workloads=5_000)
SERIES = {"pod": 190_000, "workload": 160_000, "pair": 20_000}
NODES, DESCRIPTORS = 5_000, 256
AGENTS, FLOWS, ADDRESSES = 40, 2_000, 200
SECONDS = 12.0
UNREAD, HALF_OPEN = 10, 300
PAGES = (
    "/api/v1/status",
    "/api/v1/nodes",
    "/api/v1/workloads",
    "/api/v1/pairs?limit=100000",
    "/api/v1/workloads?limit=100000",
    "/api/v1/zones",
)


def rows() -> Iterator[Row]:
    """Rows of each family."""
    for number in range(SERIES["pod"]):
        yield Row("pod", (f"team-{number % 200}", f"app-{number % 5000}-{number:08x}"), number)
    for number in range(SERIES["workload"]):
        zones = f"zone-{number % 7}", f"zone-{number % 5}"
        labels = (f"team-{number % 200}", "Deployment", f"app-{number // 4}", "egress")
        yield Row("workload", (*labels, "cross_zone", *zones), number)
    for number in range(SERIES["pair"]):
        src, dst = (f"team-{number % 200}", f"app-{number}"), (f"team-{number % 30}", "db")
        yield Row("pair", (*src, "zone-a", *dst, "zone-b", "source"), number)


class _Lines(logging.Handler):
    """Counts log lines."""

    number = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.number += 1
        print(f"log: {record.getMessage()}", file=sys.stderr)


def serve(pipe: Connection, watch: socket.socket) -> None:
    """Serve until the pipe receives "stop"; answer any other message with numbers."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
    sys.setswitchinterval(SWITCH_SECONDS)
    limit_collections()
    fair_loop.run(_serve(pipe, watch))


async def _serve(pipe: Connection, watch: socket.socket) -> None:
    lines = _Lines()
    logging.getLogger().addHandler(lines)
    source = FleetSource(FLEET, watch)
    server = Server(ServerConfig(), Topology(source.index, (("bench", source),)), None)
    pipeline = server._pipeline  # filled as a week of batches would
    pipeline.ledger.load(rows(), time.monotonic())
    for number in range(NODES):
        for term in ("ignored", "unresolved", "missed"):
            totals = pipeline.node_totals.of(f"old-{number}", time.monotonic())
            totals.touched = time.monotonic()
            totals.add(term, "parse", Counts(1, 1))  # type: ignore[arg-type]
    gc.freeze()
    agents, http = listen(HostPort("127.0.0.1", 0)), listen(HostPort("127.0.0.1", 0))
    ports = bound_port(agents), bound_port(http)
    shutdown, heartbeat = Shutdown(), Heartbeat()

    def answer() -> None:
        if pipe.recv() == "stop":
            shutdown.asked.set()
            return
        pipe.send({"rss_mb": resident(), "log_lines": lines.number, **heartbeat.numbers()})
        heartbeat.reset()
        lines.number = 0

    asyncio.get_running_loop().add_reader(pipe.fileno(), answer)
    beating = asyncio.create_task(heartbeat.run())
    await server.serve(agents, http, shutdown, lambda *_: pipe.send(ports))
    beating.cancel()


class Agents:
    """Agents that send a batch a second until told to stop."""

    def __init__(self, port: int) -> None:
        self.waits: list[float] = []
        self.welcomed: list[float] = []
        self._port = port

    async def run(self, seconds: float) -> None:
        """Send for ``seconds``, and connect anew every second as one more agent."""
        self.waits.clear()
        self.welcomed.clear()
        until = time.monotonic() + seconds
        newcomer = asyncio.create_task(self._connect_again(until))
        await asyncio.gather(*(self._send(number, until) for number in range(AGENTS)))
        await newcomer

    async def _connect(self, number: int) -> FrameStream:
        own = f"127.0.1.{1 + number}"
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, local_addr=(own, 0))
        stream = FrameStream(reader, writer, 1 << 20)
        hello = Hello(f"node-{number}", time.monotonic_ns(), "", "bench", "postrouting")
        await stream.send(encode_to_server(hello))
        answer = decode_to_agent(await stream.receive() or b"")
        if not isinstance(answer, Welcome):
            raise SystemExit(f"agent {number}: {answer}")
        return stream

    async def _connect_again(self, until: float) -> None:
        while time.monotonic() < until:
            began = time.monotonic()
            stream = await self._connect(AGENTS)
            self.welcomed.append(time.monotonic() - began)
            stream.abort()
            await asyncio.sleep(1.0)

    async def _send(self, number: int, until: float) -> None:
        stream, sequence = await self._connect(number), 0
        batch = encode_batch(FLEET.batch(number, FLOWS, ADDRESSES))
        while time.monotonic() < until:
            sequence += 1
            began = time.monotonic()
            await stream.send(encode_to_server(replace(batch, sequence=sequence)))
            answer = decode_to_agent(await stream.receive() or b"")
            if answer != Ack(sequence, duplicate=False):
                raise SystemExit(f"agent {number}: {answer}")
            self.waits.append(time.monotonic() - began)
            await asyncio.sleep(1.0)
        stream.abort()


async def hostile(port: int, until: float) -> None:
    """Clients that do not read, and clients that do not finish their request; renewed when cut."""

    async def unread(number: int) -> None:
        while time.monotonic() < until:
            own = f"127.0.2.{1 + number}"
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, local_addr=(own, 0), limit=1 << 12
            )
            writer.write(b"GET /metrics HTTP/1.1\r\n\r\n")
            await asyncio.sleep(max(0.0, min(12.0, until - time.monotonic())))
            del reader
            writer.transport.abort()

    async def half(number: int) -> None:
        while time.monotonic() < until:
            own = f"127.0.{3 + number // 100}.{1 + number % 100}"
            try:
                async with asyncio.timeout(max(0.01, until - time.monotonic())):
                    reader, writer = await asyncio.open_connection(
                        "127.0.0.1", port, local_addr=(own, 0)
                    )
                    writer.write(b"GET /metr")
                    await reader.read()
            except (OSError, TimeoutError):
                await asyncio.sleep(0.05)

    await asyncio.gather(*map(unread, range(UNREAD)), *map(half, range(HALF_OPEN)))


async def asking(port: int, until: float) -> int:
    """One client that asks for all pages again and again; the number of answers."""

    def ask() -> int:
        found = 0
        while time.monotonic() < until:
            for page in PAGES:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}{page}", timeout=60) as answer:
                    answer.read()
                found += 1
        return found

    return await asyncio.to_thread(ask)


async def healthy(port: int, until: float) -> list[float]:
    """Seconds for each answer of /healthz, asked once a second."""

    def ask() -> float:
        began = time.monotonic()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10) as answer:
            answer.read()
        return time.monotonic() - began

    found = []
    while time.monotonic() < until:
        found.append(await asyncio.to_thread(ask))
        await asyncio.sleep(1.0)
    return found


def p99(waits: list[float]) -> float:
    """Milliseconds."""
    return round(statistics.quantiles(waits, n=100)[98] * 1e3, 1)


async def measure(pipe: Connection, agents_port: int, http_port: int) -> dict[str, Any]:
    """All phases; figures by name."""
    agents, found = Agents(agents_port), {}

    def numbers() -> dict[str, Any]:
        pipe.send("numbers")
        answer: dict[str, Any] = pipe.recv()
        return answer

    await agents.run(3.0)  # the first batches add labels
    await asyncio.to_thread(
        lambda: urllib.request.urlopen(f"http://127.0.0.1:{http_port}/metrics").read()
    )
    await asyncio.sleep(3.0)
    idle = numbers()["rss_mb"]
    peak = idle
    for phase in ("quiet", "hostile", "asking"):
        until = time.monotonic() + SECONDS
        numbers()
        other: asyncio.Future[Any] = asyncio.ensure_future(asyncio.sleep(0))
        if phase == "hostile":
            other = asyncio.ensure_future(hostile(http_port, until))
        elif phase == "asking":
            other = asyncio.ensure_future(asking(http_port, until))
        health = asyncio.create_task(healthy(http_port, until))
        running = asyncio.create_task(agents.run(SECONDS))
        longest = dict.fromkeys(("longest_stall_ms", "longest_slice_ms"), 0.0)
        log_lines, shares = 0, {"stalled_share": [0.0], "long_slices_share": [0.0]}
        while not running.done():
            await asyncio.sleep(0.5)
            now = numbers()
            peak = max(peak, now["rss_mb"])
            log_lines += now["log_lines"]
            longest = {name: max(most, now[name]) for name, most in longest.items()}
            for name, values in shares.items():
                values.append(now[name])
        answers = await other
        found |= {
            f"{phase}_ack_ms_p99": p99(agents.waits),
            f"{phase}_welcome_ms_max": round(max(agents.welcomed) * 1e3, 1),
            f"{phase}_healthz_ms_max": round(max(await health) * 1e3, 1),
            f"{phase}_rss_mb_above_idle": round(peak - idle, 1),
            f"{phase}_log_lines": log_lines,
        }
        found |= {f"{phase}_{name}": most for name, most in longest.items()}
        found |= {
            f"{phase}_{name}": round(statistics.mean(values[1:]), 4)
            for name, values in shares.items()
        }
        if answers:
            found[f"{phase}_answers"] = answers
        peak = idle
    return found | {"idle_rss_mb": round(idle), "series": sum(SERIES.values())}


def main() -> None:
    """Measure and print."""
    allow_many_files()
    ours, theirs = get_context("fork").Pipe()
    watched, told = socketpair()
    server = get_context("fork").Process(target=serve, args=(theirs, watched))
    server.start()
    watched.close()
    agents_port, http_port = ours.recv()
    found = asyncio.run(measure(ours, agents_port, http_port))
    ours.send("stop")
    told.close()
    server.join(30)
    finish(
        "clients",
        found["hostile_ack_ms_p99"],
        found["quiet_ack_ms_p99"],
        "ms to an ack, p99",
        found,
    )


if __name__ == "__main__":
    main()
