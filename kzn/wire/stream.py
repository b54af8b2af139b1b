"""Frames over a pair of asyncio streams: the thin shell around frames.py, for either side.

In: a connection and a limit for frames. Out: whole messages.
Never: a timeout; each caller sets its own.
"""

from collections.abc import Callable
from typing import Protocol

from kzn.errors import WireError
from kzn.wire.frames import FrameReader, frame

_PIECE = 1 << 16


class Reader(Protocol):
    """The part of asyncio.StreamReader that is used."""

    async def read(self, n: int, /) -> bytes:
        """At most ``n`` bytes, empty at the end."""
        ...


class _Transport(Protocol):
    def abort(self) -> None: ...

    def is_closing(self) -> bool: ...

    def get_write_buffer_size(self) -> int: ...


class Writer(Protocol):
    """The part of asyncio.StreamWriter that is used."""

    @property
    def transport(self) -> _Transport:
        """The transport, for `abort`."""
        ...

    def write(self, data: bytes, /) -> None:
        """Buffer ``data`` and begin to send it."""
        ...

    async def drain(self) -> None:
        """Wait until the send buffer is short again."""
        ...

    def can_write_eof(self) -> bool:
        """Whether the connection can be half-closed."""
        ...

    def write_eof(self) -> None:
        """Half-close."""
        ...

    def close(self) -> None:
        """Send the buffer, then close."""
        ...

    async def wait_closed(self) -> None:
        """Wait until closed."""
        ...


def _ignore(_bytes: int) -> None:
    return


class FrameStream:
    """One connection; `received` and `sent` count its bytes.

    ``on_buffered`` is called with the bytes of incomplete frames whenever they change.
    """

    def __init__(
        self,
        reader: Reader,
        writer: Writer,
        max_frame: int,
        on_buffered: Callable[[int], None] = _ignore,
    ) -> None:
        self.received = 0
        self.sent = 0
        self._reader = reader
        self._writer = writer
        self._on_buffered = on_buffered
        self._frames = FrameReader(max_frame)
        self._ended = False

    def set_max_frame(self, max_frame: int) -> None:
        """Change the limit, from the next frame on."""
        self._frames.max_frame = max_frame

    async def wait_readable(self) -> None:
        """Wait until the next message begins to arrive or the peer closes."""
        if not self._frames.buffered:
            await self._read()

    def received_message(self) -> bytes | None:
        """The next message if it has arrived; None if not, or if the peer closed."""
        for message in self._frames.feed(b""):
            self._on_buffered(self._frames.buffered)
            return message
        return None

    async def receive(self) -> bytes | None:
        """The next message, None if the peer closed between two.

        WireError for an invalid length or a close within a frame; OSError if the connection broke.
        """
        while True:
            message = self.received_message()
            if message is not None:
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
        self._on_buffered(self._frames.buffered)

    async def send(self, message: bytes) -> None:
        """Send one message; returns when the send buffer is short."""
        if not self.sent_at_once(message):
            await self._writer.drain()

    def sent_at_once(self, message: bytes) -> bool:
        """Send one message; False: the send buffer may be long, so call `drain`."""
        data = frame(message)
        self.sent += len(data)
        self._writer.write(data)
        transport = self._writer.transport
        return not transport.is_closing() and transport.get_write_buffer_size() == 0

    async def drain(self) -> None:
        """Wait until the send buffer is short."""
        await self._writer.drain()

    async def linger(self, limit: int = 1 << 20) -> None:
        """Half-close, then read and discard what the peer still sends, up to ``limit`` bytes.

        Closing with unread bytes resets the connection, and the peer may lose the last message.
        """
        if self._writer.can_write_eof():
            self._writer.write_eof()
        while limit > 0 and (data := await self._reader.read(_PIECE)):
            limit -= len(data)

    def abort(self) -> None:
        """Close at once and discard unsent bytes. May be called twice.

        ``on_buffered``, which may refer to the caller of this stream, is not called any more.
        """
        self._on_buffered = _ignore
        self._writer.transport.abort()

    async def close(self) -> None:
        """Send the buffer, then close."""
        self._writer.close()
        await self._writer.wait_closed()
