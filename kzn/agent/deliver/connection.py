"""One connection to a server: whose turn it is, the bytes, and what was counted of them.

In: a connection that was just made. Out: Hello and Welcome, then one batch and its Ack at a time.
Never: a time-out or a second try; both are the shipper's.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass, field, replace

from kzn.errors import WireError
from kzn.model.batch import AgentIdentity
from kzn.wire.codec import decode_to_agent, encode_to_server
from kzn.wire.encode_batch import EncodedBatch
from kzn.wire.messages import ToAgent
from kzn.wire.session import AgentSession
from kzn.wire.stream import FrameStream

MAX_ANSWER = 64 << 10
"""Bytes of a frame that a server may send: a refusal with its text is the longest."""


@dataclass(slots=True)
class ShipStats:
    """What one shipper did so far; written by the event loop alone."""

    connected: bool = False
    connects: int = 0
    sent: int = 0
    """Batches sent, each try counted."""
    sent_bytes: int = 0
    """Bytes on the connection, frames and their lengths."""
    acked: int = 0
    duplicates: int = 0
    """Acked batches that the server had applied before: an ack was lost."""
    failovers: int = 0
    """Batches that may be counted twice: sent to a server, not acked, and sent to another."""
    failures: Counter[str] = field(default_factory=Counter)
    """Tries that failed, by reason."""

    def copy(self) -> "ShipStats":
        """A copy that further batches leave alone."""
        return replace(self, failures=Counter(self.failures))


class ServerConnection:
    """One connection: whose turn it is, and the bytes."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        identity: AgentIdentity,
    ) -> None:
        self.instance = 0
        self.last_applied = 0
        self._reader = reader
        self._stream = FrameStream(reader, writer, MAX_ANSWER)
        self._session = AgentSession(identity)

    @property
    def ended(self) -> bool:
        """The server has closed this connection: a batch sent on it would reach nobody."""
        return self._reader.at_eof()

    async def greet(self, token: str, stats: ShipStats) -> None:
        """Hello and Welcome."""
        await self._send(encode_to_server(self._session.hello(token)), stats)
        welcome = self._session.welcomed(await self._answer())
        self.instance = welcome.instance
        self.last_applied = welcome.last_applied or 0

    async def exchange(self, batch: EncodedBatch, stats: ShipStats) -> bool:
        """Send one batch and have its Ack; True when the server had applied it before."""
        message = encode_to_server(batch)
        self._session.check(batch, len(message))
        stats.sent += 1
        await self._send(message, stats)
        return self._session.acked(await self._answer(), batch.sequence).duplicate

    def abort(self) -> None:
        """Close at once."""
        self._stream.abort()

    async def _send(self, message: bytes, stats: ShipStats) -> None:
        before = self._stream.sent
        try:
            await self._stream.send(message)
        finally:
            stats.sent_bytes += self._stream.sent - before

    async def _answer(self) -> ToAgent:
        message = await self._stream.receive()
        if message is None:
            raise WireError("the server closed the connection", reason="closed")
        return decode_to_agent(message)
