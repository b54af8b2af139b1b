"""Cost of a drain: read, fold and encode a full buffer; the baseline is one look-up for each flow.

The second part folds and encodes the same flows with the counts of 128 CPUs, taken from an array
instead of a map, because this machine has fewer.
"""

import errno
import resource
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from lib.report import finish

from kzn.agent.maps import buffers
from kzn.agent.maps.mapset import MapSet
from kzn.agent.pins.install import unpinned
from kzn.libbpf.library import check, ffi, libbpf, possible_cpus
from kzn.libbpf.map_batch import CHUNK_BYTES
from kzn.model import ip
from kzn.model.batch import Batch
from kzn.model.flows import FLOW_COUNTS, FLOW_KEY
from kzn.model.totals import Totals
from kzn.probes.postrouting import PROBE
from kzn.probes.settings import Settings
from kzn.wire.codec import encode_to_server
from kzn.wire.encode_batch import encode_batch

FLOWS = 65_536
ADDRESSES = 2_000
MANY_CPUS = 128
TURNS = 7
REFILLS = 500
REFILL_SECONDS = 0.01


def keys() -> npt.NDArray[Any]:
    """As many keys as a buffer holds, over a typical number of addresses."""
    rng = np.random.default_rng(7)
    names = [ip.pack(f"10.{n >> 8}.{n & 255}.9") for n in range(ADDRESSES)]
    addresses = np.frombuffer(b"".join(names), np.uint8).reshape(-1, 16)
    made = np.zeros(FLOWS, FLOW_KEY)
    made["src"] = addresses[rng.integers(0, ADDRESSES // 8, FLOWS)]
    made["dst"] = addresses[rng.integers(0, ADDRESSES, FLOWS)]
    made["port"] = rng.integers(1, 9000, FLOWS)
    made["protocol"] = 6
    return np.unique(made)


def fill(maps: MapSet, rows: npt.NDArray[Any]) -> None:
    """Write counts for every CPU into buffer 0.

    The kernel refills its caches of per-CPU memory in the background: on a busy machine it has none
    for a moment (ENOMEM), whatever memory there is.
    """
    values = np.ones((len(rows), possible_cpus()), FLOW_COUNTS)
    values["bytes"] = 1500
    done, count = 0, ffi.new("__u32 *")
    for _ in range(REFILLS):
        count[0] = len(rows) - done
        made = ffi.from_buffer(rows[done:].view(np.uint8))
        put = ffi.from_buffer(values[done:].view(np.uint8))
        result = libbpf().bpf_map_update_batch(maps.flows(0).fd, made, put, count, ffi.NULL)
        done += count[0]
        if result != -errno.ENOMEM:
            check(result, "fill")
            return
        time.sleep(REFILL_SECONDS)
    check(result, "fill")


def drain(maps: MapSet) -> int:
    """Drain a buffer into a frame, as an agent does; the length of the frame."""
    flows = buffers.read_flows(maps, 0)
    return len(encode_to_server(encode_batch(Batch(1, 10_000, 0, flows, Totals()))))


def one_by_one(maps: MapSet, rows: npt.NDArray[Any]) -> int:
    """The baseline: a look-up, a sum and a struct for each flow."""
    values = np.zeros(possible_cpus(), FLOW_COUNTS)
    target, fd, total = ffi.from_buffer(values.view(np.uint8)), maps.flows(0).fd, bytearray()
    for row in rows:
        libbpf().bpf_map_lookup_elem(fd, ffi.from_buffer(row.tobytes()), target)
        total += row.tobytes() + int(values["bytes"].sum()).to_bytes(8)
    return len(total)


def many_cpus(rows: npt.NDArray[Any]) -> None:
    """Fold and encode counts of many CPUs, in chunks of the size that the agent reads."""
    chunk = CHUNK_BYTES
    step = max(256, chunk // (rows.dtype.itemsize + FLOW_COUNTS.itemsize * MANY_CPUS))
    values = np.ones((step, MANY_CPUS), FLOW_COUNTS)

    def chunks(*_: object) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
        for first in range(0, len(rows), step):
            some = rows[first : first + step]
            yield some, values[: len(some)]

    flows = buffers.fold_flows(chunks())
    encode_batch(Batch(1, 10_000, 0, flows, Totals()))


def best(work: Callable[[], object], turns: int = TURNS) -> float:
    """The fastest of ``turns`` runs, in milliseconds."""
    taken = []
    for _ in range(turns):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return 1000 * min(taken)


def peak(work: Callable[[], object]) -> float:
    """Peak memory allocated by ``work``, in MiB, as counted by tracemalloc."""
    tracemalloc.start()
    work()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return round(most / (1 << 20), 1)


def main() -> None:
    """Measure and report."""
    rows = keys()
    with unpinned(PROBE, Settings()) as maps:
        fill(maps, rows)
        ours = best(lambda: drain(maps))
        baseline = best(lambda: one_by_one(maps, rows), 2)
        more = {
            "flows": len(rows),
            "cpus": possible_cpus(),
            "bytes_per_flow": round(drain(maps) / len(rows), 2),
            "peak_mib": peak(lambda: drain(maps)),
            "clear_ms": round(best(lambda: buffers.clear(maps, 0), 1), 1),
            "many_cpus": MANY_CPUS,
            "many_cpus_fold_encode_ms": round(best(lambda: many_cpus(rows)), 1),
            "rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
            "source": Path(__file__).name,
        }
    finish("drain", ours, baseline, "ms per full buffer", more)


if __name__ == "__main__":
    main()
