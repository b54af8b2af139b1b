"""Frames over a pair of asyncio streams: the thin shell around frames.py, for either side.

In: a connection, and how long a frame may be.
Out: whole messages.
Never: a time-out of its own; each caller knows how long its peer may take.
"""

from collections.abc import Callable
from typing import Protocol

from kzn.errors import WireError
from kzn.wire.frames import FrameReader, frame

_PIECE = 1 << 16


class Reader(Protocol):
    """What is used of an asyncio.StreamReader."""

    async def read(self, n: int, /) -> bytes:
        """Some bytes, none at the end."""
        ...


class _Transport(Protocol):
    def abort(self) -> None: ...


class Writer(Protocol):
    """What is used of an asyncio.StreamWriter."""

    @property
    def transport(self) -> _Transport:
        """What is aborted."""
        ...

    def write(self, data: bytes, /) -> None:
        """Send when the peer takes it."""
        ...

    async def drain(self) -> None:
        """Return when the peer is not far behind."""
        ...

    def can_write_eof(self) -> bool:
        """Whether one direction can be ended alone."""
        ...

    def write_eof(self) -> None:
        """End this direction."""
        ...

    def close(self) -> None:
        """Send what is left, then close."""
        ...

    async def wait_closed(self) -> None:
        """Return when closed."""
        ...


class FrameStream:
    """One connection; `received` and `sent` count its bytes.

    ``kept`` is told how many bytes of unfinished frames are kept, whenever that changes.
    """

    def __init__(
        self,
        reader: Reader,
        writer: Writer,
        max_frame: int,
        kept: Callable[[int], None] = lambda _bytes: None,
    ) -> None:
        self.received = 0
        self.sent = 0
        self._reader = reader
        self._writer = writer
        self._kept = kept
        self._frames = FrameReader(max_frame)
        self._ended = False

    def set_max_frame(self, max_frame: int) -> None:
        """From the next frame on, the limit is another one."""
        self._frames.max_frame = max_frame

    async def wait_readable(self) -> None:
        """Return when the next message has begun to arrive, or the peer has closed."""
        if not self._frames.buffered:
            await self._read()

    async def receive(self) -> bytes | None:
        """The next message, None when the peer closed between two.

        WireError when it lied about a length or closed within a frame; OSError when the
        connection broke.
        """
        while True:
            for message in self._frames.feed(b""):
                self._kept(self._frames.buffered)
                return message
            if self._ended:
                break
            await self._read()
        if self._frames.buffered:
            raise WireError("the connection ended within a frame", reason="frame_cut")
        return None

    async def _read(self) -> None:
        data = await self._reader.read(_PIECE)
        self.received += len(data)
        self._ended = not data
        self._frames.feed(data)
        self._kept(self._frames.buffered)

    async def send(self, message: bytes) -> None:
        """Send one message; returns when the peer is not far behind in reading."""
        data = frame(message)
        self.sent += len(data)
        self._writer.write(data)
        await self._writer.drain()

    async def linger(self, limit: int = 1 << 20) -> None:
        """End the sending side and read what the peer still sends, up to ``limit`` bytes.

        Closing with unread bytes would reset the connection, and the peer might lose the last
        message on its way.
        """
        if self._writer.can_write_eof():
            self._writer.write_eof()
        while limit > 0 and (data := await self._reader.read(_PIECE)):
            limit -= len(data)

    def abort(self) -> None:
        """Close at once; what was not sent yet is dropped. May be called twice."""
        self._writer.transport.abort()

    async def close(self) -> None:
        """Send what is left, then close."""
        self._writer.close()
        await self._writer.wait_closed()
