"""The loop of the live view: take a reading, draw it, wait for a key.

In: a client and an interval. Out: a screen, until q or Ctrl-C.
Never: ends because a reading failed: the last numbers stay, with the error in a line.
"""

import select
import sys
import termios
import time
import tty
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live

from kzn.client.http import ApiClient
from kzn.errors import KznError
from kzn.top.history import History, SortKey
from kzn.top.reading import take_reading
from kzn.top.screen import page, shown

KEYS: dict[str, SortKey] = {"r": "rate", "t": "total", "n": "name", "c": "cost"}
QUIT = "q"


def watch(
    servers: Sequence[ApiClient], history: History, interval: float, sort: SortKey, console: Console
) -> None:
    """Show the servers until q or Ctrl-C; KznError if the first reading fails."""
    history.add(take_reading(servers))
    note = ""
    with Live(console=console, auto_refresh=False, screen=True) as live, _keys() as wait:
        while True:
            drawn = page(history, sort, console.size.height, shown(servers), note)
            live.update(drawn, refresh=True)
            key = wait(interval if not note else max(interval, 1.0))
            if key == QUIT:
                return
            if key is not None:
                sort = KEYS.get(key, sort)
                continue
            try:
                history.add(take_reading(servers))
                note = ""
            except KznError as error:
                note = f"{error.message}; trying again"


class _Wait:
    """Waits for a key until a time is over; without a terminal it only sleeps."""

    def __init__(self, *, has_keys: bool) -> None:
        self._has_keys = has_keys
        self._due = 0.0

    def __call__(self, seconds: float) -> str | None:
        """The key, or None when the time is over; a key does not restart the time."""
        now = time.monotonic()
        if self._due <= now:
            self._due = now + seconds
        if not self._has_keys:
            time.sleep(self._due - now)
            return None
        ready, _, _ = select.select([sys.stdin], [], [], self._due - now)
        return sys.stdin.read(1) or QUIT if ready else None


@contextmanager
def _keys() -> Iterator[_Wait]:
    if not sys.stdin.isatty():
        yield _Wait(has_keys=False)
        return
    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        yield _Wait(has_keys=True)
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
