"""The agent's beat: cut a batch, deliver it, have it cleared, every interval, until stopped.

In: a `Spool` and a `deliver`. Out: acknowledged batches. Never: a batch cleared that was not
delivered, and never a second one cut before.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from kzn.agent.maps.spool import Spool
from kzn.agent.stats import AgentStats
from kzn.errors import KernelError
from kzn.model.batch import Batch
from kzn.model.totals import Counts

log = logging.getLogger(__name__)

ATTEND_SECONDS = 10.0
"""How often the hooks are looked after, a fraction of the time after which they go dormant."""

Deliver = Callable[[Batch], Awaitable[None]]


class Loop:
    """Batches of the attached set, one an interval."""

    def __init__(
        self,
        spool: Spool,
        deliver: Deliver,
        stats: AgentStats,
        check: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._spool = spool
        self._deliver = deliver
        self._stats = stats
        self._check = check
        self._clock = clock
        self._counted = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop`` is set, then cut and deliver once more."""
        tasks = {asyncio.create_task(self._run(stop)), asyncio.create_task(self._attend())}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _attend(self) -> None:
        """Also while a delivery waits: the hooks must be there, and the programs awake."""
        while True:
            await asyncio.sleep(ATTEND_SECONDS)
            self._check()
            # A map that cannot be written cannot be cut either, which is told there.
            with suppress(KernelError):
                self._spool.mark_drained()

    async def _run(self, stop: asyncio.Event) -> None:
        if self._spool.under_way:
            await self.once()
        due = self._clock() + self._stats.interval
        while not await _set_within(stop, due - self._clock()):
            await self.once()
            due = max(due + self._stats.interval, self._clock())
        await self.once()

    async def once(self) -> None:
        """One batch from cut to cleared; a cut that fails is counted and tried again later."""
        begun = self._clock()
        try:
            batch = await asyncio.to_thread(self._spool.cut)
        except KernelError as error:
            self._stats.fail(error.message)
            log.error("cut a batch: %s; trying again in %.0f s", error, self._stats.interval)
            return
        if batch.sequence != self._counted:
            self._counted = batch.sequence
            self._stats.add(batch, self._clock() - begun, time.time())
            self._stats.mismatches = self._spool.mismatches
        await self._deliver(batch)
        await asyncio.to_thread(self._spool.acknowledge, batch.sequence)


async def empty(spool: Spool, deliver: Deliver) -> None:
    """Deliver everything that a retired set holds; it counts no more, so this ends.

    A set has two buffers: it is empty when two cuts in a row were.
    """
    empty_cuts = 0
    while empty_cuts < 2:
        batch = await asyncio.to_thread(spool.cut)
        empty_cuts = empty_cuts + 1 if batch.totals.seen == Counts() else 0
        if not empty_cuts:
            await deliver(batch)
        await asyncio.to_thread(spool.acknowledge, batch.sequence)


async def _set_within(stop: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(max(0.0, seconds)):
            await stop.wait()
    except TimeoutError:
        return False
    return True
