"""Cost of a scrape of 200,000 series, and its effect on the latency of acks.

The ledger has 200,000 series, and there are totals of 5,000 nodes. Measured are the seconds of
/metrics from the request to the last byte over loopback, and the time that batches of 6,000 flows
wait for their ack meanwhile. They come at the rate of the largest cluster, or on a slower machine
at that which takes the same share of a core: at more than a core can do, the wait is only how long
the measurement lasts. The baseline is the encoder of prometheus_client for the same rows.

Then a complete server in its own process with the same series, to which twenty agents send batch
after batch, as fast as it acks them: the seconds of a scrape beside that, the rate of flows during
scrapes and without, and the longest stall.
"""

import asyncio
import gc
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from socket import create_server
from typing import Any

import numpy as np
from lib.endtoend import TYPICAL, Agents, asked, served
from lib.fleet import Fleet, spread
from lib.report import finish
from lib.served import allow_many_files
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from kzn.daemon.allocator import keep_freed_memory
from kzn.daemon.garbage import limit_collections
from kzn.model.batch import AgentIdentity
from kzn.model.totals import Counts
from kzn.pricing import aws
from kzn.pricing.book import PriceBook
from kzn.server.app import SWITCH_SECONDS
from kzn.server.cost.meter import CostMeter
from kzn.server.flows.queue import LogCounts
from kzn.server.http.server import HttpApi
from kzn.server.ledger.family import FAMILIES, FamilyName, Row
from kzn.server.ledger.ledger import Ledger
from kzn.server.ledger.limits import LedgerLimits
from kzn.server.ledger.node_totals import TotalsByNode
from kzn.server.metrics.render import render
from kzn.server.metrics.traffic import FAMILY_METRICS
from kzn.server.pipeline import Clocks, Pipeline
from kzn.server.receive.stats import ReceiveStats
from kzn.server.resolve.retry import RetryQueue
from kzn.server.snapshot import AccountingSnapshot, ServerSnapshot, Sources
from kzn.server.topology import SourceState
from kzn.topology.index import AddressIndex
from kzn.topology.source import TopologyStats
from kzn.wire.codec import decode_to_server, encode_to_server
from kzn.wire.compression import Compression
from kzn.wire.decode_batch import decode_batch
from kzn.wire.encode_batch import EncodedBatch, encode_batch
from kzn.wire.limits import Limits

SERIES: dict[FamilyName, int] = {
    "pod": 40_000,
    "workload": 80_000,
    "pair": 20_000,
    "workload_cost": 40_000,
    "caused_cost": 20_000,
}
FLOWS, ADDRESSES = 6_000, 600
BATCHES_PER_SECOND = 500.0
"""Batches a second: 5,000 agents at intervals of ten seconds."""
SHARE = 0.4
"""Of what a core does alone, which these batches take at most."""
SCRAPES = 5
SCRAPER = """
import json, sys, time, urllib.request
headers = {"Accept-Encoding": sys.argv[3]}
for _ in range(int(sys.argv[2])):
    began = time.monotonic()
    request = urllib.request.Request(sys.argv[1], headers=headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        size = len(answer.read())
    ended = time.monotonic()
    print(json.dumps({"began": began, "seconds": ended - began, "bytes": size}), flush=True)
    time.sleep(1.0)
"""
FULL_AGENTS = 20
QUIET_SECONDS = 5.0


def created(number: int) -> float:
    """When a series began, in Unix time: some thirty began with one batch."""
    return 1.7e9 + number // 30 * 0.013


def rows(fleet: Fleet) -> Iterator[Row]:
    """Rows up to the limit of each family."""
    for number in range(SERIES["pod"]):
        pod, _ = fleet.pod(number)
        yield Row("pod", (pod.namespace, pod.name), 10**9 + number, created=created(number))
    for number in range(SERIES["workload"]):
        pod, workload = fleet.pod(number % fleet.workloads)
        direction = ("egress", "ingress")[number // fleet.workloads % 2]
        ends = fleet.zone(number // fleet.workloads), fleet.zone(number)
        crossed = "same_zone" if ends[0] == ends[1] else "cross_zone"
        labels = (pod.namespace, *workload, direction, crossed, *ends)
        yield Row("workload", labels, number, created=created(number))
    for number in range(SERIES["workload_cost"]):
        pod, workload = fleet.pod(number % fleet.workloads)
        side = ("sender", "receiver")[number // fleet.workloads % 2]
        labels = (pod.namespace, *workload, side, "cross_zone", "USD")
        yield Row("workload_cost", labels, 0)._replace(bytes=number * 1.1e-5)  # type: ignore[arg-type]
    for number in range(SERIES["caused_cost"]):
        pod, workload = fleet.pod(number)
        labels = (pod.namespace, *workload, "cross_zone", "USD")
        yield Row("caused_cost", labels, 0)._replace(bytes=number * 1.1e-5)  # type: ignore[arg-type]
    for number in range(SERIES["pair"]):
        src, dst = fleet.pod(number), fleet.pod(number + 1)
        source = (src[0].namespace, src[1].name, "zone-a")
        labels = (*source, dst[0].namespace, dst[1].name, "zone-b", "source")
        yield Row("pair", labels, number, created=created(number))


class Client(Collector):
    """The same series as a collector of prometheus_client."""

    def __init__(self, snapshot: ServerSnapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        """The families of the ledger."""
        for family in SERIES:
            metric = FAMILY_METRICS[family]
            made = CounterMetricFamily(metric.name, metric.help, labels=FAMILIES[family].labels)
            for labels, value in self._snapshot.ledger.rows(family):
                made.add_metric(labels, value)
            yield made


class Bench:
    """The state of a server, its HTTP, and agents that send at a constant rate."""

    def __init__(self) -> None:
        fleet = Fleet()
        self.index = AddressIndex(clock=time.monotonic, wall=time.time)
        fleet.fill(self.index)
        ledger = Ledger(LedgerLimits(SERIES, priced=True))
        book = PriceBook([aws.PRICES])
        meter = CostMeter(ledger, lambda: book, time.time)
        ledger.load(rows(fleet), time.monotonic())
        node_totals = TotalsByNode(20_000)
        for number in range(fleet.nodes):
            for term in ("ignored", "unresolved", "missed"):
                node_totals.of(f"node-{number}").add(term, "parse", Counts(1, 1))  # type: ignore[arg-type]
        parts = ledger, node_totals, RetryQueue(1_000_000)
        clocks = Clocks(time.monotonic, time.perf_counter)
        self.pipeline = Pipeline(self.index, *parts, clocks=clocks, meter=meter)
        source = SourceState("kubernetes", True, TopologyStats(self.index.counts()))
        self.sources = Sources(
            pipeline=self.pipeline,
            receiver=ReceiveStats,
            topology=lambda: (source,),
            flow_log=LogCounts,
        )
        gc.freeze()
        nodes = list(spread(fleet, 50))
        batches = [fleet.batch(node, FLOWS, ADDRESSES) for node in nodes]
        self.frames = [encode_to_server(encode_batch(batch)) for batch in batches]
        self.nodes = [f"node-{node}" for node in nodes]
        self.rate = BATCHES_PER_SECOND

    def snapshot(self) -> ServerSnapshot:
        """A snapshot, as the server takes it."""
        return self.sources.snapshot(AccountingSnapshot.of(self.pipeline), time.monotonic())

    async def taken(self, _families: frozenset[FamilyName]) -> ServerSnapshot:
        """A snapshot, for `HttpApi`."""
        return self.snapshot()

    def apply(self, number: int) -> None:
        """Process a frame, as the server does before its ack."""
        message = decode_to_server(self.frames[number])
        if not isinstance(message, EncodedBatch):
            raise TypeError("not a batch")
        who = AgentIdentity(self.nodes[number], 1, "postrouting", "bench")
        self.pipeline.apply(who, decode_batch(message, Limits()))

    async def send(self, until: asyncio.Future[Any]) -> list[float]:
        """Apply batches at a constant rate; seconds from the due time of each to its ack."""
        began, waits, number = time.monotonic(), [], 0
        while not until.done():
            due = began + number / self.rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            self.apply(number % len(self.frames))
            waits.append(time.monotonic() - due)
            number += 1
        return waits


async def scraped(url: str, coding: str = "identity") -> list[dict[str, float]]:
    """Scrape from another process; begin, seconds and bytes of each scrape."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SCRAPER, url, str(SCRAPES), coding, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    return [json.loads(line) for line in output.splitlines()]


async def beside_full_ingest(pipe: Connection, agents: int, http: int) -> dict[str, float]:
    """Figures of scrapes while agents send as fast as the server acks."""
    batches = [
        [encode_batch(TYPICAL.batch(node, FLOWS, ADDRESSES, 1 + at), Compression.ZSTD)]
        for at, node in enumerate(range(FULL_AGENTS))
    ]
    sending = Agents(agents, batches)
    await sending.run(2)
    acked: list[tuple[float, int]] = []
    done = asyncio.Event()

    async def sample() -> None:
        while not done.is_set():
            acked.append((time.monotonic(), sending.acked))
            await asyncio.sleep(0.01)

    def rate(began: float, ended: float) -> float:
        """Batches a second."""
        times, counts = zip(*acked, strict=True)
        found = np.interp([began, ended], times, counts)
        return float(found[1] - found[0]) / (ended - began)

    running = asyncio.create_task(sending.run_while(lambda: not done.is_set()))
    sampling = asyncio.create_task(sample())
    await asyncio.sleep(1.0)
    asked(pipe)
    began = time.monotonic()
    await asyncio.sleep(QUIET_SECONDS)
    quiet, quiet_stall = rate(began, time.monotonic()), asked(pipe)["longest_stall_ms"]
    scrapes = await scraped(f"http://127.0.0.1:{http}/metrics", "gzip")
    numbers = asked(pipe)
    await asyncio.sleep(0.05)
    done.set()
    await asyncio.gather(running, sampling)
    seconds = [one["seconds"] for one in scrapes]
    during = statistics.mean(rate(one["began"], one["began"] + one["seconds"]) for one in scrapes)
    return {
        "full_ingest_scrape_seconds": round(statistics.median(seconds), 3),
        "full_ingest_scrape_seconds_max": round(max(seconds), 3),
        "full_ingest_rate_during_scrapes": round(during / quiet, 3),
        "full_ingest_flows_a_second": round(quiet * FLOWS),
        "full_ingest_longest_stall_ms": numbers["longest_stall_ms"],
        "full_ingest_longest_slice_ms": numbers["longest_slice_ms"],
        "full_ingest_quiet_stall_ms": quiet_stall,
    }


def full_ingest() -> dict[str, float]:
    """`beside_full_ingest` with a server that may use all CPUs."""
    cpus = os.sched_getaffinity(0)
    with served(TYPICAL, cpus, rows) as (pipe, agents, http):
        return asyncio.run(beside_full_ingest(pipe, agents, http))


async def under_load(bench: Bench) -> tuple[list[dict[str, float]], list[float], list[float]]:
    """Scrapes during ingest, and waits of batches during scrapes and without."""
    api = HttpApi(bench.taken, lambda: "")
    sock = create_server(("127.0.0.1", 0))
    await api.start([sock])
    url = f"http://127.0.0.1:{sock.getsockname()[1]}/metrics"
    quiet = await bench.send(asyncio.create_task(asyncio.sleep(3.0)))
    scraping = asyncio.create_task(scraped(url))
    waits = await bench.send(scraping)
    await api.close()
    return await scraping, waits, quiet


def baseline(snapshot: ServerSnapshot) -> float:
    """CPU seconds of the encoder of prometheus_client."""
    registry = CollectorRegistry()
    registry.register(Client(snapshot))
    began = time.process_time()
    generate_latest(registry)
    return time.process_time() - began


def main() -> None:
    """Measure and print."""
    allow_many_files()
    full = full_ingest()
    keep_freed_memory()
    sys.setswitchinterval(SWITCH_SECONDS)
    limit_collections()
    bench = Bench()
    for number in range(len(bench.frames)):
        bench.apply(number)  # the first batches add all labels
    began = time.monotonic()  # on a machine with other load a core is less than its CPU time
    for number in range(len(bench.frames)):
        bench.apply(number)
    capacity = len(bench.frames) / (time.monotonic() - began)
    bench.rate = min(BATCHES_PER_SECOND, SHARE * capacity)
    plain = baseline(bench.snapshot())
    began = time.process_time()
    body, _ = render(bench.snapshot(), "")
    alone = time.process_time() - began
    scrapes, waits, quiet = asyncio.run(under_load(bench))
    views = bench.snapshot().ledger.views.values()
    finish(
        "scrape",
        alone,
        plain,
        "CPU seconds",
        {
            "seconds_beside_ingest": round(max(one["seconds"] for one in scrapes), 3),
            "ack_ms_p99": round(statistics.quantiles(waits, n=100)[98] * 1e3, 1),
            "ack_ms_max": round(max(waits) * 1e3, 1),
            "quiet_ack_ms_p99": round(statistics.quantiles(quiet, n=100)[98] * 1e3, 1),
            "batches_a_second": round(bench.rate, 1),
            "share_of_a_core": round(bench.rate / capacity, 2),
            "series": sum(len(view.keys) for view in views),
            "mb": round(len(body) / 1e6, 1),
            "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
            **full,
        },
    )


if __name__ == "__main__":
    main()
