"""Cost of the history: writing minutes, merging, asking, and what it takes from ingest.

Two clusters: 2,000 records a minute between 2,000 pods, and 500,000 between 40,000. Minutes of the
first are written for two hours and merged as a server does; three days of it are asked six
questions, on one thread. Ingest is that of bench/ingest.py without and with a recorder, in a
process with the allocator's settings of a server: of ten seconds between two writes, and of a
minute, in which each node sends six batches with three sets of flows. The recorder's threads are
counted in, so the ratio is of CPU time; its writer, in another process, is not. Acks are those of a
server process while its history is written, merged and asked, and of one without
(lib/recorded.py). All of it takes some eight minutes; each part is told on stderr when it is done.
"""

import asyncio
import re
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import numpy as np
from lib.fleet import Fleet, spread
from lib.recorded import measured
from lib.report import finish

from kzn.daemon.allocator import keep_freed_memory
from kzn.history.books import Books, Gap
from kzn.history.memory import Rows
from kzn.history.processes.framing import Payload
from kzn.history.processes.reader_process import ReaderProcess
from kzn.history.query import TrafficQuery
from kzn.history.retention import Keep
from kzn.history.segments import DAY, HOUR, MINUTE, listing
from kzn.history.writer import Writer
from kzn.model.batch import AgentIdentity
from kzn.model.settled import SETTLED, ByClass, End, Sum
from kzn.server.ledger.ledger import Ledger
from kzn.server.ledger.limits import LedgerLimits
from kzn.server.ledger.node_totals import TotalsByNode
from kzn.server.pipeline import Clocks, Pipeline
from kzn.server.recording.fold import Fold
from kzn.server.recording.recorder import Recorder, RecorderClock
from kzn.server.resolve.retry import RetryQueue
from kzn.topology.index import AddressIndex
from kzn.wire.codec import decode_to_server, encode_to_server
from kzn.wire.compression import Compression
from kzn.wire.decode_batch import decode_batch
from kzn.wire.encode_batch import EncodedBatch, encode_batch
from kzn.wire.limits import Limits

T0 = 1_795_651_200
VERDICTS = [("same_zone", ""), ("cross_zone", ""), ("external", "")]
SMALL, LARGE = 2_000, 500_000
RAW = 3 * DAY
FLOWS, ADDRESSES, REPORTING, ROUNDS, MINUTES = 10_000, 1_000, 30, 7, 5
LIMIT_CPU = 6.0
_T = TypeVar("_T")


class Cluster:
    """Synthetic flows: each pod talks to a few others, to some of them most of the time."""

    def __init__(self, pods: int, workloads: int, records: int) -> None:
        self._chance = np.random.default_rng(15)
        self.records = records
        self.ends = [
            End(
                "Pod",
                f"namespace-{number % workloads % 20}",
                "Deployment",
                f"workload-{number % workloads}",
                f"workload-{number % workloads}-{number:05x}",
                f"node-{number % (pods // 20)}",
                "abc"[number % 3],
                "region",
                f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}",
            )
            for number in range(pods)
        ]
        self._src = self._chance.integers(0, pods, records * 2)
        self._dst = self._chance.integers(0, pods, records * 2)
        self._port = self._chance.choice([443, 5432, 6379, 8080, 9092], records * 2)

    def minutes(self, first: int, number: int) -> Rows:
        """The rows of some minutes."""
        parts = []
        for minute in range(first, first + number):
            rows = np.zeros(self.records, SETTLED)
            used = self._chance.choice(len(self._src), self.records, replace=False)
            rows["time"] = T0 + minute * MINUTE
            rows["src"], rows["dst"] = self._src[used], self._dst[used]
            rows["port"], rows["protocol"], rows["initiator"] = self._port[used], 6, 1
            rows["verdict"] = self._src[used] % 3 != self._dst[used] % 3
            rows["packets"] = self._chance.integers(1, 1_000, self.records)
            rows["bytes"] = rows["packets"] * self._chance.integers(60, 1_500, self.records)
            parts.append(rows)
        return np.concatenate(parts)


def written(
    cluster: Cluster, root: Path, segments: int, minutes: int, *, seconds_later: int
) -> tuple[float, float]:
    """CPU seconds per million records with merging, and bytes per record of raw files."""
    writer = Writer(root, "00000001", VERDICTS, Keep(raw=400 * DAY, hour=400 * DAY))
    writer.add_ends(cluster.ends, anew=True)
    used = 0.0
    for number in range(segments):
        rows = cluster.minutes(number * minutes, minutes)
        began = time.process_time()
        writer.write(number + 1, rows, {})
        used += time.process_time() - began
    began = time.process_time()
    while writer.maintain(T0 + segments * minutes * MINUTE + seconds_later):
        pass
    used += time.process_time() - began
    writer.close()
    found = listing(root)
    size = sum(found.sizes[one] for one in found.levels["raw"])
    records = segments * minutes * cluster.records
    return used / records * 1e6, size / records


def questions(end: int) -> dict[str, TrafficQuery]:
    """Six questions of an operator."""
    day, pod = end - DAY, ("dst_pod", "port")
    return {
        "pods_and_ports": TrafficQuery(day, end, pod, (("dst_workload", ("workload-7",)),)),
        "day_and_day_before": TrafficQuery(
            day, end, ("src_workload", "dst_workload"), compare=True
        ),
        "who_had_an_address": TrafficQuery(
            end - 1200, end - 600, ("src_pod",), (("src_address", ("10.0.0.7",)),)
        ),
        "by_namespace_72h": TrafficQuery(end - RAW, end, ("cause_namespace", "class")),
        "curve_24h": TrafficQuery(day, end, ("src_zone", "dst_zone"), points=288),
        "zone_of_nodes_6h": TrafficQuery(end - 6 * HOUR, end, ("src_node", "dst_zone")),
    }


def asked(root: Path, end: int) -> dict[str, float]:
    """Milliseconds of each question, the best of three, and the memory of the server's reader."""
    reader = ReaderProcess(root)
    found = {}
    for name, query in questions(end).items():
        times = []
        for _ in range(3):
            began = time.perf_counter()
            answer = reader.ask(query)
            times.append((time.perf_counter() - began) * 1000)
        if not answer.total.bytes:
            raise SystemExit(f"{name} has no answer")
        found[f"{name}_ms"] = round(min(times), 1)
    status = Path(f"/proc/{reader.pid}/status").read_text()
    found["reader_rss_mib"] = int(re.findall(r"VmHWM:\s+(\d+)", status)[0]) >> 10
    reader.close()
    return found


class Discard:
    """A `SegmentWriter` that takes everything: the real one works in another process."""

    def open(self) -> Books:
        """See `SegmentWriter`."""
        return Books()

    def open_books(self, instance: int, ledger: Mapping[str, Sum]) -> Books:
        """See `SegmentWriter`."""
        return Books(instance, lost=dict(ledger))

    def add_ends(self, ends: Sequence[End], *, anew: bool) -> None:
        """See `SegmentWriter`."""

    def describe(self, cluster: str, provider_ids: Mapping[str, str]) -> None:
        """See `SegmentWriter`."""

    def write(self, number: int, rows: Payload, dropped: Mapping[str, ByClass], until: int) -> None:
        """See `SegmentWriter`."""

    def note(self, dropped: Mapping[str, ByClass], gaps: Sequence[Gap], until: int) -> Books:
        """See `SegmentWriter`."""
        del dropped, gaps, until
        return Books()

    def maintain(self, now: float) -> bool:
        """See `SegmentWriter`."""
        del now
        return False

    def close(self) -> None:
        """See `SegmentWriter`."""


async def ingest() -> dict[str, float]:
    """Million flows per CPU second without and with a recorder, paired; memory of the recorder."""
    fleet = Fleet(nodes=1_000, pods=40_000, workloads=4_000)
    index = AddressIndex(clock=time.monotonic, wall=time.time)
    fleet.fill(index)
    frames = [_frames(fleet, sequence) for sequence in (1, 2, 3)]
    minute = [one for one in frames for _ in range(2)]
    clock = RecorderClock(lambda seconds: seconds + 1.7e9, lambda: time.monotonic() + 1.7e9)
    recorder = Recorder(Discard(), Fold(), clock, max_waiting=1 << 40)
    await recorder.start(1)
    plain, recording = (_pipeline(index, sink) for sink in (None, recorder))
    _take(plain, frames[0])
    _take(recording, frames[0])
    await recorder.flush()
    before = rss()

    async def measure(rounds: int, sent: list[list[tuple[str, bytes]]]) -> tuple[float, float]:
        """Seconds without and their ratio to those with, both the median."""
        ratios, seconds = [], []
        for _ in range(rounds):
            began = time.process_time()
            for one in sent:
                _take(plain, one)
            seconds.append(time.process_time() - began)
            began = time.process_time()
            for one in sent:
                _take(recording, one)
            await recorder.flush()
            ratios.append(seconds[-1] / (time.process_time() - began))
        return statistics.median(seconds), statistics.median(ratios)

    seconds, ratio = await measure(ROUNDS, frames[:1])
    grown = rss() - before
    _, ratio_of_minute = await measure(MINUTES, minute)
    if recorder.books().missing() or recorder.books().dropped:
        raise SystemExit("the books do not add up")
    await recorder.close()
    return {
        "ingest_without": round(REPORTING * FLOWS / seconds / 1e6, 3),
        "ingest_ratio": round(ratio, 3),
        "ingest_minute_ratio": round(ratio_of_minute, 3),
        "recorder_rss_mib": grown,
    }


def in_server_process() -> dict[str, float]:
    """`ingest` in a process of its own, which keeps freed memory as a server does."""
    with ProcessPoolExecutor(1, get_context("spawn"), keep_freed_memory) as processes:
        return processes.submit(run_ingest).result()


def run_ingest() -> dict[str, float]:
    """`ingest`."""
    return asyncio.run(ingest())


def _pipeline(index: AddressIndex, recorder: Recorder | None) -> Pipeline:
    return Pipeline(
        index,
        Ledger(LedgerLimits()),
        TotalsByNode(20_000),
        RetryQueue(1_000_000),
        clocks=Clocks(time.monotonic, time.perf_counter),
        recorder=recorder,
    )


def _frames(fleet: Fleet, sequence: int) -> list[tuple[str, bytes]]:
    """Nodes, each with a frame of its flows."""
    nodes = spread(fleet, REPORTING)
    batches = [(f"node-{n}", fleet.batch(n, FLOWS, ADDRESSES, sequence)) for n in nodes]
    return [(node, encode_to_server(encode_batch(one, Compression.ZSTD))) for node, one in batches]


def _take(to: Pipeline, frames: list[tuple[str, bytes]]) -> None:
    for node, frame in frames:
        message = decode_to_server(frame)
        if not isinstance(message, EncodedBatch):
            raise TypeError("no batch")
        to.apply(AgentIdentity(node, 1, "postrouting", "bench"), decode_batch(message, Limits()))


def part(name: str, work: Callable[[], _T]) -> _T:
    """What ``work`` returns, and on stderr as soon as it is there, with the time that it took."""
    began = time.monotonic()
    found = work()
    print(f"{name}: {time.monotonic() - began:.0f} s, {found}", file=sys.stderr, flush=True)
    return found


def rss() -> int:
    """Largest resident set so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def main() -> None:
    """Measure and print."""
    small, large = Cluster(2_000, 200, SMALL), Cluster(40_000, 4_000, LARGE)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name in ("small", "large", "asked", "acks"):
            (root / name).mkdir()
        found = part("ingest", in_server_process)
        cpu, size = part("small", lambda: written(small, root / "small", 120, 1, seconds_later=600))
        before = rss()
        large_cpu, large_size = part(
            "large", lambda: written(large, root / "large", 3, 1, seconds_later=7200)
        )
        large_rss = rss()
        hours = RAW // HOUR
        part("three days", lambda: written(small, root / "asked", hours, 60, seconds_later=9000))
        times = part("questions", lambda: asked(root / "asked", T0 + RAW))
        acks = part("acks", lambda: measured(root / "acks"))
        files = listing(root / "asked")
        by_level = {
            level: sum(files.sizes[one] for one in segments)
            for level, segments in files.levels.items()
        }
    day = SMALL * 1440
    finish(
        "history",
        cpu,
        LIMIT_CPU,
        "CPU seconds per million records, against the limit",
        {
            "bytes_a_record": round(size, 1),
            "large_cpu_s_per_million": round(large_cpu, 2),
            "large_bytes_a_record": round(large_size, 1),
            "rss_mib_small": before,
            "rss_mib_large": large_rss,
            **times,
            **found,
            **acks,
            "disk_mb_raw_72h": round(by_level["raw"] / 1e6, 1),
            "disk_mb_hours_35d": round(by_level["hour"] / RAW * 35 * DAY / 1e6, 1),
            "disk_mb_days_400d": round(by_level["day"] / RAW * 400 * DAY / 1e6, 1),
            "disk_mb_node_hours_35d": round(by_level["node_hour"] / RAW * 35 * DAY / 1e6, 1),
            "disk_mb_node_days_400d": round(by_level["node_day"] / RAW * 400 * DAY / 1e6, 1),
            "records_a_day": day,
        },
    )


if __name__ == "__main__":
    main()
