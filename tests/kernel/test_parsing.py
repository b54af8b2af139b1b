"""Malformed and unusual packets, run one by one: all of them are in the totals."""

import random
import struct
from collections.abc import Iterator

import pytest
from counting import Bench, loaded

from kzn.libbpf.testrun import MIN_FRAME
from kzn.model import ip
from kzn.model.totals import Counts

ETHERNET = {4: bytes(12) + b"\x08\x00", 6: bytes(12) + b"\x86\xdd"}
HERE = {4: "10.7.0.1", 6: "fd00:7::1"}
THERE = {4: "10.8.0.2", 6: "fd00:8::2"}
TCP, UDP, SCTP, HOPOPTS, ROUTING, FRAGMENT, AH, DSTOPTS = 6, 17, 132, 0, 43, 44, 51, 60
PORTS = struct.pack("!HH", 40_000, 443)
SEGMENT = PORTS + struct.pack("!IIBBHHH", 1, 1, 5 << 4, 0x10, 500, 0, 0) + bytes(60)


def packet4(
    payload: bytes, *, protocol: int = TCP, options: bytes = b"", fragment: int = 0
) -> bytes:
    """IPv4 in Ethernet; ``options`` in multiples of 4, ``fragment`` as in the header."""
    length = 20 + len(options)
    head = struct.pack(
        "!BBHHHBBH", 0x40 | length // 4, 0, length + len(payload), 1, fragment, 64, protocol, 0
    )
    ends = ip.pack(HERE[4])[12:] + ip.pack(THERE[4])[12:]
    return ETHERNET[4] + head + ends + options + payload


def packet6(payload: bytes, *, protocol: int = TCP) -> bytes:
    """IPv6 in Ethernet."""
    head = struct.pack("!IHBB", 6 << 28, len(payload), protocol, 64)
    return ETHERNET[6] + head + ip.pack(HERE[6]) + ip.pack(THERE[6]) + payload


def extension(kind: int, follows: int, words: int = 0) -> bytes:
    """An extension header of 8 + 8 * ``words`` bytes; of AH 8 + 4 * ``words``."""
    if kind == FRAGMENT:
        return bytes([follows, 0, 0, 1, 0, 0, 0, 1])
    length = 8 + (4 if kind == AH else 8) * words
    return bytes([follows, words]) + bytes(length - 2)


def chain(kinds: list[int], last: int, payload: bytes) -> bytes:
    """IPv6 with extension headers in that order before ``last``."""
    body = b"".join(
        extension(kind, follows, words=index % 3)
        for index, (kind, follows) in enumerate(zip(kinds, [*kinds[1:], last], strict=True))
    )
    return packet6(body + payload, protocol=kinds[0])


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with loaded() as made:
        yield made


@pytest.fixture(autouse=True)
def begin_empty(bench: Bench) -> None:
    bench.counted.drain()
    bench.counted.rows.clear()
    bench.counted.batches.clear()


@pytest.mark.parametrize("options", range(0, 44, 4))
def test_ports_are_found_behind_ip_options(bench: Bench, options: int) -> None:
    frame = packet4(SEGMENT, options=bytes([1] * options))
    bench.give(frame, 4)
    [row] = bench.counted.drain().rows
    assert (row.src, row.dst, row.protocol, row.dst_port) == (HERE[4], THERE[4], TCP, 443)
    assert row.counts == Counts(1, len(frame) - 14)


@pytest.mark.parametrize(
    "kinds",
    [
        [HOPOPTS],
        [ROUTING],
        [DSTOPTS],
        [AH],
        [FRAGMENT],
        [HOPOPTS, DSTOPTS, ROUTING, FRAGMENT, AH, DSTOPTS],
        [DSTOPTS] * 8,
    ],
)
@pytest.mark.parametrize("last", [TCP, UDP, SCTP])
def test_ports_are_found_behind_extension_headers(
    bench: Bench, kinds: list[int], last: int
) -> None:
    frame = chain(kinds, last, SEGMENT)
    bench.give(frame, 6)
    [row] = bench.counted.drain().rows
    assert (row.src, row.dst, row.protocol, row.dst_port) == (HERE[6], THERE[6], last, 443)
    assert row.counts == Counts(1, len(frame) - 14)


def test_with_too_many_extension_headers_bytes_are_counted_without_port(
    bench: Bench,
) -> None:
    frame = chain([DSTOPTS] * 9, TCP, SEGMENT)
    bench.give(frame, 6)
    [row] = bench.counted.drain().rows
    assert (row.protocol, row.src_port, row.dst_port) == (DSTOPTS, 0, 0)
    assert row.counts == Counts(1, len(frame) - 14)


@pytest.mark.parametrize(
    ("fragment", "port"), [(0x2000, 443), (0x2001, 0), (0x00B9, 0), (0x4000, 443)]
)
def test_only_the_first_fragment_has_ports(bench: Bench, fragment: int, port: int) -> None:
    bench.give(packet4(SEGMENT, protocol=UDP, fragment=fragment), 4)
    [row] = bench.counted.drain().rows
    assert (row.protocol, row.dst_port) == (UDP, port)


def test_a_later_ipv6_fragment_has_no_ports(bench: Bench) -> None:
    bench.give(packet6(bytes([TCP, 0, 0x05, 0x68, 0, 0, 0, 1]) + SEGMENT, protocol=FRAGMENT), 6)
    [row] = bench.counted.drain().rows
    assert (row.protocol, row.src_port, row.dst_port) == (TCP, 0, 0)


def test_a_protocol_without_ports_keeps_none(bench: Bench) -> None:
    bench.give(packet4(SEGMENT, protocol=47), 4)
    [row] = bench.counted.drain().rows
    assert (row.protocol, row.src_port, row.dst_port) == (47, 0, 0)


@pytest.mark.parametrize(("source", "dest"), [(443, 40_000), (40_000, 443), (5000, 5000)])
def test_without_conntrack_the_lower_port_is_the_services(
    bench: Bench, source: int, dest: int
) -> None:
    bench.give(packet4(struct.pack("!HH", source, dest) + SEGMENT[4:]), 4)
    [row] = bench.counted.drain().rows
    assert max(row.src_port, row.dst_port) == min(source, dest)
    assert min(row.src_port, row.dst_port) == 0
    assert row.flags == 0


@pytest.mark.parametrize(
    ("frame", "family"),
    [
        (packet4(SEGMENT, options=bytes([1] * 12)), 4),
        (chain([HOPOPTS, DSTOPTS, ROUTING, AH], TCP, SEGMENT), 6),
    ],
)
def test_a_packet_truncated_anywhere_is_a_flow_or_missed(
    bench: Bench, frame: bytes, family: int
) -> None:
    lengths = range(MIN_FRAME[family], len(frame) + 1)
    for length in lengths:
        bench.give(frame[:length], family)
    counted = bench.counted.drain()
    assert counted.seen == Counts(len(lengths), sum(length - 14 for length in lengths))
    assert counted.accounted.plus(counted.missed("parse")) == counted.seen
    assert counted.missed("parse").packets > 0
    assert counted.accounted.packets > 0


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("fill", [0x00, 0xFF])
def test_a_packet_of_one_repeated_byte_is_in_the_totals(
    bench: Bench, family: int, fill: int
) -> None:
    bench.give(ETHERNET[family] + bytes([fill] * 200), family)
    counted = bench.counted.drain()
    assert counted.seen == Counts(1, 200)


@pytest.mark.parametrize("seed", range(8))
def test_random_bytes_are_always_accepted_and_in_the_totals(bench: Bench, seed: int) -> None:
    rng = random.Random(seed)
    total = 0
    for _ in range(500):
        family = rng.choice((4, 6))
        payload = rng.randbytes(rng.randrange(MIN_FRAME[family] - 14, 300))
        if rng.random() < 0.7:  # past the first checks
            payload = bytes([rng.choice((0x45, 0x4F, 0x60))]) + payload[1:]
        bench.give(ETHERNET[family] + payload, family)
        total += len(payload)
    counted = bench.counted.drain()
    assert counted.seen == Counts(500, total)
