"""The server's end of TLS over a pair of asyncio streams, with bounded memory.

In: a connection on which nothing was read yet, and a context.
Out: the same `read`, `write` and `drain` that the streams have, in clear.
Never: more than one piece of undigested bytes. asyncio's own keeps 256 KiB for each connection,
and counts nobody as connected before the handshake is over, so that no limit holds for it.
"""

import asyncio
import ssl
from contextlib import suppress
from typing import Any

_PIECE = 1 << 14


class TlsStream:
    """A reader and a writer in one; `handshake` comes first. Time-outs are the caller's."""

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
        """The transport below."""
        return self._writer.transport

    async def handshake(self) -> None:
        """Agree on keys; ssl.SSLError when the peer speaks no TLS or shows what is not accepted."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._fill()
            except ssl.SSLError:
                self._flush()  # the alert says why
                raise
            else:
                await self.drain()
                return

    def certificate(self) -> dict[str, Any]:
        """What ssl says of the peer's verified certificate; empty when none was asked for."""
        return self._tls.getpeercert() or {}

    async def read(self, most: int) -> bytes:
        """Some bytes, none when the peer is done; OSError when the connection broke."""
        while True:
            try:
                return self._tls.read(most)
            except ssl.SSLWantReadError:
                await self._fill()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""

    def write(self, data: bytes) -> None:
        """Send ``data`` when the peer takes it."""
        self._tls.write(data)
        self._flush()

    async def drain(self) -> None:
        """Return when the peer is not far behind in reading."""
        self._flush()
        await self._writer.drain()

    def can_write_eof(self) -> bool:
        """Never: TLS has no half-open connections."""
        return False

    def write_eof(self) -> None:
        """Not to be called, see `can_write_eof`."""
        raise NotImplementedError

    def close(self) -> None:
        """Say goodbye and close."""
        with suppress(ssl.SSLError):
            self._tls.unwrap()
        self._flush()
        self._writer.close()

    async def wait_closed(self) -> None:
        """Return when the connection is closed."""
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
