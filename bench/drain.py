"""Cost of a drain: read, add up and encode a full buffer. The baseline is a look-up for each row.

A program fills the buffer with packets of 65,536 flows, on one CPU and then on a second one. The
last figures are for rows of 128 CPUs, made without a kernel, because this machine has fewer.
"""

import os
import resource
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from lib.report import finish
from lib.testrun import run, tcp_packet

from kzn.agent.maps import buffers
from kzn.agent.maps.columns import to_flows
from kzn.agent.maps.mapset import MapSet
from kzn.agent.maps.rows import ROW_WORDS, decode, merge
from kzn.agent.maps.structs import ROW_SIZE
from kzn.columns.arrays import U64
from kzn.libbpf.library import ffi, libbpf, possible_cpus
from kzn.model.batch import Batch
from kzn.model.flows import Flows
from kzn.model.totals import Totals
from kzn.probes.attach import MAPS, load
from kzn.probes.postrouting import PROBE
from kzn.probes.settings import Settings
from kzn.wire.codec import encode_to_server
from kzn.wire.compression import Compression
from kzn.wire.encode_batch import encode_batch

FLOWS = 65_536
SOURCES, DESTINATIONS = 250, 2_000
MANY_CPUS = 128
FEW = 1_500
GOALS = {"drain_ms": 60, "clear_ms": 5}
"""Most milliseconds of CPU, of 65,536 flows that one CPU saw."""
TURNS = 7


def packets() -> list[bytes]:
    """A packet of each of the flows, over a typical number of addresses and ports."""
    rng = np.random.default_rng(7)
    src, dst = rng.integers(0, SOURCES, FLOWS), rng.integers(0, DESTINATIONS, FLOWS)
    ports = rng.integers(1, 9000, FLOWS)
    return [
        tcp_packet(4, f"10.0.{s}.9", f"10.{1 + d // 250}.{d % 250}.9", 40_000, int(port), payload=0)
        for s, d, port in zip(src, dst, ports, strict=True)
    ]


def fill(program: int, frames: list[bytes], cpu: int) -> None:
    """Run every packet once on a CPU."""
    home = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    for frame in frames:
        run(program, frame, 1)
    os.sched_setaffinity(0, home)


def encode(flows: Flows, compression: Compression = Compression.ZLIB) -> int:
    """Encode a batch; the length of its frame."""
    batch = Batch(1, 10_000, 0, flows, Totals())
    return len(encode_to_server(encode_batch(batch, compression)))


def drain(maps: MapSet, compression: Compression = Compression.ZLIB) -> int:
    """Drain a buffer into a frame, as an agent does; the length of the frame."""
    return encode(buffers.read_flows(maps, 0), compression)


def one_by_one(maps: MapSet) -> int:
    """The baseline: a look-up and a struct for each row."""
    value, key, total = ffi.new("char[]", ROW_SIZE), ffi.new("__u32 *"), bytearray()
    for place in range(Settings().rows):
        key[0] = place
        libbpf().bpf_map_lookup_elem(maps.fds()["rows"], key, value)
        total += bytes(ffi.buffer(value, ROW_SIZE))[:48]
    return len(total)


def many_cpus() -> U64:
    """Full rows that 128 CPUs share: each flow has been seen by eight of them."""
    rng = np.random.default_rng(7)
    words = np.zeros((FLOWS, ROW_WORDS), np.uint64)
    flow = np.repeat(np.arange(FLOWS // 8, dtype=np.uint64), 8)
    words[:, 0] = (flow % np.uint64(9000)) << np.uint64(32) | np.uint64(2)
    words[:, 1] = np.uint64(4 << 16) | rng.integers(0, MANY_CPUS, FLOWS).astype(np.uint64)
    words[:, 2] = np.uint64(0x0100000A) | (flow % np.uint64(2000)) << np.uint64(48)
    words[:, 6] = np.uint64(1 << 40 | 1500)
    return words


def add_up(words: U64) -> int:
    """Decode, add up and encode rows."""
    rows = decode(words)
    return encode(to_flows(*merge(rows.keys, rows.counts)))


def best(work: Callable[[], object], turns: int = TURNS) -> float:
    """The least CPU time of ``turns`` runs, in milliseconds."""
    taken = []
    for _ in range(turns):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return round(1000 * min(taken), 1)


def peak(work: Callable[[], object]) -> float:
    """Peak memory allocated by ``work``, in MiB, as counted by tracemalloc."""
    tracemalloc.start()
    work()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return round(most / (1 << 20), 1)


def main() -> None:
    """Measure and report."""
    frames, words = packets(), many_cpus()
    with load(PROBE, Settings()) as loaded:
        program = loaded.program_fd(PROBE.hooks[0].program)
        with MapSet({name: os.dup(loaded.map_fd(name)) for name in MAPS}) as maps:
            fill(program, frames, 0)
            flows = len(buffers.read_flows(maps, 0))
            ours = best(lambda: drain(maps))
            baseline = best(lambda: one_by_one(maps), 2)
            more: dict[str, Any] = {
                "flows": flows,
                "in_rows": len(buffers.read_rows(maps, 0).keys),
                "bytes_per_flow": round(drain(maps) / flows, 2),
                "peak_mib": peak(lambda: drain(maps)),
                "with_zstd_ms": best(lambda: drain(maps, Compression.ZSTD)),
                "clear_ms": best(lambda: buffers.clear(maps, 0), 1),
            }
            for cpu in (0, max(os.sched_getaffinity(0))):
                fill(program, frames, cpu)
            more |= {
                "two_cpus_ms": best(lambda: drain(maps)),
                "two_cpus_clear_ms": best(lambda: buffers.clear(maps, 0), 1),
            }
            fill(program, frames[:FEW], 0)
            more |= {
                f"{FEW}_flows_ms": best(lambda: drain(maps)),
                f"{FEW}_flows_clear_ms": best(lambda: buffers.clear(maps, 0), 1),
            }
            more["over_goal"] = [
                name for name, most in GOALS.items() if {**more, "drain_ms": ours}[name] > most
            ]
    more |= {
        "possible_cpus": possible_cpus(),
        f"rows_of_{MANY_CPUS}_cpus_ms": best(lambda: add_up(words)),
        "rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
        "source": Path(__file__).name,
    }
    finish("drain", ours, baseline, "ms of CPU per full buffer", more)


if __name__ == "__main__":
    main()
