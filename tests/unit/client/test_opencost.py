"""kzn opencost: what OpenCost's collector finds, and that its arithmetic gives the bytes."""

import asyncio
import gzip
import re
import signal
import socket
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection

import numpy as np
import pytest
from opencost_world import DB, EGRESS, INGRESS, OUT, WEB, OpenCostWorld
from smallserver import serving

from kzn.client import http
from kzn.client.http import ApiClient
from kzn.client.opencost import OpenCostExporter
from kzn.server.metrics.opencost import opencost_text

SAMPLE = re.compile(r"(\w+)\{([^}]*)\} (\S+)")
CROSS_ZONE = {"internet": "false", "same_zone": "false", "same_region": "true"}


class Collector:
    """OpenCost's collector: values of one scrape summed by pod, and growth between scrapes.

    A sum that is lower than the one before adds nothing.
    """

    def __init__(self, metric: str, **labels: str) -> None:
        self._metric, self._labels = metric, labels
        self._last: dict[tuple[str, ...], float] = {}
        self.increase: defaultdict[tuple[str, ...], float] = defaultdict(float)

    def scrape(self, *texts: str) -> None:
        sums: defaultdict[tuple[str, ...], float] = defaultdict(float)
        for text in texts:
            for name, found, value in SAMPLE.findall(text):
                labels = dict(re.findall(r'(\w+)="([^"]*)"', found))
                if name == self._metric and self._labels.items() <= labels.items():
                    key = tuple(labels[one] for one in ("pod_name", "namespace", "uid"))
                    sums[key] += float(value)
        for key, value in sums.items():
            if key in self._last:
                self.increase[key] += max(0.0, value - self._last[key])
        self._last |= sums


def text(world: OpenCostWorld, begun_before: float = np.inf) -> str:
    return b"".join(opencost_text(world.counters.snapshot(begun_before))).decode()


def test_the_text_has_both_counters_and_nothing_else() -> None:
    world = OpenCostWorld()
    world.send("n1", (WEB, DB, 5))
    names = {line.split()[2] for line in text(world).splitlines() if line.startswith("# TYPE")}
    assert names == {EGRESS, INGRESS}
    assert len(SAMPLE.findall(text(world))) == 2


def test_the_collectors_arithmetic_gives_the_bytes_to_the_byte() -> None:
    world = OpenCostWorld()
    zone = Collector(EGRESS, **CROSS_ZONE)
    received = Collector(INGRESS, **CROSS_ZONE)
    internet = Collector(EGRESS, internet="true")
    sent = 0
    for number in range(1, 30):
        world.clock.seconds += 30
        world.send("n1", (WEB, DB, 1000 * number), (WEB, OUT, 7))
        world.send("n2", (DB, WEB, number))
        sent += number
        for one in (zone, received, internet):
            # A series is exposed at 0 before it has bytes.
            one.scrape(text(world, begun_before=world.clock.now() - 45))
    web, db = ("web", "shop", "static:shop/web"), ("db", "shop", "static:shop/db")
    assert zone.increase == {web: 1000 * sent, db: sent}
    assert received.increase == {web: sent, db: 1000 * sent}
    assert internet.increase == {web: 7 * 29}


@contextmanager
def listening() -> Iterator[tuple[socket.socket, int]]:
    with socket.create_server(("127.0.0.1", 0)) as found:
        yield found, found.getsockname()[1]


def get(port: int, path: str) -> tuple[int, bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", path, headers={"Host": "10.1.2.3:3001"})
    answer = connection.getresponse()
    return answer.status, answer.read()


def exported(url: str, *paths: str) -> list[tuple[int, bytes]]:
    """What the exporter of a server answers."""

    async def serve() -> list[tuple[int, bytes]]:
        with listening() as (found, port):
            stop = asyncio.Event()
            task = asyncio.create_task(OpenCostExporter(ApiClient(url)).run([found], stop))
            answers = [await asyncio.to_thread(get, port, path) for path in paths]
            stop.set()
            await task
        return answers

    return asyncio.run(serve())


def test_it_passes_on_the_servers_counters_by_any_name_and_nothing_else() -> None:
    asked = []

    def answer(topic: str, _limit: str | None) -> tuple[int, bytes]:
        asked.append(topic)
        return 200, b"a{} 1\n"

    with serving(answer) as url:
        answers = exported(url, "/metrics", "/healthz", "/api/v1/status", "/metrics/opencost")
    assert answers[:2] == [(200, b"a{} 1\n"), (200, b"ok\n")]
    assert [status for status, _ in answers[2:]] == [404, 404]
    assert asked == ["/metrics/opencost"]


def test_a_page_that_is_larger_than_other_answers_may_be_is_passed_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http, "MAX_BYTES", 1 << 20)
    page = b"a{} 1\n" * 300_000
    packed = {"Content-Encoding": "gzip"}
    with serving(lambda *_: (200, gzip.compress(page)), packed) as url:
        assert exported(url, "/metrics") == [(200, page)]
    with serving(lambda *_: (200, page)) as url:
        assert exported(url, "/metrics") == [(200, page)]


@pytest.mark.parametrize(("status", "said"), [(404, b"--opencost"), (503, b"status 503")])
def test_while_the_server_has_no_counters_it_answers_503(status: int, said: bytes) -> None:
    with serving(lambda *_: (status, b"{}")) as url:
        ((found, body),) = exported(url, "/metrics")
    assert found == 503
    assert said in body


def test_a_server_that_is_not_there_is_503_too() -> None:
    with listening() as (_, port):
        url = f"http://127.0.0.1:{port}"
    ((found, _),) = exported(url, "/metrics")
    assert found == 503


@pytest.mark.slow
def test_the_command_serves_until_it_is_told_to_stop() -> None:
    with listening() as (_, port):
        pass
    with serving(lambda *_: (200, b"a{} 1\n")) as url:
        command = [sys.executable, "-m", "kzn.cli.main", "opencost", "--url", url]
        process = subprocess.Popen([*command, "--listen-http", f"127.0.0.1:{port}"])
        try:
            while True:  # until it listens; the test has a deadline of its own
                try:
                    assert get(port, "/metrics") == (200, b"a{} 1\n")
                    break
                except ConnectionError:
                    assert process.poll() is None
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
