"""How soon the page shows numbers, and a key in its filter: in Chromium with a throttled CPU.

    .venv/bin/python bench/page.py    # 4 x, rounds of all screens for 90 s, then the server

Amounts: 60 workloads in 3 zones, and 500 in 20, with 4,000 pairs each. The answers are made before
and kept, by a process of its own, so the server's time is not in it: what loading, parsing, drawing
take is. Ready is the time from the navigation to the frame after the first row; CPU is that of the
page's thread, throttling included: other work on the machine changes it less.

The floor is the row `a line of text`, of the same rounds: what the browser, its driver and the
machine take for a page without a script, style and questions. No page is ready sooner; what ours
takes is the difference. The floor differs by machine and by what else runs: compare figures with
that of their own run, and differences with those of a quiet one.

The server's own time is measured apart: the page, then what the overview asks, all at once, of a
real `kzn server` with its hour in memory alone, and of one with a history: the first time, which
starts the processes that read it, and later ones, as users meet it.
"""

import argparse
import json
import multiprocessing
import shutil
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "web"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "lib"))

from page_world import FakeServer, World
from playwright.sync_api import sync_playwright
from site_process import Site, free_port

from kzn.server.http import page

AMOUNTS = {"60 workloads, 3 zones": (60, 3), "500 workloads, 20 zones": (500, 20)}
TRIVIAL = "a line of text"
SCREENS = {
    "overview": ("#/", ".workloads tbody tr"),
    "flow": ("#/?view=flow", ".flow .band"),
    "all rows": ("#/?rows=all", ".workloads tbody tr"),
    "workload": ("#/w/ns-0/app-000", ".peers tbody tr"),
    "pairs": ("#/pairs", ".list tbody tr"),
    TRIVIAL: ("icon.svg", "svg"),
}
LIMIT = 1000
"""Milliseconds in which the smaller overview is to be ready on a machine that is idle."""
MIN_ROUNDS = 2
ASKED_TIMES = 20
KEYS = ("a", "ap", "app-01")
_READY = """selector => new Promise(resolve => {
  const drawn = () =>
    requestAnimationFrame(() => setTimeout(() => resolve(performance.now()), 0));
  if (document.querySelector(selector)) return drawn();
  const watch = new MutationObserver(() => {
    if (!document.querySelector(selector)) return;
    watch.disconnect();
    drawn();
  });
  watch.observe(document, {childList: true, subtree: true});
})"""
_KEY = """text => new Promise(resolve => {
  const field = document.querySelector("input.filter");
  const begun = performance.now();
  field.value = text;
  field.dispatchEvent(new InputEvent("input", {bubbles: true}));
  requestAnimationFrame(() => setTimeout(() => resolve(performance.now() - begun), 0));
})"""


class Kept(World):
    """A world that makes each answer once."""

    def answer(self, topic: str, query: Mapping[str, list[str]]) -> tuple[int, Any]:
        """Status and JSON of a topic."""
        kept: dict[str, tuple[int, bytes]] = self.__dict__.setdefault("kept", {})
        key = topic + json.dumps(query, sort_keys=True)
        if key not in kept:
            status, body = super().answer(topic, query)
            kept[key] = status, json.dumps(body).encode()
        return kept[key]


def world(workloads: int, zones: int) -> World:
    """``workloads`` in ``zones``, 4,000 pairs."""
    names = [f"ns-{i % 12}/app-{i:03}" for i in range(workloads)]
    places = tuple(f"eu-west-{i // 3}{'abc'[i % 3]}" for i in range(zones))
    return Kept.of(workloads=names, zones=places, pairs=4000, crossings=1)


def serve(amount: tuple[int, int], url: Any) -> None:
    """A process: serves a world until it is ended; its address is sent to ``url``."""
    with FakeServer(world(*amount), keeps=True) as server:
        url.send(server.url)
        time.sleep(3600)


@contextmanager
def serving(amount: tuple[int, int]) -> Iterator[str]:
    """The address of a world; in a process of its own, as the browser's driver needs time, too."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(amount, there))
    process.start()
    try:
        yield here.recv()
    finally:
        process.terminate()
        process.join()


def measured(browser: Any, url: str, row: str, throttle: float) -> dict[str, float]:
    """Milliseconds: until it is ready, of a key; CPU of the page's thread until then, of a key."""
    tab = browser.new_context(bypass_csp=True).new_page()
    session = tab.context.new_cdp_session(tab)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    session.send("Emulation.setCPUThrottlingRate", {"rate": throttle})

    def cpu() -> float:
        found = session.send("Performance.getMetrics")["metrics"]
        return next(1000 * one["value"] for one in found if one["name"] == "TaskDuration")

    tab.goto(url, wait_until="commit")
    found = {"ready_ms": tab.evaluate(_READY, row), "ready_cpu_ms": cpu()}
    if tab.query_selector("input.filter"):
        keys = [tab.evaluate(_KEY, text) for text in KEYS]
        found |= {
            "key_ms": statistics.fmean(keys),
            "key_cpu_ms": (cpu() - found["ready_cpu_ms"]) / len(KEYS),
        }
    tab.context.close()
    return found


def of_page(throttle: float, seconds: float) -> dict[str, dict[str, int]]:
    """Medians by amount and screen, of rounds over all of them until ``seconds`` have passed."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    rounds = 0
    with (
        serving(AMOUNTS["60 workloads, 3 zones"]) as small,
        serving(AMOUNTS["500 workloads, 20 zones"]) as large,
        sync_playwright() as driver,
    ):
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        cases = [
            (f"{amount}, {screen}" if screen != TRIVIAL else screen, url + address, row)
            for amount, url in zip(AMOUNTS, (small, large), strict=True)
            for screen, (address, row) in SCREENS.items()
            if screen != TRIVIAL or url == small
        ]
        for _, url, row in cases:  # makes the answers
            measured(browser, url, row, 1.0)
        until = time.monotonic() + seconds
        while rounds < MIN_ROUNDS or time.monotonic() < until:
            rounds += 1
            for name, url, row in cases:
                for what, value in measured(browser, url, row, throttle).items():
                    found[name][what].append(value)
        browser.close()
    return {
        name: {what: round(statistics.median(values)) for what, values in row.items()}
        | {"rounds": rounds}
        for name, row in found.items()
    }


def of_server() -> dict[str, dict[str, float]]:
    """Milliseconds of what the overview asks at once, of real servers: at first, and later."""
    nodes = {f"n{i}": "abc"[i] for i in range(3)}
    pods = {f"10.{i % 3}.0.{1 + i // 3}": (f"app-{i:02}", f"n{i % 3}") for i in range(60)}
    topology = "\n".join(
        [
            "nodes:",
            *(f"- {{name: {node}, zone: {zone}, region: r}}" for node, zone in nodes.items()),
            "pods:",
            *(
                f"- {{namespace: shop, name: {name}-1, node: {node}, addresses: [{address}],"
                f" workload: {name}, workload_kind: Deployment}}"
                for address, (name, node) in pods.items()
            ),
        ]
    )
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "topology.yaml")
        file.write_text(topology)
        for name, options in {
            "server, hour in memory": (),
            "server, history": ("--history", str(Path(folder, "history"))),
        }.items():
            site = Site(free_port(), free_port(), ("--topology", str(file), *options))
            with site.serving():
                for node in nodes:
                    sources = [address for address, (_, own) in pods.items() if own == node]
                    site.deliver(
                        node, *((a, b, 1_000_003) for a in sources for b in pods if a != b)
                    )
                if not options:
                    found[name] = times(site.url)
            if options:  # its minutes were written when it ended
                with site.serving():
                    found[name] = times(site.url)
    return found


def times(url: str) -> dict[str, float]:
    """Milliseconds of the page and its first questions: the first time, and the median later."""
    cause, ends = "cause_namespace,cause_workload_kind,cause_workload", ("src", "dst")
    crossing = "where=class:cross_zone&where=class:cross_region"
    asked = [
        f"by={cause}&{crossing}&limit=500&points=144&compare=previous",
        f"by=src_zone,dst_zone&{crossing}&where=class:same_zone&where=class:external&limit=1000",
        *(f"by={cause.replace('cause', end)}&{crossing}&limit=10000" for end in ends),
    ]
    paths = [f"{url}api/v1/traffic?since=1h&{one}" for one in asked]

    def get(path: str) -> bytes:
        with urlopen(path) as answer:  # noqa: S310 - our own
            return bytes(answer.read())

    taken = []
    with ThreadPoolExecutor(len(paths)) as threads:
        for _ in range(ASKED_TIMES + 1):
            begun = time.perf_counter()
            get(url)  # the server expects questions from now on
            list(threads.map(get, [f"{url}api/v1/{one}" for one in ("status", "meta", "notices")]))
            list(threads.map(get, paths))
            taken.append(1000 * (time.perf_counter() - begun))
    return {"first_ms": round(taken[0], 1), "later_ms": round(statistics.median(taken[1:]), 1)}


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--throttle", type=float, default=4.0)
    parser.add_argument("--seconds", type=float, default=90.0, help="of the rounds in the browser")
    parser.add_argument("--json", action="store_true", help="print one object on the last line")
    options = parser.parse_args()
    if not (page.FOLDER / page.INDEX).exists():
        parser.error("the page was not built: python hatch_build.py")
    rows: dict[str, Mapping[str, float]] = {**of_page(options.throttle, options.seconds)}
    rows |= of_server()
    if options.json:
        ready = rows["60 workloads, 3 zones, overview"]["ready_ms"]
        result = {"ours": ready, "baseline": LIMIT, "ratio": round(ready / LIMIT, 2)}
        unit = f"ms to ready, {options.throttle:g} x; baseline: the limit"
        print(json.dumps({"name": "page", **result, "unit": unit, "screens": rows}))
        return
    for name, row in rows.items():
        print(name, *(f"{key} {value}" for key, value in row.items()), sep="  ")


if __name__ == "__main__":
    main()
