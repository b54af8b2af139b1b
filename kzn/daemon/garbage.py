"""Python's garbage collector in a daemon that holds millions of objects and must not stop.

In: ticks of the event loop. Out: cycles among new objects freed, some thousand objects at a time;
those that survive are frozen: no later collection visits them.
Never: a collection of all objects, unless the process has grown by half since the last one.

Reference counts free nearly everything. A collection visits all objects of its generation with all
threads stopped, and at 150,000 pods a full one takes 0.4 s; 30,000 objects that are not in the
CPU's caches take 20 ms.
"""

import gc
import sys
import time
from collections.abc import Callable

YOUNG = 2_000
"""New objects after which the youngest generation is collected."""
MIDDLE = 3
"""Of these, after which the next one is, too: it visits some 8,000 objects, in 5 ms."""
NEVER = 1 << 30
LOOK_SECONDS = 3600.0
GROWTH = 1.5
"""Times the memory after the last full collection: cycles that were frozen may have ended."""


def limit_collections() -> None:
    """Let collections be small, and none be full; called before the cluster is listed."""
    gc.set_threshold(YOUNG, MIDDLE, NEVER)


class FrozenHeap:
    """Freezes what has survived two collections; ``allocated`` counts the blocks of memory."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        allocated: Callable[[], int] = sys.getallocatedblocks,
    ) -> None:
        self._clock = clock
        self._allocated = allocated
        self._look_at = clock() + LOOK_SECONDS
        self._usual: int | None = None

    def tick(self) -> None:
        """Freeze the oldest generation, in microseconds unless a full collection is due."""
        if gc.get_count()[2]:
            gc.freeze()
        if self._clock() >= self._look_at:
            self._look_at = self._clock() + LOOK_SECONDS
            self._limit_growth()

    def _limit_growth(self) -> None:
        """Free the cycles among frozen objects if they may be many."""
        blocks = self._allocated()
        if self._usual is None:  # an hour after the start, which has made most objects
            self._usual = blocks
        elif blocks > GROWTH * self._usual:
            gc.unfreeze()
            gc.collect()
            gc.freeze()
            self._usual = self._allocated()


def release(transport: object) -> None:
    """Let an aborted transport be freed by reference counts.

    One of asyncio refers to itself by the method that it calls when it is readable. Agents connect
    anew every hour, as their tokens expire, and their connections are frozen by then.
    """
    getattr(transport, "__dict__", {}).pop("_read_ready_cb", None)
