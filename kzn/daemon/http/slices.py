"""Text that is made on the event loop, in slices between which batches are applied.

In: an iterator of pieces, each made in a few milliseconds. Out: a body, compressed in a thread
meanwhile. Never: a slice longer than `LONGEST` and one piece, or two renderings at once.

A thread that renders shares the interpreter lock with the loop: at full ingest each waits for the
other at every call of numpy, so that both the scrape and the ingest took several times as long.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor

from kzn.daemon.http.body import Body, BodyMaker

SHORTEST = 0.002
"""Seconds of a slice while the loop has little else to do."""
LONGEST = 0.01
SHARE = 0.25
"""Of the loop's time, for slices: a busy loop is away for longer between two of them."""


class Slices:
    """Renders one body at a time on the event loop; ``threads`` compress it."""

    def __init__(self, threads: Executor, clock: Callable[[], float] = time.monotonic) -> None:
        self._threads = threads
        self._clock = clock
        self._lock = asyncio.Lock()

    async def body(self, pieces: Callable[[], Iterator[bytes]], maker: BodyMaker) -> Body:
        """The body of ``pieces``, which is called when it is this one's turn."""
        async with self._lock:
            loop = asyncio.get_running_loop()
            compressing: asyncio.Future[None] | None = None
            left, since = pieces(), self._clock()
            while part := self._slice(left, self._clock() - since):
                if compressing is not None:
                    await compressing
                compressing = loop.run_in_executor(self._threads, maker.add, part)
                since = self._clock()
                await asyncio.sleep(0)
            if compressing is not None:
                await compressing
            return await loop.run_in_executor(self._threads, maker.body)

    def _slice(self, left: Iterator[bytes], away: float) -> list[bytes]:
        """Pieces for as long as a slice may be, empty at the end."""
        began = self._clock()
        until = began + min(max(SHORTEST, away * SHARE / (1.0 - SHARE)), LONGEST)
        part = []
        for piece in left:
            part.append(piece)
            if self._clock() >= until:
                break
        return part
