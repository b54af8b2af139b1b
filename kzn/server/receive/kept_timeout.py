"""A timeout for waits that come one after the other and nearly always end in time.

In: awaitables, each with a number of seconds. Out: their results, or TimeoutError.
Never: a timer for each wait: one timer is kept, which looks when it is due at what is waited for
then. `asyncio.timeout` makes and cancels one each time, and the event loop of thousands of
connections has to clear those away.
"""

import asyncio
import math
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


class KeptTimeout:
    """The timeout of one task; `close` it at its end."""

    def __init__(self) -> None:
        self._timer: asyncio.TimerHandle | None = None
        self._due = math.inf
        self._task: asyncio.Task[object] | None = None
        self._has_expired = False

    async def wait(self, what: Awaitable[T], seconds: float) -> T:
        """The result of ``what``; TimeoutError if there is none after ``seconds``."""
        loop = asyncio.get_running_loop()
        self._due = due = loop.time() + seconds
        if self._timer is None or self._timer.when() > due:
            self._start(loop, due)
        self._task = task = asyncio.current_task()
        try:
            return await what
        except asyncio.CancelledError:
            # Another cancellation of the task, at the same time, goes first.
            if self._has_expired and task is not None and not task.uncancel():
                raise TimeoutError from None
            raise
        finally:
            self._due, self._has_expired = math.inf, False

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._task = None

    def _start(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(due, self._ring, loop)

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        if self._due == math.inf:
            return  # nothing is waited for: the next wait starts it again
        if loop.time() < self._due:
            self._start(loop, self._due)
        elif self._task is not None:
            self._has_expired = True
            self._task.cancel()
