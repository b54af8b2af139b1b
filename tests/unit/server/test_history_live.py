"""``kzn server --history`` as a process: killed, ended in order, with and without ``--state``."""

import asyncio
import json
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from historic import CLUSTER, DB, STORE, WEB1, WEB2, bytes_of, rows_of

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


@pytest.mark.slow
def test_with_a_state_file_ledger_and_history_agree_after_every_end(tmp_path: Path) -> None:
    state = ("--state", str(tmp_path / "state"))
    with server(tmp_path, *state) as first:
        first.ship((1, DB, 100), (2, WEB2, 200))
        assert first.books() == dict.fromkeys(BOOKS, 0) | {"settled": 300, "open": 300}
        first.end(signal.SIGTERM)
    assert bytes_of(tmp_path / "history") == {"cross_zone": 300}
    with server(tmp_path, *state) as second:
        assert second.books() == dict.fromkeys(BOOKS, 0) | {"settled": 300, "recorded": 300}
        second.ship((3, DB, 40), (4, STORE, 5))
        second.end(signal.SIGKILL)
    with server(tmp_path, *state) as third:
        lost = {"settled": 345, "recorded": 300, "lost_at_restart": 45}
        assert third.books() == dict.fromkeys(BOOKS, 0) | lost
        asked = third.get("traffic?since=24h&by=dst_pod,src_node&compare=previous")
        assert [(row["dst_pod"], row["src_node"], row["bytes"]) for row in asked["rows"]] == [
            ("web-2", "n1", 200),
            ("db-0", "n1", 100),
        ]
        assert [gap["reason"] for gap in asked["gaps"]] in ([], ["restart"])
        assert third.get("meta")["ranges"] == ["1h", "6h", "24h", "7d", "30d"]
        third.ship((4, STORE, 5), (5, DB, 7))  # the first of them was acknowledged before the kill
        third.end(signal.SIGINT)
    with server(tmp_path, *state) as fourth:
        assert fourth.books() == dict.fromkeys(BOOKS, 0) | lost | {"settled": 352, "recorded": 307}
        fourth.end(signal.SIGTERM)
    found = rows_of(tmp_path / "history", columns="dst_workload, sum(bytes)", tail="GROUP BY ALL")
    assert sorted((name, int(size)) for name, size in found) == [("db", 107), ("web", 200)]


@pytest.mark.slow
def test_without_a_state_file_the_next_server_says_what_was_lost(tmp_path: Path) -> None:
    with server(tmp_path) as first:
        first.ship((1, DB, 100))
        first.end(signal.SIGKILL)
    with server(tmp_path) as second:
        assert second.books() == dict.fromkeys(BOOKS, 0) | {"settled": 0, "lost_before": 100}
        second.ship((1, DB, 40))
        second.end(signal.SIGTERM)
    assert bytes_of(tmp_path / "history") == {"cross_zone": 40}


@pytest.mark.slow
def test_without_a_history_the_last_hour_can_be_asked_for(tmp_path: Path) -> None:
    with server(tmp_path, history=False) as running:
        running.ship((1, DB, 100), (2, STORE, 7))
        deadline = time.monotonic() + 60
        found = running.get("traffic?since=10m&by=cause_workload,dst_workload,port")
        while found["total"]["bytes"] < 107 and time.monotonic() < deadline:
            found = running.get("traffic?since=10m&by=cause_workload,dst_workload,port")
        assert found["rows"] == [
            {
                "cause_workload": "web",
                "dst_workload": name,
                "port": 5432,
                "bytes": size,
                "packets": 1,
                "cost": {},
                "unpriced_bytes": size,
            }
            for name, size in (("db", 100), ("store", 7))
        ]
        assert running.get("meta")["ranges"] == ["1h"]
        assert running.get("notices")["notices"][0]["kind"] in {"node_silent", "other_servers"}


def test_options_that_are_wrong_are_named_before_anything_starts(tmp_path: Path) -> None:
    for option, value in (("--history-keep", "raw=5m"), ("--history-size", "1Ki")):
        command = [sys.executable, "-m", "kzn.cli.main", "server", "--history", str(tmp_path)]
        found = subprocess.run(
            [*command, option, value], capture_output=True, text=True, check=False
        )
        assert found.returncode == 2
        assert option in found.stderr
