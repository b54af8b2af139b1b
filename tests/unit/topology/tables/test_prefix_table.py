"""kzn/topology/tables/prefix_table.py."""

from collections.abc import Iterable
from ipaddress import IPv6Address, ip_address, ip_network

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kzn.columns.arrays import U8
from kzn.model.endpoint import EXTERNAL, UNKNOWN
from kzn.model.ip import MAPPED_PREFIX, pack
from kzn.topology.facts import CidrNetwork
from kzn.topology.tables.prefix_table import IANA_PREFIXES, PrefixTable, prefix_of


def rows(addresses: list[bytes]) -> U8:
    return np.frombuffer(b"".join(addresses), np.uint8).reshape(-1, 16)


def made(networks: Iterable[tuple[CidrNetwork, int]]) -> PrefixTable:
    return PrefixTable((prefix_of(network), value) for network, value in networks)


def one(table: PrefixTable, address: str) -> int:
    return int(table.lookup(rows([pack(address)]))[0])


EXTERNALS = """
8.8.8.8 1.1.1.1 223.255.255.255 172.32.0.0 100.128.0.0 2a00:1450::1 64:ff9b::808:808
2001:4860::8888 192.0.0.9 2000:: 11.0.0.0 9.255.255.255
"""
UNKNOWNS = """
10.0.0.1 172.16.0.0 172.31.255.255 192.168.1.1 100.64.0.1 169.254.0.1 127.0.0.1 0.0.0.0
255.255.255.255 198.51.100.7 240.0.0.1 10.255.255.255 fd00::1 fe80::1 ::1 ff02::1 2001:db8::1
:: ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 3fff::1 64:ff9b:1::1 1::
"""


@pytest.mark.parametrize("address", EXTERNALS.split())
def test_a_global_address_in_no_network_is_external(address: str) -> None:
    assert one(PrefixTable(), address) == EXTERNAL


@pytest.mark.parametrize("address", UNKNOWNS.split())
def test_a_private_address_in_no_network_is_unknown(address: str) -> None:
    assert one(PrefixTable(), address) == UNKNOWN


def test_the_longest_prefix_wins_and_after_its_end_the_enclosing_one() -> None:
    nets = ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.255/32"]
    table = made((ip_network(net), n) for n, net in enumerate(nets))
    asked = ["10.0.0.0", "10.1.0.0", "10.1.2.0", "10.1.2.255", "10.1.3.0", "10.2.0.0", "11.0.0.0"]
    assert [one(table, address) for address in asked] == [0, 1, 2, 3, 1, 0, EXTERNAL]


def test_a_network_wins_over_an_equal_iana_prefix() -> None:
    table = made([(ip_network("0.0.0.0/0"), 7), (ip_network("10.0.0.0/8"), 8)])
    assert [one(table, "8.8.8.8"), one(table, "10.0.0.1"), one(table, "fd00::1")] == [7, 8, UNKNOWN]


def test_networks_at_both_ends_of_the_address_space_are_found() -> None:
    table = made([(ip_network("ffff::/16"), 1), (ip_network("::/16"), 2)])
    assert [one(table, "ffff::1"), one(table, "::1"), one(table, "fffe::1")] == [1, 2, UNKNOWN]


def test_no_addresses_give_no_values() -> None:
    assert PrefixTable().lookup(np.zeros((0, 16), np.uint8)).shape == (0,)


def _network(packed: bytes, length: int) -> CidrNetwork:
    return ip_network((packed, length % (len(packed) * 8) + 1), strict=False)


V4 = st.builds(_network, st.binary(min_size=4, max_size=4), st.integers(0, 31))
V6 = st.builds(_network, st.binary(min_size=16, max_size=16), st.integers(0, 127)).filter(
    lambda net: not net.overlaps(ip_network("::ffff:0:0/96"))
)


def _edges(net: CidrNetwork) -> list[bytes]:
    first, last = int(net.network_address), int(net.broadcast_address)
    top = 2**net.max_prefixlen - 1
    make = type(net.network_address)
    near = {first, last, max(first - 1, 0), min(last + 1, top)}
    return [pack(str(make(value))) for value in near]


def _longest(nets: dict[CidrNetwork, int], address: bytes) -> int:
    mapped = address[:12] == MAPPED_PREFIX
    parsed = ip_address(address[12:]) if mapped else IPv6Address(address)
    inside = [n for n in nets if n.version == parsed.version and parsed in n]
    return nets[max(inside, key=lambda n: n.prefixlen)]


@pytest.mark.slow
@settings(max_examples=500)
@example(nets=[ip_network("4000::/8")], more=[])
@given(
    nets=st.lists(V4 | V6, max_size=12, unique=True),
    more=st.lists(st.binary(min_size=16, max_size=16)),
)
def test_longest_prefixes_agree_with_the_standard_library(
    nets: list[CidrNetwork], more: list[bytes]
) -> None:
    numbered = {net: number for number, net in enumerate(nets)}
    asked = [address for net in nets for address in _edges(net)] + more
    if asked:
        found = made(numbered.items()).lookup(rows(asked)).tolist()
        everything = dict(IANA_PREFIXES) | numbered
        assert found == [_longest(everything, address) for address in asked]


def inside(number: int, length: int) -> CidrNetwork:
    """One of some overlapping networks below 10.0.0.0/8, 8.0.0.0/8 and fd00::/8."""
    base = ("10.0.0.0", "8.0.0.0", "fd00::")[number % 3]
    bits = 128 if ":" in base else 32
    size = bits - 8 - length
    start = int(ip_address(base)) + (number // 3 % (1 << length) << size)
    return ip_network((start, bits - size))


CHANGES = st.lists(
    st.tuples(st.integers(0, 47), st.integers(0, 4), st.booleans() | st.just(True)), max_size=16
)


@example([(0, 1, True), (0, 2, True), (0, 1, False), (0, 0, True), (0, 0, False)])
@given(CHANGES)
@settings(deadline=None, max_examples=300)
def test_a_table_that_changes_is_as_one_made_of_what_is_left(
    changes: list[tuple[int, int, bool]],
) -> None:
    networks: dict[CidrNetwork, int] = {}
    table = PrefixTable()
    for value, (number, length, is_there) in enumerate(changes):
        network = inside(number, length)
        if is_there:
            networks[network] = value
            table.put(prefix_of(network), value)
        elif network in networks:
            del networks[network]
            table.remove(prefix_of(network))
    whole = made(networks.items())
    asked = [pack("::"), pack("ffff::")]
    for number, length, _ in changes:
        network = inside(number, length)
        ends = network[0], network[-1], network[0] - 1, network[-1] + 1
        asked += [pack(str(address)) for address in ends]
    assert table.lookup(rows(asked)).tolist() == whole.lookup(rows(asked)).tolist()


def test_ranges_end_with_the_networks_that_cut_them() -> None:
    table = PrefixTable()
    before = table.ranges
    several = [inside(number, length) for number in range(48) for length in range(5)]
    for network in dict.fromkeys(several):
        table.put(prefix_of(network), 1)
    assert table.ranges > before + 20
    for network in dict.fromkeys(several):
        table.remove(prefix_of(network))
    assert table.ranges == before
