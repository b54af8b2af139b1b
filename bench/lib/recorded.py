"""Acks of a real server process with a history, while it writes, merges and answers, and without.

In: nothing. Out: the time that batches wait for their ack, and the server's memory, of both. The
history has an hour of minutes that is due: the server merges it at the first minute that it writes.
"""

import asyncio
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from kzn.history.directory import open_directory
from kzn.history.memory import Rows
from kzn.history.retention import Keep
from kzn.history.segments import HOUR, MINUTE
from kzn.history.writer import Writer
from kzn.model.batch import Batch
from kzn.model.flows import Flows
from kzn.model.ip import pack
from kzn.model.settled import SETTLED, End
from kzn.model.totals import Counts, Totals
from kzn.wire.codec import decode_to_agent, encode_to_server
from kzn.wire.encode_batch import encode_batch
from kzn.wire.messages import Ack, Hello, Welcome
from kzn.wire.stream import FrameStream

NODES, PODS, FLOWS = 20, 1_000, 500
BATCHES_PER_SECOND = 20.0
SECONDS = 80.0
MERGED_ROWS = 10_000
"""A minute of the hour that is merged."""
QUESTION = "traffic?since=6h&by=src_pod,dst_pod,port&limit=100"
Numbers = dict[str, float]


def address(pod: int) -> str:
    """Of a pod."""
    return f"10.{1 + pod % NODES}.{pod // 250}.{pod % 250 + 1}"


def measured(root: Path) -> dict[str, float]:
    """Ratio of the 99th percentiles, both of them in milliseconds, and how much memory grows."""
    topology = root / "cluster.yaml"
    lines = ["nodes:"]
    lines += [f"- {{name: n{n}, zone: {'abc'[n % 3]}, region: r}}" for n in range(NODES)]
    lines.append("pods:")
    lines += [
        f"- {{namespace: shop, name: app-{n % 50}-{n}, node: n{n % NODES}, addresses:"
        f" [{address(n)}], workload: app-{n % 50}, workload_kind: Deployment}}"
        for n in range(PODS)
    ]
    topology.write_text("\n".join(lines) + "\n")
    plain = asyncio.run(_run(topology, None))
    due(root / "history")
    history = asyncio.run(_run(topology, root / "history"))
    merged = [*(root / "history" / "raw").glob("*/h*.parquet")]
    if not merged or not history["answers"]:
        raise SystemExit("nothing was merged, or no question was answered")
    return {
        "ack_p99_ratio": round(history["p99"] / plain["p99"], 2),
        "ack_p99_ms_without": round(plain["p99"] * 1000, 1),
        "ack_p99_ms_with": round(history["p99"] * 1000, 1),
        "answers_meanwhile": history["answers"],
        "server_rss_growth_mib": round(history["rss"] - plain["rss"], 1),
    }


def due(root: Path) -> None:
    """A history with the minutes of an hour that is over."""
    directory = open_directory(root)
    writer = Writer(root, directory.server, [("same_zone", ""), ("cross_zone", "")], Keep())
    writer.add_ends(
        [
            End("Pod", "shop", "Deployment", f"app-{n % 50}", f"app-{n % 50}-{n}",
                f"n{n % NODES}", "abc"[n % 3], "r", address(n))
            for n in range(PODS)
        ],
        anew=True,
    )  # fmt: skip
    chance = np.random.default_rng(15)
    begin = int(time.time() - HOUR) // HOUR * HOUR - HOUR
    for minute in range(60):
        rows: Rows = np.zeros(MERGED_ROWS, SETTLED)
        rows["time"] = begin + minute * MINUTE
        for side in ("src", "dst"):
            rows[side] = chance.integers(0, PODS, MERGED_ROWS)
        rows["port"], rows["protocol"], rows["packets"], rows["bytes"] = 443, 6, 1, 1500
        writer.write(minute + 1, rows, {})
    writer.close()
    directory.close()


async def _run(topology: Path, history: Path | None) -> Numbers:
    with _server(topology, history) as (process, agents, http):
        until = time.monotonic() + SECONDS
        asking = asyncio.create_task(_ask(http, until, is_asked=history is not None))
        parts = await asyncio.gather(*(_agent(agents, node, until) for node in range(NODES)))
        answers = await asking
        status = await asyncio.to_thread(Path(f"/proc/{process.pid}/status").read_text)
    waits = sorted(wait for part in parts for wait in part)
    (rss,) = re.findall(r"VmRSS:\s+(\d+)", status)
    return {
        "p99": statistics.quantiles(waits, n=100)[98],
        "rss": int(rss) / 1024,
        "answers": answers,
    }


async def _agent(port: int, node: int, until: float) -> list[float]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    stream = FrameStream(reader, writer, 1 << 22)
    await stream.send(encode_to_server(Hello(f"n{node}", 1, "", "0.1.0", "postrouting")))
    if not isinstance(decode_to_agent(await stream.receive() or b""), Welcome):
        raise TypeError("no welcome")
    waits: list[float] = []
    due_at = time.monotonic() + node / BATCHES_PER_SECOND
    while due_at < until:
        await asyncio.sleep(max(0.0, due_at - time.monotonic()))
        due_at += NODES / BATCHES_PER_SECOND
        began = time.monotonic()
        batch = _batch(node, len(waits) + 1)
        await stream.send(encode_to_server(encode_batch(batch)))
        if not isinstance(decode_to_agent(await stream.receive() or b""), Ack):
            raise TypeError("no ack")
        waits.append(time.monotonic() - began)
    writer.close()
    return waits


def _batch(node: int, sequence: int) -> Batch:
    chance = np.random.default_rng(node * 10_000 + sequence % 4)
    own = np.arange(node, PODS, NODES)
    numbers = np.unique(np.concatenate([own, chance.integers(0, PODS, 100)]))
    flows = Flows(
        addresses=np.frombuffer(b"".join(pack(address(int(n))) for n in numbers), np.uint8).reshape(
            -1, 16
        ),
        src=np.searchsorted(numbers, chance.choice(own, FLOWS)).astype(np.uint32),
        dst=chance.integers(0, len(numbers), FLOWS).astype(np.uint32),
        src_port=np.zeros(FLOWS, np.uint16),
        dst_port=chance.choice([443, 5432], FLOWS).astype(np.uint16),
        protocol=np.full(FLOWS, 6, np.uint8),
        flags=np.ones(FLOWS, np.uint8),
        packets=np.ones(FLOWS, np.uint64),
        bytes=np.full(FLOWS, 1500, np.uint64),
    )
    return Batch(sequence, 10_000, 0, flows, Totals(Counts(FLOWS, 1500 * FLOWS)))


async def _ask(port: int, until: float, *, is_asked: bool) -> int:
    def ask() -> None:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/{QUESTION}", timeout=60) as it:
            it.read()

    answers = 0
    while is_asked and time.monotonic() < until:
        with suppress(OSError):
            await asyncio.to_thread(ask)
            answers += 1
        await asyncio.sleep(0.2)
    return answers


@contextmanager
def _server(
    topology: Path, history: Path | None
) -> Iterator[tuple["subprocess.Popen[str]", int, int]]:
    command = [sys.executable, "-m", "kzn.cli.main", "server", "--topology", str(topology)]
    command += ["--listen-agents", "127.0.0.1:0", "--listen-http", "127.0.0.1:0"]
    command += ["--first-scrape-wait", "off"]
    command += ["--history", str(history)] if history is not None else []
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        for line in process.stderr or ():
            if found := re.search(r"agents on port (\d+), for HTTP on port (\d+)", line):
                yield process, int(found[1]), int(found[2])
                return
        raise SystemExit("the server ended")
    finally:
        process.terminate()
        process.communicate(timeout=60)


def main() -> None:
    """A run of this part alone."""
    with tempfile.TemporaryDirectory() as folder:
        print(measured(Path(folder)))


if __name__ == "__main__":
    main()
