"""TCP connections in memory, with latency, resets and black holes."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

NEVER = 1 << 40


@dataclass(frozen=True, slots=True)
class Fault:
    """The faults of one connection.

    ``cut``: bytes of each direction after which both ends are reset. ``hole``: bytes of each
    direction after which the rest is dropped silently. ``latency``: seconds for every byte.
    """

    latency: float = 0.01
    cut: tuple[int, int] = (NEVER, NEVER)
    hole: tuple[int, int] = (NEVER, NEVER)


class End:
    """One end of a connection: reader, writer and transport in one."""

    def __init__(self, fault: Fault, direction: int) -> None:
        self.peer: End = self
        self._fault = fault
        self._cut, self._hole = fault.cut[direction], fault.hole[direction]
        self._loop = asyncio.get_running_loop()
        self._data = bytearray()
        self._eof = False
        self._error: Exception | None = None
        self._changed = asyncio.Event()

    @property
    def transport(self) -> "End":
        return self

    def write(self, data: bytes) -> None:
        if self._error is not None:
            return
        passed = data[: min(self._cut, self._hole)]
        self._cut -= len(data)
        self._hole -= len(data)
        if passed:
            self._later(self.peer.feed, passed)
        if self._cut <= 0:
            self._later(self.peer.fail)
            self._later(self.fail)
            self._cut = NEVER

    def is_closing(self) -> bool:
        return self._error is not None

    def get_write_buffer_size(self) -> int:
        return 0

    async def drain(self) -> None:
        if self._error is not None:
            raise self._error

    async def read(self, size: int) -> bytes:
        while not (self._data or self._eof or self._error):
            self._changed.clear()
            await self._changed.wait()
        if self._data:
            taken = bytes(self._data[:size])
            del self._data[:size]
            return taken
        if self._error is not None:
            raise self._error
        return b""

    def at_eof(self) -> bool:
        return self._eof and not self._data

    def feed(self, data: bytes) -> None:
        if self._error is None:
            self._data += data
            self._changed.set()

    def fail(self) -> None:
        self._error = self._error or ConnectionResetError("reset")
        self._changed.set()

    def end(self) -> None:
        self._eof = True
        self._changed.set()

    def abort(self) -> None:
        """Close at once; the other end gets a reset after the bytes sent before."""
        if self._error is None:
            self._error = ConnectionAbortedError("aborted")
            self._data.clear()
            self._changed.set()
            if self._hole > 0:
                self._later(self.peer.fail)

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        if self._hole > 0:
            self._later(self.peer.end)

    def close(self) -> None:
        self.write_eof()

    async def wait_closed(self) -> None:
        return

    def get_extra_info(self, name: str) -> Any:
        return ("10.0.0.1", 1) if name == "peername" else None

    def set_write_buffer_limits(self, high: int) -> None:
        """Writes never block here."""

    def _later(self, call: Callable[..., None], *args: Any) -> None:
        self._loop.call_later(self._fault.latency, call, *args)


def connect(fault: Fault) -> tuple[End, End]:
    """The agent's end and the server's."""
    near, far = End(fault, 0), End(fault, 1)
    near.peer, far.peer = far, near
    return near, far
