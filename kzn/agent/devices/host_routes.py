"""Which addresses are behind which device, by routes to one address.

In: routes of dumps and notifications. Out: the addresses behind a device. Never: a socket.
"""

from collections.abc import Iterable

from kzn.agent.devices.netlink_messages import HostRoute, RouteKey


class HostRoutes:
    """Routes to single addresses that lead directly to a device, by table and metric.

    Several routes may lead to one address; it is behind a device while one of them is left.
    """

    def __init__(self, routes: Iterable[HostRoute] = ()) -> None:
        self._devices: dict[RouteKey, set[int]] = {}
        self._keys: dict[int, set[RouteKey]] = {}
        for route in routes:
            self.apply(route)

    def apply(self, route: HostRoute) -> None:
        """A route that came, went, or took the place of another one.

        The kernel tells of a replaced route only by NLM_F_REPLACE in the message of the new one.
        """
        if route.replaces:
            for index in self._devices.get(route.key, frozenset()).copy():
                self._remove(index, route.key)
        if not route.index:
            return
        if route.is_gone:
            self._remove(route.index, route.key)
        else:
            self._devices.setdefault(route.key, set()).add(route.index)
            self._keys.setdefault(route.index, set()).add(route.key)

    def drop(self, index: int) -> None:
        """A device is gone or down: the kernel has removed its routes."""
        for key in self._keys.get(index, frozenset()).copy():
            self._remove(index, key)

    def behind(self, index: int) -> set[bytes]:
        """The addresses (16 bytes) behind a device."""
        return {key.address for key in self._keys.get(index, ())}

    def _remove(self, index: int, key: RouteKey) -> None:
        devices, keys = self._devices.get(key, set()), self._keys.get(index, set())
        devices.discard(index)
        keys.discard(key)
        if not devices:
            self._devices.pop(key, None)
        if not keys:
            self._keys.pop(index, None)
