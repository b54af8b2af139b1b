"""kzn/server/receive/kept_timeout.py: waits of one task, and their one timer."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from kzn.server.receive.kept_timeout import KeptTimeout

LONG = 3600.0


class Timers:
    """The timers that are started while a test runs."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.started: list[float] = []
        self._call_at = loop.call_at
        loop.call_at = self._started  # type: ignore[method-assign, assignment]

    def _started(self, when: float, *arguments: object) -> asyncio.TimerHandle:
        self.started.append(when)
        return self._call_at(when, *arguments)  # type: ignore[arg-type]


def play(act: Callable[[KeptTimeout], Awaitable[None]]) -> None:
    async def run() -> None:
        kept = KeptTimeout()
        try:
            await act(kept)
        finally:
            kept.close()

    asyncio.run(run())


async def soon(result: int) -> int:
    await asyncio.sleep(0)
    return result


async def never() -> None:
    await asyncio.get_running_loop().create_future()


def test_waits_that_end_in_time_share_one_timer() -> None:
    async def act(kept: KeptTimeout) -> None:
        timers = Timers(asyncio.get_running_loop())
        assert [await kept.wait(soon(number), LONG) for number in range(100)] == [*range(100)]
        assert len(timers.started) == 1

    play(act)


def test_a_wait_without_a_result_ends() -> None:
    async def act(kept: KeptTimeout) -> None:
        with pytest.raises(TimeoutError):
            await kept.wait(never(), 0.0)
        assert await kept.wait(soon(1), LONG) == 1

    play(act)


def test_a_shorter_wait_ends_before_the_timer_of_a_longer_one() -> None:
    async def act(kept: KeptTimeout) -> None:
        await kept.wait(soon(1), LONG)
        with pytest.raises(TimeoutError):
            await kept.wait(never(), 0.0)

    play(act)


def test_a_timer_that_rings_early_waits_on() -> None:
    async def act(kept: KeptTimeout) -> None:
        await kept.wait(soon(1), 0.0)  # its timer is due in the next wait
        timers = Timers(asyncio.get_running_loop())
        ended = asyncio.get_running_loop().create_future()
        waiting = asyncio.create_task(kept.wait(ended, LONG))
        for _ in range(3):
            await asyncio.sleep(0)
        assert timers.started
        assert not waiting.done()
        ended.set_result(2)
        assert await waiting == 2

    play(act)


def test_a_timer_that_rings_between_two_waits_ends_neither() -> None:
    async def act(kept: KeptTimeout) -> None:
        await kept.wait(soon(1), 0.0)
        for _ in range(3):
            await asyncio.sleep(0)
        assert await kept.wait(soon(2), LONG) == 2

    play(act)


@pytest.mark.parametrize("expires", [False, True])
def test_a_cancellation_goes_before_the_end_of_the_time(*, expires: bool) -> None:
    async def act(kept: KeptTimeout) -> None:
        waiting = asyncio.create_task(kept.wait(never(), LONG))
        await asyncio.sleep(0)
        if expires:
            kept._due = 0.0
            kept._ring(asyncio.get_running_loop())
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    play(act)


def test_a_closed_one_ends_nothing() -> None:
    async def act(kept: KeptTimeout) -> None:
        await kept.wait(soon(1), 0.0)
        kept.close()
        for _ in range(3):
            await asyncio.sleep(0)

    play(act)
