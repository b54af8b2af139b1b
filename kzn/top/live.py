"""The loop of the live view: take a reading, draw it, wait for a key or another size.

In: clients and an interval. Out: a screen, until q or Ctrl-C.
Never: ends because a reading failed: the last numbers stay, with the error in a line.
"""

import os
import select
import signal
import sys
import termios
import time
import tty
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import FrameType

from rich.console import Console, RenderableType
from rich.live import Live

from kzn.client.http import ApiClient
from kzn.errors import KznError
from kzn.top.detail import detail_page
from kzn.top.history import History, SortKey
from kzn.top.reading import Workload, take_reading
from kzn.top.screen import Size, help_page, listed, page, shown
from kzn.top.trends import Peer, Trends, take_peers, take_trends
from kzn.top.view import KeyReader, View, pressed

MINUTES_SECONDS = 30.0
"""How often minutes of the server's history are asked for."""
ERROR_SECONDS = 1.0
"""At least so long after an error."""


def watch(
    servers: Sequence[ApiClient], history: History, interval: float, sort: SortKey, console: Console
) -> None:
    """Show the servers until q or Ctrl-C; KznError if the first reading fails."""
    history.add(take_reading(servers))
    view: View | None = View(sort)
    minutes, note = _Minutes(servers), ""
    with Live(console=console, auto_refresh=False, screen=True) as live, _terminal() as wait:
        while view is not None:
            minutes.take(view.opened)
            live.update(_drawn(history, view, console, servers, note, minutes), refresh=True)
            keys = wait(interval if not note else max(interval, ERROR_SECONDS))
            if keys is None:
                try:
                    history.add(take_reading(servers))
                    note = ""
                except KznError as error:
                    note = f"{error.message}; trying again"
                continue
            for key in keys:
                view = pressed(view, key, listed(history, view))
                if view is None:
                    break


def _drawn(
    history: History,
    view: View,
    console: Console,
    servers: Sequence[ApiClient],
    note: str,
    minutes: "_Minutes",
) -> RenderableType:
    size = Size(console.size.width, console.size.height)
    if view.help:
        return help_page()
    if view.opened is not None:
        return detail_page(history, view.opened, view, size, note, minutes.trends, minutes.peers)
    return page(history, view, size, shown(servers), note, minutes.trends)


class _Minutes:
    """What the servers' histories say, asked for again after MINUTES_SECONDS."""

    def __init__(self, servers: Sequence[ApiClient]) -> None:
        self._servers = servers
        self._due = 0.0
        self._peers_due = 0.0
        self._workload: Workload | None = None
        self.trends: Trends | None = None
        self.peers: tuple[tuple[Peer, int], ...] | None = None

    def take(self, opened: Workload | None) -> None:
        now = time.monotonic()
        if now >= self._due:
            self.trends = take_trends(self._servers)
            self._due = now + MINUTES_SECONDS
        if opened is not None and (opened != self._workload or now >= self._peers_due):
            self.peers = take_peers(self._servers, opened)
            self._workload, self._peers_due = opened, now + MINUTES_SECONDS


class _Wait:
    """Waits for keys or another size of the terminal until a time is over."""

    def __init__(self, keyboard: int | None, resized: int | None) -> None:
        self._keyboard = keyboard
        self._resized = resized
        self._keys = KeyReader()
        self._due = 0.0

    def __call__(self, seconds: float) -> list[str] | None:
        """The keys, none after a resize; None when the time is over. Keys do not restart it."""
        now = time.monotonic()
        if self._due <= now:
            self._due = now + seconds
        waiting = [fd for fd in (self._keyboard, self._resized) if fd is not None]
        ready, _, _ = select.select(waiting, [], [], self._due - now)
        if self._resized in ready and self._resized is not None:
            os.read(self._resized, 4096)
        if self._keyboard in ready and self._keyboard is not None:
            data = os.read(self._keyboard, 4096)
            return list(self._keys.keys(data)) if data else ["q"]
        return [] if ready else None


@contextmanager
def _terminal() -> Iterator[_Wait]:
    """Keys one by one, without echo, and a wakeup on SIGWINCH; both are as before afterwards."""
    with ExitStack() as stack:
        resized, wakeup = os.pipe()
        stack.callback(os.close, resized)
        stack.callback(os.close, wakeup)
        os.set_blocking(wakeup, False)

        def on_resize(_number: int, _frame: FrameType | None) -> None:
            os.write(wakeup, b"r")

        stack.callback(signal.signal, signal.SIGWINCH, signal.signal(signal.SIGWINCH, on_resize))
        if not sys.stdin.isatty():
            yield _Wait(None, resized)
            return
        before = termios.tcgetattr(sys.stdin)
        stack.callback(termios.tcsetattr, sys.stdin, termios.TCSADRAIN, before)
        tty.setcbreak(sys.stdin)
        yield _Wait(sys.stdin.fileno(), resized)
