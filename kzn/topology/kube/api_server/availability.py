"""Whether the API server answers: one probe for all resources while it does not.

In: requests that were not answered. Out: the moment at which it answers again, for all resources
at once. Never: a decision on errors that it did answer (list_watch.py).
"""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

Sleep = Callable[[float], Awaitable[None]]

PROBE_SECONDS = (0.5, 1.0)
"""Seconds between two probes, random in this range."""
LATER_SECONDS = (1.0, 2.0)
"""The same after LONG_AWAY probes that were not answered."""
LONG_AWAY = 60


class Availability:
    """Probes an API server that did not answer, until it does.

    ``answers`` makes one request with a short timeout. `run` is a task of its own.
    """

    def __init__(
        self, answers: Callable[[], Awaitable[bool]], *, sleep: Sleep, rng: Random
    ) -> None:
        self._answers = answers
        self._sleep = sleep
        self._rng = rng
        self._missed = asyncio.Event()
        self._back = asyncio.Event()

    def missed(self) -> None:
        """A request was not answered."""
        self._missed.set()

    async def pause(self, seconds: float) -> bool:
        """Wait; True as soon as the server answers again after a probe that it did not answer.

        A server that answers the first probe was not away, so the wait goes on.
        """
        waits = {
            asyncio.ensure_future(self._sleep(seconds)),
            back := asyncio.ensure_future(self._back.wait()),
        }
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            return back.done()
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    async def run(self) -> None:
        """Probe whenever a request was missed, until cancelled."""
        while True:
            await self._missed.wait()
            unanswered = 0
            while not await self._answers():
                unanswered += 1
                spread = PROBE_SECONDS if unanswered < LONG_AWAY else LATER_SECONDS
                await self._sleep(self._rng.uniform(*spread))
            self._missed.clear()
            if unanswered:
                self._back.set()
                self._back = asyncio.Event()
