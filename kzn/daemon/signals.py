"""SIGTERM and SIGINT as events: the first stops, the second hurries, the third kills."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from kzn.daemon.stop_flag import SIGNALS, StopFlag


@dataclass(frozen=True, slots=True)
class Shutdown:
    """``asked``: stop gracefully. ``hurry``: skip everything that is optional."""

    asked: asyncio.Event = field(default_factory=asyncio.Event)
    hurry: asyncio.Event = field(default_factory=asyncio.Event)


@contextmanager
def shutdown_on_signals(before: StopFlag | None = None) -> Iterator[Shutdown]:
    """Inside the block, SIGTERM and SIGINT set events instead of ending the process.

    The second signal restores their default effect, so that a third one ends a stuck process.
    ``before`` caught signals until now: if there was one, it counts as the first.
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
        if before is not None:
            before.is_set = True

    for number in SIGNALS:
        loop.add_signal_handler(number, on_signal)
    if before is not None and before.is_set:
        shutdown.asked.set()
    try:
        yield shutdown
    finally:
        release()
        if before is not None and not shutdown.asked.is_set():
            before.catch_again()
