"""Many CPUs: each packet is in its flow to the byte, on all CPUs at once, and as CPUs come and go.

For guests (`make vm ARGS="--suite smp"`): it takes CPUs off line. A packet is a run of the loaded
program in a process that stays on one CPU.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from cells import COST, COSTS, SMP
from counting import Counted, attached, tell_devices
from lib.testrun import ACK, SYN, tcp_packet
from matrix import REFUSED
from on_cpus import all_on_line, cpu_list, on_every_cpu, switch
from test_rows import SIZE, datagram, on_cpu

from kzn.agent.maps import buffers
from kzn.agent.maps.mapset import MapSet
from kzn.agent.maps.spool import Spool
from kzn.agent.maps.structs import Role
from kzn.lab import traffic
from kzn.lab.lab import Lab
from kzn.lab.witness import WireKey
from kzn.libbpf.library import possible_cpus
from kzn.libbpf.links import ATTACH_TYPE_NETFILTER, PROG_TYPE_NETFILTER
from kzn.libbpf.objects import BpfObject
from kzn.libbpf.testrun import run_each, run_netfilter, run_tc
from kzn.model.totals import Counts
from kzn.probes import clsact, postrouting
from kzn.probes.attach import MAPS, load
from kzn.probes.settings import MAX_FLOWS, Settings

PROBE = clsact.PROBE if "postrouting" in REFUSED else postrouting.PROBE
RUNS = int(os.environ.get("KZN_SMP_RUNS", "524288"))
"""Packets of the largest test: 65,536 flows on each of 8 CPUs; fewer flows on more CPUs."""
LOOPBACK = 1
"""The output device of test runs."""
REPEAT = 100_000
COST_RUNS = 2_000
COST_FLOWS = 200
COST_CPUS = 16
TURNS = 7
ROOT = Path(__file__).parents[3]
OBJECTS = Path(os.environ.get("KZN_BENCH_OBJECTS", ROOT / "bench"))
"""Of bench/lib/bpf, compiled on the host: the program with which costs are compared."""
Run = Callable[[bytes, int], int]
"""Runs a frame of IPv4 a number of times; nanoseconds of one run."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A loaded program and what it counted."""

    run: Run
    program: int
    maps: MapSet
    counted: Counted


@contextmanager
def subject(max_flows: int) -> Iterator[Subject]:
    """The probe of this kernel, loaded without a hook."""
    with ExitStack() as stack:
        loaded = stack.enter_context(load(PROBE, Settings(max_flows=max_flows)))
        fds = {name: os.dup(loaded.map_fd(name)) for name in MAPS}
        maps = stack.enter_context(MapSet(fds))
        maps.set_devices({LOOPBACK: Role.LEADS_OFF})
        program = loaded.program_fd(PROBE.hooks[0].program)

        def run(frame: bytes, times: int) -> int:
            if PROBE is clsact.PROBE:
                return run_tc(program, frame, repeat=times)[1]
            return run_netfilter(program, frame, repeat=times)[1]

        yield Subject(run, program, maps, Counted(Spool(maps)))


def send_each(one: Subject, frames: list[bytes], start: int = 0) -> None:
    """A packet of each flow; ``start`` is the number of flows to begin after."""
    family = 0 if PROBE is clsact.PROBE else 4
    run_each(one.program, frames[start:], family=family)
    run_each(one.program, frames[:start], family=family)


def datagrams(flows: int) -> list[bytes]:
    """A frame of each flow."""
    return [datagram(4, number) for number in range(flows)]


def counts_of(one: Subject) -> tuple[int, set[Counts]]:
    """The flows of the last drain: how many, and their different counts."""
    flows = one.counted.drain().batches[-1].flows
    found = zip(flows.packets.tolist(), flows.bytes.tolist(), strict=True)
    return len(flows), {Counts(*each) for each in found}


def times(number: int) -> Counts:
    """A number of packets."""
    return Counts(number, number * SIZE[4])


@pytest.fixture
def smp(cell: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The row of this test for the table, with the CPUs of the guest, which all are on line."""
    with all_on_line() as present:
        cell |= {"cpus": len(present), "possible": possible_cpus()}
        yield cell


def test_every_flow_on_every_cpu_is_one_flow_and_none_is_missed_up_to_max_flows(
    smp: dict[str, Any],
) -> None:
    cpus = cpu_list("online")
    smp |= {"smp": SMP[0]}
    flows = min(MAX_FLOWS, RUNS // len(cpus))
    frames = datagrams(flows)
    with subject(flows) as one:
        on_every_cpu(cpus, lambda cpu: send_each(one, frames, cpu * flows // len(cpus)))
        in_rows = len(buffers.read_rows(one.maps, 0).keys)
        in_hash = len(buffers.read_hash(one.maps, 0)[0])
        assert counts_of(one) == (flows, {times(len(cpus))})
        assert one.counted.missed("map_full") == one.counted.missed("busy") == Counts()
        assert one.counted.seen == times(len(cpus) * flows)
    smp |= {"result": "exact", "flows": flows, "rows": in_rows, "hash": in_hash}


def test_flows_beyond_max_flows_are_flows_or_missed_and_every_byte_is_in_one_of_them(
    smp: dict[str, Any],
) -> None:
    cpus = cpu_list("online")
    smp |= {"smp": SMP[2]}
    fit = max(64, 8192 // len(cpus))
    frames = datagrams(4 * fit)
    with subject(fit) as one:
        on_every_cpu(cpus, lambda cpu: send_each(one, frames, cpu * fit // len(cpus)))
        number, _ = counts_of(one)
        missed = one.counted.missed("map_full")
        assert one.counted.seen == times(len(cpus) * 4 * fit)
        assert one.counted.accounted.plus(missed) == one.counted.seen
        assert one.counted.missed("busy") == Counts()
        assert number >= fit
        assert missed.packets > 0
    smp |= {"result": "exact", "flows": number}


def test_one_flow_on_all_cpus_is_one_flow_with_a_row_for_each_cpu(smp: dict[str, Any]) -> None:
    cpus = cpu_list("online")
    smp |= {"smp": SMP[1]}
    repeat = max(1, REPEAT // len(cpus))
    with subject(MAX_FLOWS) as one:
        on_every_cpu(cpus, lambda _: one.run(datagram(4, 0), repeat))
        rows = buffers.read_rows(one.maps, 0)
        places = sorted(rows.cpu.tolist())
        in_hash = buffers.read_hash(one.maps, 0)[1]
        assert set(places) <= set(cpus)
        assert len(places) == len(set(places))
        assert len(places) == len(cpus) or len(in_hash) == 1
        assert counts_of(one) == (1, {times(len(cpus) * repeat)})
    smp |= {"result": "exact", "rows": len(places), "hash": len(in_hash)}


def test_cpus_that_come_after_the_load_and_go_before_the_drain_are_in_the_sums(
    smp: dict[str, Any],
) -> None:
    cpus, flows = cpu_list("online"), datagrams(200)
    smp |= {"smp": SMP[3]}
    late, leaving = cpus[len(cpus) // 2 :], cpus[1 : len(cpus) // 2]
    switch(late, on=False)
    with subject(64) as one:  # most flows are in the hash, and some are missed
        early = cpu_list("online")
        on_every_cpu(early, lambda _: send_each(one, flows))
        switch(late, on=True)
        on_every_cpu(late, lambda _: send_each(one, flows))
        switch(leaving, on=False)
        one.counted.drain()
        closed(one, times(len(cpus) * len(flows)))
        on_every_cpu(cpu_list("online"), lambda _: send_each(one, flows))
        switch(leaving, on=True)
        on_every_cpu(leaving, lambda _: send_each(one, flows))
        one.counted.drain()
        closed(one, times(2 * len(cpus) * len(flows)))
    with subject(256) as one:
        switch(late, on=False)
        on_every_cpu(early, lambda _: send_each(one, flows))
        switch(late, on=True)
        on_every_cpu(late, lambda _: send_each(one, flows))
        switch(leaving, on=False)
        assert counts_of(one) == (len(flows), {times(len(cpus))})
    smp |= {"result": "exact"}


def closed(one: Subject, sent: Counts) -> None:
    """All that was sent is seen, and is in a flow or missed."""
    assert one.counted.seen == sent
    assert one.counted.accounted.plus(one.counted.missed("map_full")) == sent


def test_packets_of_sockets_on_every_cpu_are_counted_with_the_bytes_of_the_uplink(
    lab: Lab, smp: dict[str, Any]
) -> None:
    cpus, node = cpu_list("online"), lab.node("a1")
    smp |= {"smp": SMP[4]}
    a, b = lab.pod("a1-p1"), lab.pod("b1-p1")
    sent: list[traffic.Sent] = []

    def send(cpu: int) -> None:
        os.sched_setaffinity(0, {cpu})
        for family in (4, 6):
            sent.extend(
                traffic.udp(a, b, family, datagrams=32, size=700, mtu=1500, port=5300 + cpu)
            )

    with attached(node, probe=PROBE) as maps:
        tell_devices(maps, node, skip_inbound=True)
        counted = Counted(Spool(maps))
        before = lab.uplink_counters(node)
        threads = [Thread(target=send, args=(cpu,)) for cpu in cpus]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wire = lab.uplink_counters(node).since(before).tx_wire
        counted.drain()
    assert len(sent) == 2 * len(cpus)
    wanted: dict[WireKey, Counts] = {}
    for one in sent:
        assert one.wire is not None
        key = WireKey(one.src, one.dst, one.protocol)
        wanted[key] = wanted.get(key, Counts()).plus(one.wire)
    assert counted.by_key() == wanted
    assert counted.accounted == wire
    assert len(counted.rows) == 2 * len(cpus)
    smp |= {"result": "exact", "packets": wire.packets}


def test_costs_beside_the_plain_baseline(smp: dict[str, Any]) -> None:
    """Ratios only, of one CPU after another: emulated CPUs take turns and have no caches."""
    cpus = cpu_list("online")[:COST_CPUS]
    smp |= {"smp": COST}
    frames = [packet(number) for number in range(COST_FLOWS)]
    with subject(MAX_FLOWS) as own, plain("baseline") as theirs, plain("empty") as empty:
        own.run(packet(0, SYN), 1)  # the service is known, as on a node
        ratios = {}
        for name, each in zip(COSTS, (frames[:1], frames), strict=True):
            ours, others, floor = best((own.run, theirs, empty), cpus, each)
            ratios[name] = round((ours - floor) / (others - floor), 2)
    smp |= {"ratios": ratios, "result": "measured"}


def packet(number: int, flags: int = ACK) -> bytes:
    """A TCP segment of a flow of its own, to one service."""
    client = f"10.1.{number >> 8}.{number & 255}"
    return tcp_packet(4, client, "10.2.0.7", 40_000, 443, flags=flags)


def best(runs: tuple[Run, ...], cpus: list[int], frames: list[bytes]) -> list[float]:
    """Nanoseconds of a packet for each program: the mean of CPUs and flows, of each its least, for
    other work of the host comes in between.
    """
    repeat = COST_RUNS // len(frames)
    least = np.full((len(runs), len(cpus), len(frames)), np.inf)
    for at, cpu in enumerate(cpus):
        with on_cpu(cpu):
            for _ in range(TURNS):
                for number, run in enumerate(runs):
                    taken = [run(frame, repeat) for frame in frames]
                    least[number, at] = np.minimum(least[number, at], taken)
    return [float(each) for each in least.mean(axis=(1, 2))]


@contextmanager
def plain(name: str) -> Iterator[Run]:
    """A program of the bench, loaded."""
    with BpfObject((OBJECTS / f"{name}.o").read_bytes(), name) as loaded:
        loaded.set_program_type(PROG_TYPE_NETFILTER, ATTACH_TYPE_NETFILTER)
        loaded.load()
        program = loaded.program_fd(name)
        yield lambda frame, times: run_netfilter(program, frame, repeat=times)[1]
