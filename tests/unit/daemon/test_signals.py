"""kzn/daemon/signals.py: the first signal stops, the second hurries, then defaults apply."""

import asyncio
import os
import signal

import pytest

from kzn.daemon.signals import SIGNALS, shutdown_on_signals


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
