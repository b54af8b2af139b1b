"""Rows and the hash behind them: exact over carries, collisions, overflow and several CPUs."""

import os
import random
import secrets
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import pytest
from counting import Bench, Counted, WireKey, loaded, rows
from row_hash import IDENTITY, PLACES, low_half, row_hash

from kzn.agent.maps import buffers
from kzn.agent.maps.mapset import MapSet
from kzn.agent.maps.rows import ROW_WORDS
from kzn.agent.maps.senders import Senders
from kzn.agent.maps.spool import Spool
from kzn.agent.maps.structs import ROW_SIZE
from kzn.columns.arrays import U64
from kzn.libbpf.maps import Map
from kzn.libbpf.testrun import run_netfilter, run_tc
from kzn.model import ip
from kzn.model.totals import Counts
from kzn.probes import postrouting, tcx
from kzn.probes.attach import MAPS, load
from kzn.probes.declaration import Probe
from kzn.probes.settings import FACTORS, PortsMode, Settings

PAYLOAD = 72
SIZE = {4: 28 + PAYLOAD, 6: 48 + PAYLOAD}
"""L3 bytes of each packet, by family."""
FlowId = tuple[WireKey, int, int, int]
BYTES, PACKETS = 2**39, 2**23
"""What is moved to the carry at once."""


def datagram(family: int, number: int) -> bytes:
    """An Ethernet frame of a flow of its own."""
    udp = struct.pack("!HHHH", 40_000, 1 + number % 30_000, 8 + PAYLOAD, 0) + bytes(PAYLOAD)
    last = 1 + number // 30_000
    if family == 4:
        ends = ip.pack("10.0.0.1")[12:] + ip.pack(f"10.0.1.{last}")[12:]
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 1, 0x4000, 64, 17, 0)
        return bytes(12) + b"\x08\x00" + head + ends + udp
    ends = ip.pack("fd00::1") + ip.pack(f"fd00::1:{last}")
    return bytes(12) + b"\x86\xdd" + struct.pack("!IHBB", 6 << 28, len(udp), 17, 64) + ends + udp


def give(bench: Bench, family: int, flows: range, packets: int = 1) -> Counts:
    """Run packets of flows through the program; what they add up to."""
    for number in flows:
        for _ in range(packets):
            bench.give(datagram(family, number), family)
    total = len(flows) * packets
    return Counts(total, total * SIZE[family])


def words(maps: MapSet, buffer: int = 0) -> U64:
    """The rows of a buffer, shared with the kernel."""
    size = maps.row_capacity() * ROW_SIZE
    view = Map(maps.fds()["rows"], "rows").mapped(buffer * size, size, writable=True)
    return np.frombuffer(view, np.uint64).reshape(-1, ROW_WORDS)


@contextmanager
def on_cpu(cpu: int) -> Iterator[None]:
    """Run this thread on one CPU within the block."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize("family", [4, 6])
def test_counts_beyond_2_to_the_39_bytes_and_2_to_the_23_packets_are_exact(family: int) -> None:
    with loaded() as bench:
        sent = give(bench, family, range(1))
        rows = words(bench.maps)
        [at] = np.flatnonzero(rows[:, 0])
        # As if the flow had had nearly 2^39 bytes in nearly 2^23 packets before.
        rows[at, 6] = np.uint64((PACKETS - 2) << 40 | BYTES - 2 * SIZE[family])
        sent = Counts(PACKETS - 2, BYTES - 2 * SIZE[family])
        sent = sent.plus(give(bench, family, range(1), packets=5))
        assert int(rows[at, 7]) == 1 << 32 | 1
        flows = buffers.read_flows(bench.maps, 0)
        assert (flows.packets.tolist(), flows.bytes.tolist()) == ([sent.packets], [sent.bytes])
        del rows


def test_seen_beyond_2_to_the_39_bytes_is_exact() -> None:
    with loaded() as bench, on_cpu(0):
        give(bench, 4, range(1))
        raw = bytearray(bench.maps.totals.read(0, 256 * os.sysconf("SC_NPROCESSORS_CONF")))
        struct.pack_into("<QQ", raw, 0, (PACKETS - 1) << 40 | BYTES - SIZE[4], 3)
        bench.maps.totals.write(0, bytes(raw))
        give(bench, 4, range(1), packets=2)
        seen = buffers.read_totals(bench.maps, 0).seen
        assert seen == Counts(PACKETS + 1, 4 * BYTES + SIZE[4])


@pytest.mark.parametrize("family", [4, 6])
def test_flows_that_collide_are_exact_in_four_rows_and_the_hash(
    family: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secrets, "randbits", lambda _: 0)  # every factor is 1
    with loaded() as bench, on_cpu(0):
        give(bench, family, range(40), packets=3)
        assert len(buffers.read_rows(bench.maps, 0).keys) == 4
        assert len(buffers.read_hash(bench.maps, 0)[0]) == 36
        flows = bench.counted.drain().rows
        assert len(flows) == 40
        assert {row.counts for row in flows} == {Counts(3, 3 * SIZE[family])}


def test_the_hash_of_rows_is_that_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(9)
    factors = [rng.getrandbits(64) | 1 for _ in range(FACTORS)]
    numbers = iter(factors)
    monkeypatch.setattr(secrets, "randbits", lambda _: next(numbers))
    with loaded() as bench:
        give(bench, 4, range(0, 60_000, 5_000))
        give(bench, 6, range(0, 60_000, 5_000))
        places, capacity = words(bench.maps), bench.maps.row_capacity()
        [at] = np.nonzero(places[:, 0])
        found = places[at].copy()
        del places
    assert len(found) == 24
    hashes = row_hash(found[:, :IDENTITY], factors)
    assert np.array_equal(found[:, 0] & np.uint64(0xFFFFFFFF), low_half(hashes))
    first = (hashes >> np.uint64(64 - capacity.bit_length() + 1)).astype(np.int64)
    assert ((at - first) % capacity < PLACES).all()


def test_flows_that_collide_at_one_load_do_not_at_another() -> None:
    with loaded() as bench, on_cpu(0):  # those of the test before, with random factors
        give(bench, 4, range(40))
        assert buffers.count_entries(bench.maps, 0).rows >= 20


def test_a_sender_that_knows_the_factors_costs_others_no_row_and_no_byte(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    factors = iter([0x9E37_79B9_7F4A_7C15, 0, 0, 0, 0, 0])  # that of ports is 1
    monkeypatch.setattr(secrets, "randbits", lambda _: next(factors))
    with loaded(Settings(max_flows=64)) as bench, on_cpu(0):
        flood = give(bench, 4, range(200))  # differ in their ports alone
        assert buffers.count_entries(bench.maps, 0) == buffers.Entries(4, 64)
        others = give(bench, 4, range(30_000, 630_000, 30_000), packets=3)
        assert buffers.count_entries(bench.maps, 0) == buffers.Entries(4 + 20, 64)
        counted = bench.counted.drain()
        assert counted.seen == flood.plus(others)
        assert counted.missed("map_full") == Counts(200 - 68, (200 - 68) * SIZE[4])
        assert sum(row.counts == Counts(3, 3 * SIZE[4]) for row in counted.rows) == 20


def test_the_last_place_is_followed_by_the_first_of_the_same_buffer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    addresses = int.from_bytes(datagram(4, 0)[26:34], "big")  # both addresses, odd
    factor = -pow(addresses, -1, 1 << 64) % (1 << 64)  # their product is -1
    factors = iter([factor, 0, 0, 0, (1 << 64) - 1, 0])  # that of ports is -1
    monkeypatch.setattr(secrets, "randbits", lambda _: next(factors))
    with loaded(Settings(max_flows=32)) as bench, on_cpu(0):
        sent = give(bench, 4, range(8))
        taken = np.flatnonzero(words(bench.maps)[:, 0])
        assert taken.tolist() == [0, 1, 2, 63]
        assert not words(bench.maps, 1).any()
        assert bench.counted.drain().accounted == sent


def test_a_row_whose_creation_is_interrupted_is_passed_over_and_both_rows_are_added_up() -> None:
    with loaded() as bench, on_cpu(0):
        sent = give(bench, 4, range(1))
        rows = words(bench.maps)
        [first] = np.flatnonzero(rows[:, 0])
        made = rows[first].copy()
        rows[first, 0] = 1  # taken, and not yet published
        sent = sent.plus(give(bench, 4, range(1), packets=3))
        assert np.count_nonzero(rows[:, 0]) == 2
        rows[first] = made  # what was interrupted goes on
        sent = sent.plus(give(bench, 4, range(1)))
        assert sorted(buffers.read_rows(bench.maps, 0).counts[:, 0].tolist()) == [2, 3]
        del rows
        [flow] = bench.counted.drain().rows
        assert flow.counts == sent == bench.counted.seen


@pytest.mark.parametrize("family", [4, 6])
def test_flows_beyond_rows_and_hash_are_missed_and_all_others_exact(family: int) -> None:
    with loaded(Settings(max_flows=64)) as bench, on_cpu(0):
        sent = give(bench, family, range(300))
        used = buffers.count_entries(bench.maps, 0)
        rows = len(buffers.read_rows(bench.maps, 0).keys)
        assert used == buffers.Entries(rows, 64)
        reader = buffers.Reader(Senders)
        reader.read_flows(bench.maps, 0)
        assert reader.entries == {0: used}
        counted = bench.counted.drain()
        assert 0 < rows <= 128
        assert len(counted.rows) == rows + 64
        left = 300 - rows - 64
        assert counted.missed("map_full") == Counts(left, left * SIZE[family])
        assert counted.seen == sent


def test_a_flow_on_two_cpus_is_one_flow_with_two_rows() -> None:
    with loaded() as bench:
        for cpu in (0, 1):
            with on_cpu(cpu):
                give(bench, 4, range(3), packets=1 + cpu)
        rows = buffers.read_rows(bench.maps, 0)
        assert sorted(rows.cpu.tolist()) == [0, 0, 0, 1, 1, 1]
        assert sorted(rows.counts[:, 0].tolist()) == [1, 1, 1, 2, 2, 2]
        assert [row.counts for row in bench.counted.drain().rows] == [Counts(3, 3 * SIZE[4])] * 3


def test_a_drained_buffer_is_empty_and_keeps_nothing_of_its_last_use() -> None:
    with loaded(Settings(max_flows=64)) as bench, on_cpu(0):
        for turn in range(4):
            give(bench, 4, range(200 * turn, 200 * turn + 150))
            bench.counted.drain()
            assert not words(bench.maps, turn % 2).any()
            assert not len(buffers.read_hash(bench.maps, turn % 2)[0])
        assert {row.counts for row in bench.counted.rows} == {Counts(1, SIZE[4])}


def test_two_cpus_that_overflow_small_rows_are_exact_over_many_drains() -> None:
    turns, flows = 60, range(90)
    frames = [datagram(4, number) for number in flows]
    with loaded(Settings(max_flows=64)) as bench:
        program, ended = bench.programs[4], threading.Event()

        def send(cpu: int, sent: list[int]) -> None:
            os.sched_setaffinity(0, {cpu})
            while not ended.is_set():
                for frame in frames:
                    run_netfilter(program, frame, family=4, repeat=50)
                sent.append(len(frames) * 50)

        counts: list[list[int]] = [[], []]
        threads = [threading.Thread(target=send, args=(cpu, counts[cpu])) for cpu in (0, 1)]
        for thread in threads:
            thread.start()
        for _ in range(turns):
            bench.counted.drain()
        ended.set()
        for thread in threads:
            thread.join()
        total = sum(map(sum, counts))
        counted = bench.counted.drain().drain()
        assert counted.seen == Counts(total, total * SIZE[4])
        missed = counted.missed("map_full").plus(counted.missed("busy"))
        assert counted.accounted.plus(missed) == counted.seen
        assert len(counted.by_key()) == 1


def random_frames(seed: int, count: int) -> list[tuple[int, bytes]]:
    """Frames of TCP and UDP of both families, with what takes the full path among them."""
    chance = random.Random(seed)
    frames = []
    for _ in range(count):
        family, protocol = chance.choice((4, 6)), chance.choice((6, 6, 17, 17, 1, 132))
        ports = [60_000, chance.choice((22, 443, 4500, 4789, 8472, 50051, 51820))]
        chance.shuffle(ports)
        flags = chance.choice((0x10, 0x18, 0x11, 0x04))  # no handshakes: test_initiator.py
        head = struct.pack("!HHIIBBHHH", *ports, 1, 1, 5 << 4, flags, 500, 0, 0)
        body = head + bytes(chance.randrange(200))
        if family == 4:
            options = chance.choice((0, 0, 0, 1, 10))
            fragment = chance.choice((0, 0x4000, 0x4000, 0x2000, 0x0010))
            length = 20 + 4 * options + len(body)
            ends = ip.pack("10.0.0.1")[12:] + ip.pack(f"10.0.1.{chance.randrange(1, 4)}")[12:]
            ip_head = struct.pack(
                "!BBHHHBBH", 0x45 + options, 0, length, 1, fragment, 64, protocol, 0
            )
            frames.append(
                (4, bytes(12) + b"\x08\x00" + ip_head + ends + bytes([1] * 4 * options) + body)
            )
        else:
            ends = ip.pack("fd00::1") + ip.pack(f"fd00::1:{chance.randrange(1, 4)}")
            ip_head = struct.pack("!IHBB", 6 << 28, len(body), protocol, 64)
            frames.append((6, bytes(12) + b"\x86\xdd" + ip_head + ends + body))
    return frames


@contextmanager
def flows_of(
    probe: Probe, ports: PortsMode
) -> Iterator[Callable[[list[tuple[int, bytes]], int], dict[FlowId, Counts]]]:
    """A function that gives frames to the probe so many times; what a drain then has."""
    with load(probe, Settings(ports=ports)) as program, ExitStack() as stack:
        fds = {name: os.dup(program.map_fd(name)) for name in MAPS}
        counted = Counted(Spool(stack.enter_context(MapSet(fds))))

        def run(frames: list[tuple[int, bytes]], times: int) -> dict[FlowId, Counts]:
            for family, frame in frames * times:
                hook = probe.hooks[min(family // 6, len(probe.hooks) - 1)]
                if probe is tcx.PROBE:
                    run_tc(program.program_fd(hook.program), frame)
                else:
                    run_netfilter(program.program_fd(hook.program), frame, family=family)
            flows: dict[FlowId, Counts] = {}
            for row in rows(counted.drain().batches[-1]):
                key = (row.key, row.src_port, row.dst_port, row.flags)
                flows[key] = flows.get(key, Counts()).plus(row.counts)
            return flows

        yield run


@pytest.mark.parametrize("ports", ["service", "all", "none"])
def test_the_short_path_finds_the_key_and_the_counts_of_the_full_one(ports: PortsMode) -> None:
    frames = random_frames(7, 120)
    with flows_of(tcx.PROBE, ports) as at_tc, flows_of(postrouting.PROBE, ports) as at_netfilter:
        # At tc the first packet of a flow in a buffer takes the full path, the others the short
        # one. At POSTROUTING both paths make flows, and a flow has the same key as at tc.
        once: dict[FlowId, Counts] = {}
        for frame in frames:
            for key, counts in at_tc([frame], 1).items():
                once[key] = once.get(key, Counts()).plus(counts)
        four = {key: Counts(4 * each.packets, 4 * each.bytes) for key, each in once.items()}
        assert len(four) > 15
        assert at_tc(frames, 4) == four
        assert at_netfilter(frames, 1) == once
        assert at_netfilter(frames, 4) == four
