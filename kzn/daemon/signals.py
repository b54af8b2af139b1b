"""SIGTERM and SIGINT as events: the first asks to stop, the second to hurry, the third kills."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True, slots=True)
class Shutdown:
    """``asked``: stop in good order. ``hurry``: leave out what may be left out."""

    asked: asyncio.Event = field(default_factory=asyncio.Event)
    hurry: asyncio.Event = field(default_factory=asyncio.Event)


@contextmanager
def shutdown_on_signals() -> Iterator[Shutdown]:
    """While inside, SIGTERM and SIGINT set events of the running loop instead of ending it.

    After the second one they have their usual effect again, so a stuck process can still be
    ended from its terminal.
    """
    loop = asyncio.get_running_loop()
    shutdown = Shutdown()

    def release() -> None:
        for number in SIGNALS:
            loop.remove_signal_handler(number)

    def on_signal() -> None:
        if shutdown.asked.is_set():
            shutdown.hurry.set()
            release()
        shutdown.asked.set()

    for number in SIGNALS:
        loop.add_signal_handler(number, on_signal)
    try:
        yield shutdown
    finally:
        release()
