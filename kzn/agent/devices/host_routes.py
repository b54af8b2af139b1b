"""Which addresses are behind which device, by routes to one address.

In: routes of dumps and notifications. Out: the addresses behind a device. Never: a socket.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import TypeVar

from kzn.agent.devices.netlink_messages import RT_SCOPE_HOST, HostRoute, RouteKey

K = TypeVar("K", RouteKey, int, bytes)


class HostRoutes:
    """Routes to single addresses that lead directly to a device.

    Several routes may lead to one address; it is behind a device while one of them is left.
    """

    def __init__(self, routes: Iterable[HostRoute] = ()) -> None:
        self._by_key: dict[RouteKey, set[HostRoute]] = {}
        self._by_device: dict[int, set[HostRoute]] = {}
        self._by_source: dict[bytes, set[HostRoute]] = {}
        for route in routes:
            self._add(route)

    def apply(self, route: HostRoute) -> frozenset[int]:
        """A route that came, went, or took the place of another one; devices to read again.

        The kernel tells of a replaced route only by NLM_F_REPLACE in the message of the new one:
        it was the first of those with the same key, whose order is not known here.
        """
        lost: frozenset[int] = frozenset()
        if route.replaces:
            lost = frozenset(old.index for old in self._by_key.get(route.key, ()))
        if route.is_gone:
            self._remove(replace(route, is_gone=False))
        elif route.index:
            self._add(replace(route, replaces=False))
        return lost

    def drop(self, index: int) -> None:
        """A device is gone, and so are all routes to it."""
        for route in self._by_device.get(index, frozenset()).copy():
            self._remove(route)

    def drop_down(self, index: int) -> None:
        """A device is down: the kernel keeps IPv4 routes of scope host (net/ipv4/fib_semantics.c).

        The CNI plugin ptp makes such routes.
        """
        for route in self._by_device.get(index, frozenset()).copy():
            if route.scope != RT_SCOPE_HOST:
                self._remove(route)

    def drop_ipv4(self, index: int) -> None:
        """A device lost its last IPv4 address, and so all its IPv4 routes."""
        for route in self._by_device.get(index, frozenset()).copy():
            if route.key.is_ipv4:
                self._remove(route)

    def drop_source(self, address: bytes) -> None:
        """An IPv4 address of this node is gone: so are the routes that prefer it as source."""
        for route in self._by_source.get(address, frozenset()).copy():
            self._remove(route)

    def set_device(self, index: int, routes: Iterable[HostRoute]) -> None:
        """Replace the routes to a device by those that were read again."""
        self.drop(index)
        for route in routes:
            if route.index == index:
                self._add(route)

    def behind(self, index: int) -> set[bytes]:
        """The addresses (16 bytes) behind a device."""
        return {route.key.address for route in self._by_device.get(index, ())}

    def _add(self, route: HostRoute) -> None:
        self._by_key.setdefault(route.key, set()).add(route)
        self._by_device.setdefault(route.index, set()).add(route)
        if route.source:
            self._by_source.setdefault(route.source, set()).add(route)

    def _remove(self, route: HostRoute) -> None:
        _discard(self._by_key, route.key, route)
        _discard(self._by_device, route.index, route)
        _discard(self._by_source, route.source, route)


def _discard(routes: dict[K, set[HostRoute]], key: K, route: HostRoute) -> None:
    found = routes.get(key, set())
    found.discard(route)
    if not found:
        routes.pop(key, None)
