"""The hash of rows spreads flows of regular addresses and ports like random ones.

The model of the hash is compared with the program's in tests/kernel/test_rows.py.
"""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from row_hash import IDENTITY, PLACES, row_hash, share_without_row

from kzn.columns.arrays import U64
from kzn.probes.settings import FACTORS

BITS = 17
FLOWS = 50_000
DRAWS = 12
ROWS = Path(__file__).parents[3] / "bpf/src/rows.bpf.h"
ULA = 0xFD00_0001_0002_0000
"""The first half of an address of a node; the number of the node is added."""

N = np.arange(FLOWS, dtype=np.uint64)


def u64(value: int) -> np.uint64:
    return np.uint64(value)


def split(count: int) -> tuple[U64, U64]:
    """Each number below ``count`` with as many others as make `FLOWS`."""
    first, second = np.divmod(N, u64(FLOWS // count))
    return first, second


def identity(
    addresses: list[U64], family: int, port: U64 | int, peer: U64 | int, cpu: U64 | int
) -> U64:
    """Words of rows of TCP flows."""
    words = np.zeros((FLOWS, IDENTITY), np.uint64)
    words[:, 0] = (np.asarray(port, np.uint64) | u64(6 << 16 | 1 << 24)) << u64(32)
    words[:, 1] = np.asarray(peer, np.uint64) << u64(32) | u64(family << 16)
    words[:, 1] |= np.asarray(cpu, np.uint64)
    for at, address in enumerate(addresses):
        words[:, 2 + at] = address
    return words


def ipv4(
    source: U64, destination: U64, port: U64 | int = 443, peer: U64 | int = 0, cpu: U64 | int = 0
) -> U64:
    """Rows of flows between 10.1.0.0 + ``source`` and 10.2.0.0 + ``destination``."""
    ends = [
        (numbers + u64(first)).astype(">u4").view("<u4").astype(np.uint64)
        for numbers, first in ((source, 0x0A01_0000), (destination, 0x0A02_0000))
    ]
    return identity([ends[0] | ends[1] << u64(32)], 4, port, peer, cpu)


def ipv6(
    source: tuple[U64, U64],
    destination: tuple[U64, U64],
    port: U64 | int = 443,
    cpu: U64 | int = 0,
) -> U64:
    """Rows of flows between addresses, each as the numbers of its halves."""
    ends = [half.byteswap() for half in (*source, *destination)]
    return identity(ends, 6, port, 0, cpu)


def node(number: U64 | int, pod: U64, shift: int = 0) -> tuple[U64, U64]:
    """A pod's address, of a prefix of 64 bits for each node."""
    return u64(ULA) + (np.asarray(number, np.uint64) << u64(shift)) + N * u64(0), pod + N * u64(0)


def eui64(number: U64) -> U64:
    return u64(0x02420A << 40 | 0xFFFE << 24) | number


def pods4(sources: int) -> U64:
    source, destination = split(sources)
    return ipv4(source + u64(2), destination + u64(2))


def pods6(sources: int) -> U64:
    source, destination = split(sources)
    return ipv6(node(1, source + u64(1)), node(2, destination + u64(1)))


def on_cpus(cpus: int, family: int) -> U64:
    """Flows of 200 sources that differ in flags too, each on all of the CPUs."""
    flow, cpu = np.divmod(N, u64(cpus))
    pair, flags = np.divmod(flow, u64(4))
    source, destination = pair % u64(200) + u64(2), pair // u64(200) + u64(2)
    if family == 4:
        rows = ipv4(source, destination, cpu=cpu)
    else:
        rows = ipv6(node(1, source), node(2, destination), cpu=cpu)
    rows[:, 0] ^= flags << u64(32 + 24)
    return rows


def random6() -> U64:
    rng = np.random.default_rng(3)
    halves = rng.integers(0, 1 << 64, (4, FLOWS), np.uint64)
    return ipv6((halves[0], halves[1]), (halves[2], halves[3]))


SHAPES: dict[str, Callable[[], U64]] = {
    "IPv4, one source": lambda: pods4(1),
    "IPv4, 10 sources": lambda: pods4(10),
    "IPv4, 250 sources": lambda: pods4(250),
    "IPv4, each source with one destination": lambda: ipv4(N, N * u64(0)),
    "IPv4, pods of nodes with 256 addresses": lambda: ipv4(
        split(100)[0], (split(100)[1] // u64(10) << u64(8)) + split(100)[1] % u64(10)
    ),
    "IPv4, ports": lambda: ipv4(split(100)[0], N * u64(0), port=split(100)[1] + u64(32768)),
    "IPv4, ports of both ends": lambda: ipv4(
        split(100)[0], N * u64(0), peer=split(100)[1] + u64(32768)
    ),
    "IPv4, on 10 CPUs": lambda: ipv4(
        split(10)[1] % u64(10), split(10)[1] // u64(10), cpu=split(10)[0]
    ),
    "IPv6, last byte of both ends, 200 sources": lambda: pods6(200),
    "IPv6, last byte of both ends, 250 sources": lambda: pods6(250),
    "IPv6, last bytes": lambda: pods6(10),
    "IPv6, prefix of a node alone": lambda: ipv6(node(1, u64(5) + N * u64(0)), node(N, N * u64(0))),
    "IPv6, prefixes of both nodes": lambda: ipv6(
        node(split(250)[0], N * u64(0)), node(split(250)[1], N * u64(0))
    ),
    "IPv6, prefixes of 48 bits": lambda: ipv6(
        node(split(250)[0], N * u64(0), 16), node(split(250)[1], N * u64(0), 16)
    ),
    "IPv6, pods of many nodes": lambda: ipv6(
        node(1, split(50)[0] + u64(1)),
        node(split(50)[1] // u64(20), split(50)[1] % u64(20) + u64(1)),
    ),
    "IPv6, EUI-64": lambda: ipv6(node(1, eui64(split(250)[0])), node(2, eui64(split(250)[1]))),
    "IPv6, ports": lambda: ipv6(
        node(1, split(100)[0]), node(2, N * u64(0)), port=split(100)[1] + u64(32768)
    ),
    "IPv6, random": random6,
} | {
    f"IPv{family}, on {cpus} CPUs, with other flags": partial(on_cpus, cpus, family)
    for family in (4, 6)
    for cpus in (8, 64, 128, 240)
}


def drawn(seed: int) -> list[int]:
    rng = np.random.default_rng(seed)
    return [int(factor) | 1 for factor in rng.integers(0, 1 << 64, FACTORS, np.uint64)]


@pytest.mark.parametrize("shape", SHAPES)
def test_regular_flows_find_rows_like_random_ones(shape: str) -> None:
    rng = np.random.default_rng(7)
    random = share_without_row(rng.integers(0, 1 << 64, FLOWS, np.uint64), BITS)
    assert 0.015 < random < 0.02
    rows = SHAPES[shape]()
    assert len(np.unique(rows, axis=0)) == FLOWS
    shares = [share_without_row(row_hash(rows, drawn(seed)), BITS) for seed in range(DRAWS)]
    assert np.mean(shares) < 1.25 * random
    assert max(shares) < 4 * random


def test_the_places_of_a_flow_are_as_many_as_in_the_kernel() -> None:
    assert re.findall(r"#define KZN_PLACES (\d+)", ROWS.read_text()) == [str(PLACES)]
