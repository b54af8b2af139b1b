"""kzn/daemon/signals.py: the first signal stops, the second hurries, then defaults apply."""

import asyncio
import os
import signal

import pytest

from kzn.daemon.signals import shutdown_on_signals
from kzn.daemon.stop_flag import SIGNALS, StopFlag, StopRequested


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_stops_and_the_second_hurries(number: signal.Signals) -> None:
    async def run() -> None:
        with shutdown_on_signals() as shutdown:
            os.kill(os.getpid(), number)
            async with asyncio.timeout(5):
                await shutdown.asked.wait()
            assert not shutdown.hurry.is_set()
            os.kill(os.getpid(), number)
            async with asyncio.timeout(5):
                await shutdown.hurry.wait()
            assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL

    asyncio.run(run())


def test_after_the_block_signals_have_their_default_effect() -> None:
    before = signal.getsignal(signal.SIGTERM)

    async def run() -> None:
        with shutdown_on_signals():
            assert signal.getsignal(signal.SIGTERM) != before
        assert signal.getsignal(signal.SIGTERM) == before

    asyncio.run(run())


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_before_the_event_loop_stops_between_two_steps_and_counts_as_the_first(
    number: signal.Signals,
) -> None:
    before, stop = signal.getsignal(number), StopFlag()

    async def run() -> bool:
        with shutdown_on_signals(stop) as shutdown:
            return shutdown.asked.is_set()

    with stop.catch_signals():
        stop.check()
        assert not asyncio.run(run())
    with stop.catch_signals():
        os.kill(os.getpid(), number)
        assert signal.getsignal(number) == before  # for a second one, which ends the process
        with pytest.raises(StopRequested):
            stop.sleep(0.0)
        assert asyncio.run(run())
    assert signal.getsignal(number) == before
