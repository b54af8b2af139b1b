"""What a packet costs in the kernel: nanoseconds net of the harness, beside a plain baseline.

Each figure is the median over several instances of each program and its maps, since where the
allocator happens to put a map's entries changes a look-up by up to a half; within an instance the
programs take turns. The floor is an empty program. BPF_PROG_TEST_RUN needs root, the baseline
needs clang (bpf/Makefile).
"""

import os
import statistics
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from lib.report import finish
from lib.testrun import compile_object, run, tcp_packet

from kzn.libbpf.links import ATTACH_TYPE_NETFILTER, PROG_TYPE_NETFILTER
from kzn.libbpf.objects import BpfObject
from kzn.probes.attach import load
from kzn.probes.postrouting import PROBE
from kzn.probes.settings import Settings

INSTANCES = 9
TURNS = 3
REPEAT = 200_000
MANY_FLOWS = 50_000
MANY_REPEAT = 8
FIRST_FLOWS = 10_000
TOGETHER_REPEAT = 3_000_000
SOURCES = Path(__file__).parent / "lib" / "bpf"
Measure = Callable[[int, int], float]


@contextmanager
def plain(name: str, image: bytes) -> Iterator[int]:
    """A program of the bench's own, loaded for the length of the block: its descriptor."""
    with BpfObject(image, name) as loaded:
        loaded.set_program_type(PROG_TYPE_NETFILTER, ATTACH_TYPE_NETFILTER)
        loaded.load()
        yield loaded.program_fd(name)


def packets(family: int, count: int) -> list[bytes]:
    """That many packets of as many flows."""
    net = "10.{}.{}.{}" if family == 4 else "fd00::{}:{}:{}"
    return [
        tcp_packet(
            family, net.format(1, n >> 8 & 255, n & 255), net.format(2, n >> 16, 7), 40000, 443
        )
        for n in range(count)
    ]


def one_flow(program: int, family: int) -> float:
    """One flow over and over: everything is in the nearest cache."""
    [packet] = packets(family, 1)
    return float(run(program, packet, REPEAT, family))


def many_flows(program: int, family: int) -> float:
    """Many flows one after the other, each a few times: caches and buckets are cold."""
    spent = sum(run(program, packet, MANY_REPEAT, family) for packet in packets(family, MANY_FLOWS))
    return spent / MANY_FLOWS


def first_packets(program: int, family: int) -> float:
    """The first packet of each of many flows, where the map allocates on demand."""
    return (
        sum(run(program, packet, 1, family) for packet in packets(family, FIRST_FLOWS))
        / FIRST_FLOWS
    )


def both_cores(program: int, family: int) -> float:
    """Two cores at once on the same flow: the slower one."""
    results: list[float] = []
    together = threading.Barrier(2)

    def on(cpu: int) -> None:
        os.sched_setaffinity(0, {cpu})
        together.wait()
        results.append(float(run(program, packets(family, 1)[0], TOGETHER_REPEAT, family)))

    threads = [threading.Thread(target=on, args=(cpu,)) for cpu in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return max(results)


def instance(images: dict[str, bytes], measure: Measure, turns: int) -> dict[str, float]:
    """One instance of every program: the best of a few turns each, in nanoseconds."""
    with ExitStack() as stack:
        programs = {
            (name, 4): stack.enter_context(plain(name, image)) for name, image in images.items()
        }
        for ports in ("none", "service", "all"):
            loaded = stack.enter_context(
                load(PROBE, Settings(ports=ports, max_flows=2 * MANY_FLOWS))
            )
            for family, hook in zip((4, 6), PROBE.hooks, strict=True):
                programs[f"{ports} ipv{family}", family] = loaded.program_fd(hook.program)
        taken = [
            {name: measure(program, family) for (name, family), program in programs.items()}
            for _ in range(turns)
        ]
    return {name: min(turn[name] for turn in taken) for name in taken[0]}


def net(images: dict[str, bytes], measure: Measure, instances: int, turns: int) -> dict[str, float]:
    """Medians over instances, the empty program's taken off."""
    rows = [instance(images, measure, turns) for _ in range(instances)]
    medians = {name: statistics.median(row[name] for row in rows) for name in rows[0]}
    floor = medians.pop("empty")
    return {name: round(value - floor, 1) for name, value in medians.items()}


def main() -> None:
    """Measure and report."""
    images = {name: compile_object(SOURCES / f"{name}.bpf.c") for name in ("empty", "baseline")}
    home = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(home)})
    one = net(images, one_flow, INSTANCES, TURNS)
    first = net(images, first_packets, 3, 1)
    many = net(images, many_flows, 1, 3)
    os.sched_setaffinity(0, home)
    two = net(images, both_cores, 3, 1) if len(home) > 1 else {}
    more = {
        "one_flow": one,
        "many_flows": many,
        "first_packet_of_a_flow": first,
        "both_cores_one_flow": two,
        "both_cores_ratio": round(two["service ipv4"] / two["baseline"], 3) if two else None,
    }
    finish("kernel", one["service ipv4"], one["baseline"], "ns per packet, net", more)


if __name__ == "__main__":
    main()
