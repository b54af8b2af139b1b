"""Every interval until stopped: cut a batch, deliver it, clear its buffer.

In: a `Spool` and a `deliver` function. Out: acknowledged batches.
Never: a batch cleared or a second one cut before the first is delivered.
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

CHECK_SECONDS = 10.0
"""Interval of hook checks; far below the ten minutes after which programs go dormant."""

Deliver = Callable[[Batch], Awaitable[None]]


class Loop:
    """Cuts and delivers the batches of the attached map set, one each interval."""

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
        """Run until ``stop`` is set, then cut and deliver one last batch.

        Raises what ``check`` and ``deliver`` raise.
        """
        tasks = {asyncio.create_task(self._run(stop)), asyncio.create_task(self._check_hooks())}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _check_hooks(self) -> None:
        """Check the hooks and keep the programs awake, also while a delivery waits.

        While it waits the other buffer fills up, which the metrics tell.
        """
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            self._check()
            # A map that cannot be written cannot be cut either, and `once` logs that.
            with suppress(KernelError):
                self._spool.mark_drained()
                await asyncio.to_thread(self._spool.look_at_waiting)

    async def _run(self, stop: asyncio.Event) -> None:
        if self._has_batch_under_way():
            await self.once()
        due = self._clock() + self._stats.interval
        while not await _set_within(stop, due - self._clock()):
            await self.once()
            due = max(due + self._stats.interval, self._clock())
        await self.once()

    def _has_batch_under_way(self) -> bool:
        try:
            return self._spool.under_way
        except KernelError:
            return True  # `once` counts and logs it

    async def once(self) -> None:
        """Cut, deliver and clear one batch; an error of the kernel is counted and retried later."""
        started = self._clock()
        try:
            batch = await asyncio.to_thread(self._spool.cut)
        except KernelError as error:
            self._stats.cut_failed(error.message)
            log.error(
                "cannot read the counters from the kernel: %s; retrying in %g s",
                error,
                self._stats.interval,
            )
            return
        if batch.sequence != self._counted:
            self._counted = batch.sequence
            self._stats.add(batch, self._clock() - started, time.time())
            self._stats.mismatches = self._spool.mismatches
        await self._deliver(batch)
        try:
            await asyncio.to_thread(self._spool.acknowledge, batch.sequence)
        except KernelError as error:
            self._stats.clear_failed(error.message)
            log.error(
                "cannot clear the counters of batch %d, which the server has: %s; retrying in %g s",
                batch.sequence,
                error,
                self._stats.interval,
            )


async def empty(spool: Spool, deliver: Deliver) -> None:
    """Deliver all that a retired map set holds; its hooks are detached, so this ends.

    A set has two buffers, so it is empty after two empty cuts in a row. After a KernelError the
    caller may call it again with the same spool: no batch is delivered twice.
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
