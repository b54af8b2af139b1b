"""Delivers the segments of spools to their sinks: a task for each sink, one segment at a time.

In: a spool and a sink. Out: segments at the target, at least once and in order; counts.
Never: a task that ends because a sink fails, or a log line for each failure.
"""

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

from kzn.daemon.logs import RateLimited
from kzn.sinks.declaration import FinishedSegment, RefusedError, Sink
from kzn.sinks.spool import SinkCounts, Spool

_LOG = logging.getLogger(__name__)

PUT_SECONDS = 120.0
FIRST_BACKOFF, MAX_BACKOFF = 1.0, 60.0


class Delivery:
    """The task of one sink."""

    def __init__(
        self,
        spool: Spool,
        sink: Sink,
        *,
        put_seconds: float = PUT_SECONDS,
        first_backoff: float = FIRST_BACKOFF,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._wall = wall
        self._spool = spool
        self._sink = sink
        self._put_seconds = put_seconds
        self._first_backoff = first_backoff
        self._backoff = first_backoff
        self._failures = 0
        self._seconds = 0.0
        self._warnings = RateLimited(_LOG)
        self._is_empty = asyncio.Event()
        self._hurry = asyncio.Event()
        self._is_running = False

    def counts(self) -> SinkCounts:
        """What became of the segments."""
        counts = self._spool.counts(self._wall())
        return replace(counts, failures=self._failures, put_seconds=round(self._seconds, 6))

    async def run(self) -> None:
        """Deliver until cancelled."""
        loop = asyncio.get_running_loop()
        added = asyncio.Event()

        def wake() -> None:
            loop.call_soon_threadsafe(added.set)

        self._spool.on_added(wake)
        self._is_running = True
        try:
            while True:
                added.clear()
                is_done = await self._step()
                if is_done is None:
                    self._is_empty.set()
                    await added.wait()
                    self._is_empty.clear()
                elif not is_done:
                    await self._wait()
        finally:
            self._is_running = False
            self._spool.on_added(lambda: None)

    async def close(self, seconds: float) -> None:
        """Deliver what waits, for ``seconds`` at most, while `run` runs; then close the sink."""
        self._is_empty.clear()
        self._hurry.set()
        self._spool.wake()
        try:
            if self._is_running:
                await asyncio.wait_for(self._is_empty.wait(), seconds)
        except TimeoutError:
            waiting = self.counts().waiting.segments
            _LOG.info("sink %s: %d segments wait for the next start", self._spool.name, waiting)
        try:
            await asyncio.wait_for(self._sink.close(), seconds)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - a plugin may raise anything
            _raise_if_cancelled(error)
            _LOG.warning("sink %s did not close: %s", self._spool.name, _text(error))

    async def _step(self) -> bool | None:
        """Deliver the next segment: whether it is done, None if none waits."""
        try:
            segment = await asyncio.to_thread(self._spool.first)
            if segment is None:
                return None
            await self._put(segment)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - a plugin may raise anything
            _raise_if_cancelled(error)
            self._failures += 1
            text = (
                f"no answer within {self._put_seconds:g} s"
                if isinstance(error, TimeoutError)
                else _text(error)
            )
            name = self._spool.name
            self._warnings.warn("failed", "sink %s: %s; it is tried again", name, text)
            return False
        self._backoff = self._first_backoff
        return True

    async def _put(self, segment: FinishedSegment) -> None:
        started = time.perf_counter()
        try:
            await asyncio.wait_for(self._sink.put(segment), self._put_seconds)
        except RefusedError as error:
            name = self._spool.name
            self._warnings.warn("refused", "sink %s drops %s: %s", name, segment.name, error)
            await asyncio.to_thread(self._spool.dropped, segment, error.reason)
        else:
            await asyncio.to_thread(self._spool.delivered, segment)
        finally:
            self._seconds += time.perf_counter() - started

    async def _wait(self) -> None:
        """Wait before another try: twice as long each time, less when the server is closing."""
        self._backoff, seconds = min(2 * self._backoff, MAX_BACKOFF), self._backoff
        if self._hurry.is_set():
            await asyncio.sleep(min(self._first_backoff, seconds))
            return
        seconds *= random.uniform(0.75, 1.25)  # noqa: S311 - many servers do not come at once
        with suppress(TimeoutError):
            await asyncio.wait_for(self._hurry.wait(), seconds)


def _raise_if_cancelled(error: BaseException) -> None:
    """Let a cancellation of this task pass; one that a plugin raised by itself is a failure."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError from error


def _text(error: BaseException) -> str:
    return str(error) or type(error).__name__


class Deliveries:
    """Those of all sinks of a server."""

    def __init__(self, deliveries: Sequence[Delivery] = ()) -> None:
        self._deliveries = tuple(deliveries)

    def counts(self) -> tuple[SinkCounts, ...]:
        """What became of the segments, for each sink."""
        return tuple(one.counts() for one in self._deliveries)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Deliver while the context is open."""
        tasks = [asyncio.create_task(one.run(), name="sink") for one in self._deliveries]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def close(self, seconds: float) -> None:
        """Deliver what waits, for ``seconds`` at most, then close the sinks."""
        await asyncio.gather(*(one.close(seconds) for one in self._deliveries))
