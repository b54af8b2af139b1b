"""The server's side of TLS over a pair of asyncio streams, with bounded memory.

In: a connection of which nothing was read yet, and a context.
Out: `read`, `write` and `drain` as of the streams, decrypted.
Never: more than one piece of unread bytes. asyncio's own TLS buffers 256 KiB for each connection
and calls back only after the handshake, so that no limit of connections applies before.
"""

import asyncio
import io
import ssl
from contextlib import suppress
from typing import Any

_PIECE = 1 << 14


class TlsStream:
    """Reader and writer in one; call `handshake` first. The caller sets timeouts."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        context: ssl.SSLContext,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    @property
    def transport(self) -> asyncio.WriteTransport:
        """The transport of the TCP connection."""
        return self._writer.transport

    async def handshake(self) -> None:
        """Do the handshake; ssl.SSLError if the peer does not use TLS or is not verified."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._fill()
            except ssl.SSLError:
                self._flush()  # sends the alert
                raise
            else:
                await self.drain()
                return

    def certificate(self) -> dict[str, Any]:
        """The peer's verified certificate as of `ssl`; empty if none is required."""
        return self._tls.getpeercert() or {}

    async def read(self, most: int) -> bytes:
        """At most ``most`` bytes, empty at the end; OSError if the connection broke."""
        while True:
            try:
                return self._tls.read(most)
            except ssl.SSLWantReadError:
                await self._fill()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""

    def write(self, data: bytes) -> None:
        """Buffer ``data`` and begin to send it."""
        self._tls.write(data)
        self._flush()

    async def drain(self) -> None:
        """Wait until the send buffer is short again."""
        self._flush()
        await self._writer.drain()

    def can_write_eof(self) -> bool:
        """Never: TLS has no half-open connections."""
        return False

    def write_eof(self) -> None:
        """An error: see `can_write_eof`."""
        raise io.UnsupportedOperation("TLS has no half-open connections")

    def close(self) -> None:
        """Send close_notify and close."""
        with suppress(ssl.SSLError):
            self._tls.unwrap()
        self._flush()
        self._writer.close()

    async def wait_closed(self) -> None:
        """Wait until the connection is closed."""
        await self._writer.wait_closed()

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._writer.write(self._outgoing.read())

    async def _fill(self) -> None:
        await self.drain()
        data = await self._reader.read(_PIECE)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()
