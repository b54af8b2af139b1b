"""Cost of a packet in the kernel: nanoseconds, without the harness, beside a simple baseline.

Each figure is the median over several instances of each program and its maps, because the
placement of a map's entries in memory changes a look-up by up to a half; within an instance it is
the best of many short turns, in which the programs alternate: a busy machine disturbs only some of
them. The time of an empty program of the same type is subtracted. BPF_PROG_TEST_RUN needs root, the
baseline needs clang (bpf/Makefile). On real packets: lib/realpackets.py.

Rows: `none`, `service` and `all` are postrouting with these `--ports`; `tcx` and `clsact` have
`service`. "Both cores on one flow" has two figures: a cache line that both write may stay with one
core for a while (fast) or go back and forth (slow).
"""

import os
import statistics
import sys
import threading
from collections.abc import Callable, Collection
from functools import cache

from lib import realpackets
from lib.programs import HIGH, Subject, images, subjects
from lib.report import finish, warn_of_load
from lib.testrun import ACK, SYN, tcp_packet, vxlan_packet

INSTANCES = 3
TURNS = 40
REPEAT = 20_000
MANY_FLOWS = 50_000
MANY_REPEAT = 8
MANY_TURNS = 3
FIRST_FLOWS = 5_000
TOGETHER_REPEAT = 200_000
TOGETHER_TURNS = 24
MANY = ("service ipv4", "service ipv6", "tcx ipv4", "tcx ipv6", "baseline", "empty", "empty_tc")
TOGETHER = ("service ipv4", "baseline", "empty")
GOALS = {
    "one_flow_ipv4": 0.8,
    "one_flow_ipv6": 0.9,
    "many_flows_ipv4": 1.1,
    "many_flows_ipv6": 1.25,
    "both_cores_of_the_slow_baseline": 0.5,
    "real_one_flow": 1.2,
    "real_1000_flows": 0.8,
}
"""The ratios to the baseline that postrouting with `--ports service` is to stay below."""
Measure = Callable[[Subject], float]
Rows = dict[str, float]
Turns = dict[str, list[float]]
Names = Collection[str]


@cache
def packets(kind: str, count: int, flags: int = ACK, net: int = 1) -> list[bytes]:
    """``count`` packets, each of another flow; ``kind`` is ipv4, ipv6, or either in vxlan.

    The service's port is the lower one, except with HIGH.
    """
    inner = kind.removesuffix(" in vxlan").removesuffix(HIGH)
    service = 50051 if HIGH in kind else 443
    family, form = (4, "10.{}.{}.{}") if inner == "ipv4" else (6, "fd00::{}:{}:{}")
    made = [
        tcp_packet(
            family,
            form.format(net, n >> 8 & 255, n & 255),
            form.format(200, n >> 16, 7),
            40000,
            service,
            payload=100,
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
    """The first packet of each of many flows: the median, since on a busy machine few take most."""
    open_connection(subject)
    flows = packets(subject.kind, FIRST_FLOWS, net=3)
    return float(statistics.median(subject.run(packet, 1) for packet in flows))


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


def taken(found: dict[str, Subject], measure: Measure, turns: int, names: Names = ()) -> Turns:
    """What each program took in each of the turns."""
    rows = {name: one for name, one in found.items() if name in names or not names}
    alternating = [{name: measure(one) for name, one in rows.items()} for _ in range(turns)]
    return {name: [turn[name] for turn in alternating] for name in rows}


def net(found: dict[str, Subject], turns: Turns, pick: Callable[[list[float]], float]) -> Rows:
    """Nanoseconds over the empty program of the same type."""
    return {
        name: pick(values) - pick(turns[found[name].floor])
        for name, values in turns.items()
        if found[name].floor
    }


def slow(turns: list[float]) -> float:
    """The upper quartile."""
    return sorted(turns)[3 * len(turns) // 4]


def measured(own: dict[str, bytes]) -> dict[str, Rows]:
    """All columns of test runs, of one instance of each program."""
    columns: dict[str, Rows] = {}
    home = os.sched_getaffinity(0)
    with subjects(own, 2 * MANY_FLOWS) as found:
        os.sched_setaffinity(0, {max(home)})
        columns["one flow"] = net(found, taken(found, one_flow, TURNS), min)
        os.sched_setaffinity(0, home)
        if len(home) > 1:  # before the rows fill up
            both = taken(found, both_cores, TOGETHER_TURNS, TOGETHER)
            columns["both, fast"] = net(found, both, min)
            columns["both, slow"] = net(found, both, slow)
        os.sched_setaffinity(0, {max(home)})
        columns["first packet"] = net(found, taken(found, first_packets, 1), min)
        columns["many flows"] = net(found, taken(found, many_flows, MANY_TURNS, MANY), min)
        os.sched_setaffinity(0, home)
    return columns


def medians(instances: list[dict[str, Rows]]) -> dict[str, Rows]:
    """The medians over the instances."""
    return {
        column: {
            row: round(statistics.median(each[column][row] for each in instances), 1)
            for row in rows
        }
        for column, rows in instances[0].items()
    }


def table(columns: dict[str, Rows]) -> list[str]:
    """The figures as text: a row for each program and kind of packet."""
    width = max(len(name) for name in columns["one flow"])
    lines = [f"{'net ns per packet':<{width}}" + "".join(f"{name:>17}" for name in columns)]
    for row in columns["one flow"]:
        cells = "".join(
            f"{column[row]:>17.1f}" if row in column else f"{'-':>17}"
            for column in columns.values()
        )
        lines.append(f"{row:<{width}}{cells}")
    return lines


def ratios(columns: dict[str, Rows]) -> dict[str, float]:
    """What `GOALS` limits."""

    def ratio(column: str, row: str = "service ipv4", of: str = "") -> float:
        baseline = columns[of or column]["baseline"]
        return round(columns[column][row] / baseline, 2) if baseline else 0.0

    found = {
        "one_flow_ipv4": ratio("one flow"),
        "one_flow_ipv6": ratio("one flow", "service ipv6"),
        "many_flows_ipv4": ratio("many flows"),
        "many_flows_ipv6": ratio("many flows", "service ipv6"),
        "first_packet": ratio("first packet"),
        "first_packet_without_ports": ratio("first packet", "none ipv4"),
        "real_one_flow": ratio("real, 1 flow"),
        "real_1000_flows": ratio("real, 1000 flows"),
    }
    if "both, slow" in columns:
        found["both_cores_of_the_slow_baseline"] = ratio("both, slow")
        found["both_cores_of_the_fast_baseline"] = ratio("both, fast")
    return found


def main() -> None:
    """Measure and report."""
    warn_of_load()
    own = images()
    load = os.getloadavg()[0]
    columns = medians([measured(own) for _ in range(INSTANCES)]) | realpackets.measure(own)
    found = ratios(columns)
    more = {
        "ratios": found,
        "over_goal": [name for name, most in GOALS.items() if found.get(name, 0) > most],
        "load_before": round(load, 1),
        "first_packet_ns": columns["first packet"]["service ipv4"],
        "columns": columns,
    }
    if "--json" not in sys.argv[1:]:
        print("\n".join(table(more.pop("columns"))), end="\n\n")
    one = columns["one flow"]
    finish("kernel", one["service ipv4"], one["baseline"], "ns per packet, net", more)


if __name__ == "__main__":
    main()
