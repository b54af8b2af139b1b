"""Longest-prefix match of addresses, IPv4 and IPv6 in one table.

In: networks with values; IANA's registries are below them. Out: a value for each of n addresses,
without a loop. Never: owners of single addresses, which take precedence (ownership/intervals.py).
"""

from collections.abc import Iterable
from ipaddress import IPv4Network, ip_network

import numpy as np

from kzn.columns.arrays import I32, U8
from kzn.model.endpoint import EXTERNAL, UNKNOWN
from kzn.topology.facts import CidrNetwork

_ALL = (1 << 128) - 1
_MAPPED = 0xFFFF << 32

_GLOBAL = (
    "0.0.0.0/0",
    "2000::/3",  # all global unicast that IANA assigns (RFC 4291, 2.4)
    "64:ff9b::/96",  # IPv4 beyond a NAT64 (RFC 6052)
    "192.0.0.9/32",  # the anycast exceptions below 192.0.0.0/24 (RFC 7723, RFC 8155)
    "192.0.0.10/32",
    "2001:1::1/128",  # and below 2001::/23 (RFC 7723, 8155, 7450, 7535, 7343, 9374)
    "2001:1::2/128",
    "2001:3::/32",
    "2001:4:112::/48",
    "2001:20::/28",
    "2001:30::/28",
)
_NOT_GLOBAL = (
    "::/0",  # all that is not in _GLOBAL: ULA, link-local, multicast, unassigned
    "0.0.0.0/8",  # RFC 791
    "10.0.0.0/8",  # RFC 1918
    "100.64.0.0/10",  # RFC 6598, carrier-grade NAT, also some clouds' pods
    "127.0.0.0/8",  # RFC 1122
    "169.254.0.0/16",  # RFC 3927
    "172.16.0.0/12",
    "192.0.0.0/24",  # RFC 6890
    "192.0.2.0/24",  # RFC 5737, documentation
    "192.168.0.0/16",
    "198.18.0.0/15",  # RFC 2544, benchmarks
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",  # RFC 5771, multicast
    "240.0.0.0/4",  # RFC 1112, with the broadcast address
    "2001::/23",  # RFC 2928, protocol assignments, Teredo
    "2001:db8::/32",  # RFC 3849, documentation
    "3fff::/20",  # RFC 9637, documentation
)

IANA_PREFIXES: tuple[tuple[CidrNetwork, int], ...] = (
    *((ip_network(text), UNKNOWN) for text in _NOT_GLOBAL),
    *((ip_network(text), EXTERNAL) for text in _GLOBAL),
)
"""IANA's special-purpose registries, column "globally reachable", as of 2024-10."""


class PrefixTable:
    """Values of ``networks`` by longest prefix; elsewhere EXTERNAL or UNKNOWN by IANA's registries.

    A network takes precedence over an equal prefix of the registries. The prefixes are cut into
    ranges that do not overlap, which are searched by bisection.
    """

    def __init__(self, networks: Iterable[tuple[CidrNetwork, int]] = ()) -> None:
        starts, values = _flatten([*IANA_PREFIXES, *networks])
        # Fixed-width byte strings compare like big-endian numbers; the padding NULs are the low
        # bytes that numpy trims, so trimming changes no comparison.
        self._starts = np.array([start.to_bytes(16, "big") for start in starts], "S16")
        self._values = np.array(values, np.int32)

    def add(self, network: CidrNetwork, value: int) -> bool:
        """Add a network that is inside one range of the table; False, and no change, otherwise.

        A range with bounds inside the network, or a network of the same size, needs a new table:
        5,000 networks take 10 to 80 ms, this takes some microseconds.
        """
        start, end = _range(network)
        first, beyond = start.to_bytes(16, "big"), (end + 1).to_bytes(17, "big")[1:]
        row = int(np.searchsorted(self._starts, np.bytes_(first), side="right")) - 1
        range_start = int.from_bytes(bytes(self._starts[row]).ljust(16, b"\0"), "big")
        is_last = row + 1 == len(self._starts)
        range_end = (
            _ALL
            if is_last
            else int.from_bytes(bytes(self._starts[row + 1]).ljust(16, b"\0"), "big") - 1
        )
        if end > range_end or (start, end) == (range_start, range_end):
            return False
        outer = self._values[row]
        starts, values = [], []
        if start > range_start:
            starts.append(first)
            values.append(value)
        else:
            self._values[row] = value
        if end < range_end:
            starts.append(beyond)
            values.append(outer)
        at = [row + 1] * len(starts)
        self._starts = np.insert(self._starts, at, np.array(starts, "S16"))
        self._values = np.insert(self._values, at, np.array(values, np.int32))
        return True

    def lookup(self, addresses: U8) -> I32:
        """The values of ``addresses`` (n, 16): (n,)."""
        keys = np.ascontiguousarray(addresses).view("S16").reshape(-1)
        rows = np.searchsorted(self._starts, keys, side="right") - 1
        found: I32 = self._values[rows]
        return found


def _flatten(networks: list[tuple[CidrNetwork, int]]) -> tuple[list[int], list[int]]:
    ranges = sorted(((*_range(net), value) for net, value in networks), key=_outermost_first)
    starts: list[int] = []
    values: list[int] = []
    inside: list[tuple[int, int]] = []

    def cut(start: int, value: int) -> None:
        if starts and starts[-1] == start:
            values[-1] = value
        else:
            starts.append(start)
            values.append(value)

    for start, end, value in ranges:
        while inside and inside[-1][0] < start:
            left = inside.pop()
            cut(left[0] + 1, inside[-1][1])
        cut(start, value)
        inside.append((end, value))
    while len(inside) > 1:
        left = inside.pop()
        if left[0] < _ALL:
            cut(left[0] + 1, inside[-1][1])
    return starts, values


def _range(network: CidrNetwork) -> tuple[int, int]:
    start = int(network.network_address)
    if isinstance(network, IPv4Network):
        start += _MAPPED
    return start, start + network.num_addresses - 1


def _outermost_first(entry: tuple[int, int, int]) -> tuple[int, int]:
    start, end, _ = entry
    return start, -end
