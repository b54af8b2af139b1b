"""SIGTERM and SIGINT of a daemon that has no event loop yet.

In: the two signals. Out: a flag, which is checked between the steps of a start.
Never: an exception in the middle of a step, or an import of asyncio: a daemon catches signals
before it imports anything large. The kernel discards signals to PID 1 that it does not catch.
"""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequested(Exception):  # noqa: N818 - not an error
    """A signal asked the daemon to stop while it started."""


class StopFlag:
    """Set by the first signal within `catch_signals`."""

    def __init__(self) -> None:
        self.is_set = False
        self._before: dict[signal.Signals, Any] = {}

    @contextmanager
    def catch_signals(self) -> Iterator[None]:
        """Inside the block, the first SIGTERM or SIGINT sets the flag and does nothing else.

        It also restores their earlier effect, so that a second one ends a stuck process. Signals
        that a process blocked before it replaced itself by this one (`block_signals`) count.
        """
        self._before = {number: signal.getsignal(number) for number in SIGNALS}
        self.catch_again()
        try:
            yield
        finally:
            self._restore()
            self._before = {}

    def catch_again(self) -> None:
        """After an event loop caught signals, inside the block of `catch_signals`."""
        if self._before:
            for number in SIGNALS:
                signal.signal(number, self._on_signal)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.is_set = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def check(self) -> None:
        """StopRequested if the flag is set."""
        if self.is_set:
            raise StopRequested

    def sleep(self, seconds: float) -> None:
        """Sleep, then `check`."""
        time.sleep(seconds)
        self.check()


def block_signals() -> None:
    """Keep both signals pending from now on, also for a program that replaces this one."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
