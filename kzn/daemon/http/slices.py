"""Text that is made on the event loop, in slices between which batches are applied.

In: iterators of pieces, each made in a few milliseconds. Out: a body of each, compressed in a
thread meanwhile. Never: a slice longer than `LONGEST` and one piece, or two of them in a turn of
the loop: several renderings take turns.

A thread that renders shares the interpreter lock with the loop: at full ingest each waits for the
other at every call of numpy, so that both the scrape and the ingest took several times as long.
"""

import asyncio
import math
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
    """Renders on the event loop; ``threads`` compress."""

    def __init__(self, threads: Executor, clock: Callable[[], float] = time.monotonic) -> None:
        self._threads = threads
        self._clock = clock
        self._turn = asyncio.Lock()  # serves in the order of requests
        self._ended = -math.inf
        """When the last slice of any rendering ended."""

    async def body(self, pieces: Iterator[bytes], maker: BodyMaker) -> Body:
        """The body of ``pieces``."""
        loop = asyncio.get_running_loop()
        compressing: asyncio.Future[None] | None = None
        since = self._clock()
        while True:
            async with self._turn:
                await asyncio.sleep(0)
                part = self._slice(pieces, self._clock() - max(since, self._ended))
                self._ended = self._clock()
            if compressing is not None:
                await compressing
            if not part:
                return await loop.run_in_executor(self._threads, maker.body)
            compressing = loop.run_in_executor(self._threads, maker.add, part)
            since = self._clock()

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
