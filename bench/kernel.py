"""Cost of a packet in the kernel: nanoseconds, without the harness, beside a simple baseline.

Each figure is the median over several instances of each program and its maps, because the
placement of a map's entries in memory changes a look-up by up to a half; within an instance the
programs alternate. The time of an empty program of the same type is subtracted. BPF_PROG_TEST_RUN
needs root, the baseline needs clang (bpf/Makefile).

Rows: `none`, `service` and `all` are postrouting with these `--ports`; `tcx` and `clsact` have
`service`.
"""

import os
import statistics
import sys
import threading
from collections.abc import Callable

from lib.programs import HIGH, Subject, images, subjects
from lib.report import finish
from lib.testrun import ACK, SYN, tcp_packet, vxlan_packet

INSTANCES = 9
TURNS = 3
REPEAT = 200_000
MANY_FLOWS = 50_000
MANY_REPEAT = 8
FIRST_FLOWS = 10_000
TOGETHER_REPEAT = 3_000_000
Measure = Callable[[Subject], float]
Rows = dict[str, float]


def packets(kind: str, count: int, flags: int = ACK) -> list[bytes]:
    """``count`` packets, each of another flow; ``kind`` is ipv4, ipv6, or either in vxlan.

    The service's port is the lower one, except with HIGH.
    """
    inner = kind.removesuffix(" in vxlan").removesuffix(HIGH)
    service = 50051 if HIGH in kind else 443
    family, net = (4, "10.{}.{}.{}") if inner == "ipv4" else (6, "fd00::{}:{}:{}")
    made = [
        tcp_packet(
            family,
            net.format(1, n >> 8 & 255, n & 255),
            net.format(2, n >> 16, 7),
            40000,
            service,
            flags=flags,
        )
        for n in range(count)
    ]
    return [vxlan_packet(packet) for packet in made] if "vxlan" in kind else made


def open_connection(subject: Subject) -> None:
    """Show the program a handshake with the service of all packets, as it sees on a node."""
    [packet] = packets(subject.kind, 1, SYN)
    subject.run(packet, 1)


def one_flow(subject: Subject) -> float:
    """The same flow repeatedly: all memory is in the L1 cache."""
    open_connection(subject)
    [packet] = packets(subject.kind, 1)
    return float(subject.run(packet, REPEAT))


def many_flows(subject: Subject) -> float:
    """Many flows in turn, each a few times: caches are cold."""
    open_connection(subject)
    spent = sum(subject.run(packet, MANY_REPEAT) for packet in packets(subject.kind, MANY_FLOWS))
    return spent / MANY_FLOWS


def first_packets(subject: Subject) -> float:
    """The first packet of each of many flows, where the map allocates on demand."""
    open_connection(subject)
    return (
        sum(subject.run(packet, 1) for packet in packets(subject.kind, FIRST_FLOWS)) / FIRST_FLOWS
    )


def both_cores(subject: Subject) -> float:
    """The same flow on two cores at once; the time of the slower one."""
    results: list[float] = []
    together = threading.Barrier(2)
    open_connection(subject)
    [packet] = packets(subject.kind, 1)

    def on(cpu: int) -> None:
        os.sched_setaffinity(0, {cpu})
        together.wait()
        results.append(float(subject.run(packet, TOGETHER_REPEAT)))

    threads = [threading.Thread(target=on, args=(cpu,)) for cpu in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return max(results)


def net(own: dict[str, bytes], measure: Measure, instances: int, turns: int) -> Rows:
    """Medians over instances of the best of a few runs, in nanoseconds, floors subtracted."""
    rows: list[Rows] = []
    for _ in range(instances):
        with subjects(own, 2 * MANY_FLOWS) as found:
            taken = [{name: measure(one) for name, one in found.items()} for _ in range(turns)]
            rows.append({name: min(turn[name] for turn in taken) for name in found})
            floors = {name: one.floor for name, one in found.items() if one.floor}
    medians = {name: statistics.median(row[name] for row in rows) for name in rows[0]}
    return {name: round(medians[name] - medians[floor], 1) for name, floor in floors.items()}


def table(columns: dict[str, Rows]) -> list[str]:
    """The figures as text: a row for each program and kind of packet."""
    width = max(len(name) for name in columns["one flow"])
    lines = [f"{'net ns per packet':<{width}}" + "".join(f"{name:>14}" for name in columns)]
    for row in columns["one flow"]:
        cells = "".join(f"{column[row]:>14.1f}" for column in columns.values() if column)
        lines.append(f"{row:<{width}}{cells}")
    return lines


def main() -> None:
    """Measure and report."""
    own, home = images(), os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(home)})
    one = net(own, one_flow, INSTANCES, TURNS)
    first = net(own, first_packets, 3, 1)
    many = net(own, many_flows, 1, 3)
    os.sched_setaffinity(0, home)
    two = net(own, both_cores, 3, 1) if len(home) > 1 else {}
    more = {
        "one_flow": one,
        "many_flows": many,
        "first_packet_of_a_flow": first,
        "both_cores_one_flow": two,
        "both_cores_ratio": round(two["service ipv4"] / two["baseline"], 3) if two else None,
    }
    if "--json" not in sys.argv[1:]:
        columns = {"one flow": one, "many flows": many, "first packet": first}
        print("\n".join(table(columns | ({"both cores": two} if two else {}))), end="\n\n")
    finish("kernel", one["service ipv4"], one["baseline"], "ns per packet, net", more)


if __name__ == "__main__":
    main()
