"""Keeps the device table current from netlink notifications, in the agent's own process.

In: notifications of links, addresses, routes, qdiscs and filters. Out: a call with the table after
each burst of them. Never: a device that loses its role because another one changed, or a dump on
the event loop.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable

from kzn.agent.devices.netlink import GROUPS, OverrunError, RouteSocket
from kzn.agent.devices.netlink_messages import Change, TcChange
from kzn.agent.devices.table import DeviceTable
from kzn.errors import KernelError

log = logging.getLogger(__name__)

RETRY_SECONDS = 2.0
"""Between two tries after netlink failed."""

MAX_READ_ALONE = 16
"""Devices whose routes are read with a dump each."""

OnChange = Callable[[DeviceTable, frozenset[int]], Awaitable[None]]
"""Called with the table, and the devices whose qdiscs or filters changed."""


class DeviceWatch:
    """Calls ``on_change`` at first and whenever something changed."""

    def __init__(self, names: tuple[str, ...], on_change: OnChange) -> None:
        self._table = DeviceTable(names)
        self._on_change = on_change
        self.reads = 0
        """Full dumps: the first, and one after each loss of notifications."""

    async def run(self) -> None:
        """Watch until cancelled; netlink that fails is tried again."""
        while True:
            try:
                with RouteSocket(GROUPS) as notifications, RouteSocket() as questions:
                    await self._follow(notifications, questions)
            except KernelError as error:
                log.warning(
                    "the devices of this node cannot be watched: %s; what is known stays in"
                    " force, trying again in %.0f s",
                    error.message,
                    RETRY_SECONDS,
                )
            await asyncio.sleep(RETRY_SECONDS)

    async def _follow(self, notifications: RouteSocket, questions: RouteSocket) -> None:
        await self._read_all(questions)
        while True:
            await _readable(notifications)
            try:
                changes = notifications.pending()
            except OverrunError:
                log.info("the kernel dropped notifications of devices: reading all of them again")
                await self._read_all(questions)
                continue
            await self._apply(changes, questions)
            await asyncio.sleep(0)  # a storm of notifications leaves the loop its turns

    async def _read_all(self, questions: RouteSocket) -> None:
        self.reads += 1
        links, addresses, routes = await asyncio.to_thread(
            lambda: (questions.links(), questions.addresses(), questions.routes())
        )
        self._table.load(links, addresses, routes)
        lost = self.reads > 1  # notifications of filters as well
        await self._on_change(self._table, frozenset(x.index for x in links if lost))

    async def _apply(self, changes: Iterable[Change], questions: RouteSocket) -> None:
        lost: frozenset[int] = frozenset()
        filters: set[int] = set()
        for change in changes:
            lost |= self._table.apply(change)
            if isinstance(change, TcChange):
                filters.add(change.index)
        await self._read_again(lost, questions)
        if changes:
            await self._on_change(self._table, frozenset(filters))

    async def _read_again(self, lost: frozenset[int], questions: RouteSocket) -> None:
        """Read the routes through these devices: one by one, or all routes once."""
        if len(lost) > MAX_READ_ALONE:
            routes = await asyncio.to_thread(questions.routes)
            for index in lost:
                self._table.set_routes(index, routes)
        else:
            for index in lost:
                routes = await asyncio.to_thread(questions.routes, index)
                self._table.set_routes(index, routes)


async def _readable(source: RouteSocket) -> None:
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(source, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(source)
