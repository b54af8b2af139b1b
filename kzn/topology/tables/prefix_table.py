"""Longest-prefix match of addresses, IPv4 and IPv6 in one table.

In: networks with values; IANA's registries are below them. Out: a value for each of n addresses,
without a loop. Never: owners of single addresses, which take precedence (ownership/intervals.py).
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Network, ip_network
from itertools import chain
from typing import Generic, TypeVar

import numpy as np

from kzn.columns.arrays import I32, U8
from kzn.model.endpoint import EXTERNAL, UNKNOWN
from kzn.topology.facts import CidrNetwork

V = TypeVar("V")

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


Prefix = tuple[int, int]
"""The first address of a network and the length of its prefix, IPv4 as ::ffff:0:0/96."""


def prefix_of(network: CidrNetwork) -> Prefix:
    """The prefix of a network."""
    start = int(network.network_address)
    if isinstance(network, IPv4Network):
        return start + _MAPPED, network.prefixlen + 96
    return start, network.prefixlen


def _is_ipv4(prefix: Prefix) -> bool:
    return prefix[0] >> 32 == _MAPPED >> 32 and prefix[1] >= 96


class Prefixes(Generic[V]):
    """Values by prefix, and which prefixes enclose others."""

    __slots__ = ("_lengths", "_longest_first", "values")

    def __init__(self, values: Iterable[tuple[Prefix, V]] = ()) -> None:
        self.values: dict[Prefix, V] = dict(values)
        self._lengths = Counter((_is_ipv4(prefix), prefix[1]) for prefix in self.values)
        self._longest_first = sorted({length for _, length in self._lengths}, reverse=True)

    def put(self, prefix: Prefix, value: V) -> bool:
        """Set the value of a prefix; True if it had none."""
        is_new = prefix not in self.values
        self.values[prefix] = value
        if is_new:
            self._count(prefix, 1)
        return is_new

    def remove(self, prefix: Prefix) -> None:
        """Remove a prefix, which must be there."""
        del self.values[prefix]
        self._count(prefix, -1)

    def enclosing(self, prefix: Prefix) -> Iterator[Prefix]:
        """The prefixes that enclose ``prefix`` and have a value, the longest first; itself too."""
        start, longest = prefix
        for length in self._longest_first:
            if length <= longest and (found := (start >> 128 - length << 128 - length, length)) in (
                self.values
            ):
                yield found

    @property
    def is_flat(self) -> bool:
        """Whether no prefix encloses another for sure: all of a family have one length.

        One of IPv6 that begins at 0 may enclose all of IPv4.
        """
        families = {is_ipv4 for is_ipv4, _ in self._lengths}
        return len(families) == len(self._lengths) and not any(
            start < _MAPPED < start | _ALL >> length for start, length in self.values if length < 96
        )

    def enclosed(self, prefix: Prefix) -> Iterator[Prefix]:
        """The longer prefixes inside ``prefix`` that have a value."""
        start, length = prefix
        end = start | _ALL >> length
        with_ipv4 = start <= _MAPPED <= end or _is_ipv4(prefix)
        lengths = [one for is_ipv4, one in self._lengths if with_ipv4 or not is_ipv4]
        if max(lengths, default=0) <= length:
            return
        for found in self.values:
            if found[1] > length and start <= found[0] <= end:
                yield found

    def is_bound(self, address: int) -> bool:
        """Whether a prefix begins at ``address``, or one ends before it."""
        return any(
            (address, length) in self.values
            or (address - (_ALL + 1 >> length), length) in self.values
            for length in self._longest_first
        )

    def _count(self, prefix: Prefix, number: int) -> None:
        key = _is_ipv4(prefix), prefix[1]
        self._lengths[key] += number
        if self._lengths[key] == max(number, 0):  # the first of its length, or the last
            self._lengths = +self._lengths
            self._longest_first = sorted({length for _, length in self._lengths}, reverse=True)


class PrefixTable:
    """Values of ``networks`` by longest prefix; elsewhere EXTERNAL or UNKNOWN by IANA's registries.

    A network takes precedence over an equal prefix of the registries, and over one given before it.
    The prefixes are cut into ranges that do not overlap, which are searched by bisection. A change
    of one prefix takes some ten microseconds; 10,000 networks take 40 to 110 ms.
    """

    def __init__(self, networks: Iterable[tuple[Prefix, int]] = ()) -> None:
        self._prefixes = Prefixes(chain(_IANA_VALUES.items(), networks))
        starts, values = _flatten(self._prefixes.values)
        # Fixed-width byte strings compare like big-endian numbers; the padding NULs are the low
        # bytes that numpy trims, so trimming changes no comparison.
        self._starts = np.array([start.to_bytes(16, "big") for start in starts], "S16")
        self._values = np.array(values, np.int32)

    @property
    def ranges(self) -> int:
        """Number of ranges."""
        return len(self._values)

    def put(self, prefix: Prefix, value: int) -> None:
        """Add a network, or change the value of one."""
        start, length = prefix
        if self._prefixes.put(prefix, value):
            for bound in (start, start + (_ALL + 1 >> length)):
                self._cut(bound)
        self._fill(prefix, value)

    def remove(self, prefix: Prefix) -> None:
        """Remove a network; its addresses are those of the one around it from now on."""
        start, length = prefix
        if prefix in _IANA_VALUES:
            self.put(prefix, _IANA_VALUES[prefix])
            return
        around = next(found for found in self._prefixes.enclosing(prefix) if found != prefix)
        self._fill(prefix, self._prefixes.values[around])
        self._prefixes.remove(prefix)
        for bound in (start, start + (_ALL + 1 >> length)):
            self._join(bound)

    def lookup(self, addresses: U8) -> I32:
        """The values of ``addresses`` (n, 16): (n,)."""
        keys = np.ascontiguousarray(addresses).view("S16").reshape(-1)
        rows = np.searchsorted(self._starts, keys, side="right") - 1
        found: I32 = self._values[rows]
        return found

    def _fill(self, prefix: Prefix, value: int) -> None:
        """Set the value of the ranges of ``prefix`` that are in no longer one."""
        start, length = prefix
        first, end = self._row(start), self._row(start | _ALL >> length)
        for row in range(first, end + 1):
            at = int.from_bytes(bytes(self._starts[row]).ljust(16, b"\0"), "big")
            if first == end or next(self._prefixes.enclosing((at, 128))) == prefix:
                self._values[row] = value

    def _cut(self, bound: int) -> None:
        """Let a range begin at ``bound``."""
        if bound > _ALL:
            return
        row, key = self._row(bound), bound.to_bytes(16, "big")
        if bytes(self._starts[row]).ljust(16, b"\0") != key:
            self._starts = np.insert(self._starts, row + 1, np.bytes_(key))
            self._values = np.insert(self._values, row + 1, self._values[row])

    def _join(self, bound: int) -> None:
        """Join the ranges at ``bound`` if no network begins or ends there."""
        if bound > _ALL or self._prefixes.is_bound(bound):
            return
        row = self._row(bound)
        self._starts = np.delete(self._starts, row)
        self._values = np.delete(self._values, row)

    def _row(self, address: int) -> int:
        key = np.bytes_(address.to_bytes(16, "big"))
        return int(np.searchsorted(self._starts, key, side="right")) - 1


_IANA_VALUES = {prefix_of(network): value for network, value in IANA_PREFIXES}


def _flatten(prefixes: Mapping[Prefix, int]) -> tuple[list[int], list[int]]:
    starts: list[int] = []
    values: list[int] = []
    inside: list[tuple[int, int]] = []

    def cut(start: int, value: int) -> None:
        if starts and starts[-1] == start:
            values[-1] = value
        else:
            starts.append(start)
            values.append(value)

    for (start, length), value in sorted(prefixes.items()):
        while inside and inside[-1][0] < start:
            left = inside.pop()
            cut(left[0] + 1, inside[-1][1])
        cut(start, value)
        inside.append((start | _ALL >> length, value))
    while len(inside) > 1:
        left = inside.pop()
        if left[0] < _ALL:
            cut(left[0] + 1, inside[-1][1])
    return starts, values
