"""An event loop that other work need not wait for when thousands of sockets are ready at once.

In: ready sockets. Out: some of them in each turn of the loop, the others in the next turns.
Never: a socket that is passed over: the kernel puts what it has reported behind all other ready
ones.

asyncio runs all that is ready before it looks at timers, and what that wakes before it looks at
timers again. When a network partition closes 5,000 connections at once, a turn that takes them all
lasts for 0.1 s, in which no batch is acknowledged.
"""

import asyncio
import select
import selectors
from collections.abc import Coroutine
from os import dup
from typing import Any, TypeVar

TURN_SOCKETS = 64
"""Ready sockets of a turn. To close a connection takes some 50 us, over several turns."""

T = TypeVar("T")


class BoundedSelector(selectors.EpollSelector):
    """Reports at most ``most`` ready files in a call, in the order in which they became ready."""

    def __init__(self, most: int = TURN_SOCKETS) -> None:
        super().__init__()
        self._most = most
        self._same = select.epoll.fromfd(dup(self.fileno()))  # which takes the bound as an argument

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait ``timeout`` seconds at most, None: until a file is ready."""
        ready = []
        registered = self.get_map()
        wait = None if timeout is None else max(timeout, 0.0)
        for number, found in self._same.poll(wait, self._most):
            key = registered.get(number)
            if key is not None:
                # An error or a hang-up, which is neither, is told by the next read or write.
                reads = selectors.EVENT_READ if found & ~select.EPOLLOUT else 0
                writes = selectors.EVENT_WRITE if found & ~select.EPOLLIN else 0
                ready.append((key, (reads | writes) & key.events))
        return ready

    def close(self) -> None:
        """Close the selector, not its files."""
        self._same.close()
        super().close()


def run(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run` on such a loop."""
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(main)


def new_loop() -> asyncio.AbstractEventLoop:
    """A loop that takes `TURN_SOCKETS` ready sockets in a turn."""
    return asyncio.SelectorEventLoop(BoundedSelector())
