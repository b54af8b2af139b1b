"""Signals: the first asks, the second hurries, and afterwards they are the system's again."""

import asyncio
import os
import signal

import pytest

from kzn.daemon.signals import SIGNALS, shutdown_on_signals


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_asks_and_the_second_hurries(number: signal.Signals) -> None:
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


def test_outside_the_signals_have_their_usual_effect() -> None:
    before = signal.getsignal(signal.SIGTERM)

    async def run() -> None:
        with shutdown_on_signals():
            assert signal.getsignal(signal.SIGTERM) != before
        assert signal.getsignal(signal.SIGTERM) == before

    asyncio.run(run())
