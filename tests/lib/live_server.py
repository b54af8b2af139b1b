"""``kzn server`` as a process, with an agent that ships batches of one flow."""

import asyncio
import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from historic import CLUSTER, WEB1

from kzn.model.batch import Batch
from kzn.model.flows import Flows
from kzn.model.ip import pack
from kzn.model.totals import Counts, Totals
from kzn.wire.codec import decode_to_agent, encode_to_server
from kzn.wire.encode_batch import encode_batch
from kzn.wire.messages import Ack, Hello, ToAgent, ToServer, Welcome
from kzn.wire.stream import FrameStream

BOOKS = ("recorded", "dropped", "lost_at_restart", "open", "lost_before")


@dataclass
class Running:
    """A server process and its ports."""

    process: subprocess.Popen[str]
    agents: int
    http: int

    def ship(self, *sequences: tuple[int, str, int]) -> None:
        """Batches of one flow from web-1: (sequence, destination, bytes)."""
        asyncio.run(self._ship(sequences))

    async def _ship(self, batches: tuple[tuple[int, str, int], ...]) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.agents)
        stream = FrameStream(reader, writer, 1 << 20)
        hello = Hello("n1", 7, "", "0.1.0", "postrouting")
        assert isinstance(await _say(stream, hello), Welcome)
        for sequence, dst, size in batches:
            flows = Flows(
                addresses=np.frombuffer(pack(WEB1) + pack(dst), np.uint8).reshape(2, 16),
                src=np.array([0], np.uint32),
                dst=np.array([1], np.uint32),
                src_port=np.zeros(1, np.uint16),
                dst_port=np.array([5432], np.uint16),
                protocol=np.array([6], np.uint8),
                flags=np.ones(1, np.uint8),
                packets=np.ones(1, np.uint64),
                bytes=np.array([size], np.uint64),
            )
            batch = Batch(sequence, 10_000, 0, flows, Totals(Counts(1, size)))
            assert isinstance(await _say(stream, encode_batch(batch)), Ack)
        writer.close()

    def books(self) -> dict[str, int]:
        """Bytes of class cross_zone, by what happened to them."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/metrics") as answer:
            text = answer.read().decode()
        found: dict[str, int] = {}
        for name in ("settled", *(f"history_{book}" for book in BOOKS)):
            pattern = rf'kzn_server_{name}_bytes(?:_total)?{{class="cross_zone"[^}}]*}} (\d+)'
            found[name.removeprefix("history_")] = sum(map(int, re.findall(pattern, text)))
        zones = re.findall(r'kzn_zone_traffic_bytes_total{.*class="cross_zone"} (\d+)', text)
        assert found["settled"] == sum(map(int, zones))
        parts = ("recorded", "dropped", "lost_at_restart", "open")
        assert found["settled"] == sum(found[part] for part in parts)
        return found

    def sink(self, what: str, name: str = "dir") -> int:
        """Segments of a sink that were delivered or wait."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/metrics") as answer:
            text = answer.read().decode()
        series = rf'kzn_server_sink_{what}_segments(?:_total)?{{sink="{name}"}}'
        return sum(map(int, re.findall(rf"{series} (\d+)", text)))

    def get(self, page: str) -> Any:
        """A page of /api/v1."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/api/v1/{page}") as answer:
            return json.load(answer)

    def end(self, signum: int) -> None:
        """Send a signal and wait."""
        self.process.send_signal(signum)
        self.process.wait(30)


async def _say(stream: FrameStream, message: ToServer) -> ToAgent:
    await stream.send(encode_to_server(message))
    answer = await stream.receive()
    assert answer is not None
    return decode_to_agent(answer)


@contextmanager
def server(root: Path, *options: str, history: bool = True) -> Iterator[Running]:
    """A server whose history is in ``root``/history, or in memory alone."""
    root.mkdir(exist_ok=True)
    (root / "cluster.yaml").write_text(CLUSTER)
    command = [sys.executable, "-m", "kzn.cli.main", "server", "--topology"]
    command += [str(root / "cluster.yaml")]
    command += ["--history", str(root / "history")] if history else []
    command += ["--listen-agents", "127.0.0.1:0", "--listen-http", "127.0.0.1:0"]
    command += ["--first-scrape-wait", "off", *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if found := re.search(r"agents on port (\d+), for HTTP on port (\d+)", line):
                yield Running(process, int(found[1]), int(found[2]))
                return
        raise AssertionError("the server ended")
    finally:
        process.kill()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()
