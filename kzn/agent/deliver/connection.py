"""One connection to a server: Hello and Welcome, then one batch and its Ack at a time.

In: a new connection. Out: acknowledged batches, counted in `ShipStats`.
Never: a time limit or a retry; the shipper does both.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass, field, replace

from kzn.errors import WireError
from kzn.model.batch import AgentIdentity
from kzn.wire.codec import decode_to_agent, encode_to_server
from kzn.wire.compression import Compression
from kzn.wire.encode_batch import EncodedBatch
from kzn.wire.messages import ToAgent
from kzn.wire.session import AgentSession
from kzn.wire.stream import FrameStream

MAX_ANSWER = 64 << 10
"""Limit in bytes for a frame from the server; a refusal with its text is the longest."""


@dataclass(slots=True)
class ShipStats:
    """Counters of one shipper; only the event loop writes them."""

    connected: bool = False
    connects: int = 0
    sent: int = 0
    """Batches sent, every attempt counted."""
    sent_bytes: int = 0
    """Bytes on the connection, with the length prefixes of frames."""
    acked: int = 0
    duplicates: int = 0
    """Acknowledged batches that the server had applied before, so an ack was lost."""
    failovers: int = 0
    """Batches sent to one server, not acknowledged, and sent to another: perhaps counted twice."""
    failures: Counter[str] = field(default_factory=Counter)
    """Failed attempts by reason."""

    def copy(self) -> "ShipStats":
        """A copy that does not change with further batches."""
        return replace(self, failures=Counter(self.failures))


class ServerConnection:
    """One connection; `last_applied` is the sequence that the server applied last, 0 for none."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        identity: AgentIdentity,
    ) -> None:
        self.instance = 0
        self.last_applied = 0
        self._told: tuple[bytes, ...] | None = None
        self._reader = reader
        self._stream = FrameStream(reader, writer, MAX_ANSWER)
        self._session = AgentSession(identity)

    @property
    def closed_by_server(self) -> bool:
        """Whether the server has closed this connection, so that a batch on it would be lost."""
        return self._reader.at_eof()

    @property
    def compression(self) -> Compression:
        """How a batch is to be compressed for this server."""
        return self._session.compression

    async def handshake(self, token: str, stats: ShipStats) -> None:
        """Send Hello, receive Welcome; RefusedError or WireError for another answer."""
        await self._send(encode_to_server(self._session.hello(token)), stats)
        welcome = self._session.welcomed(await self._answer())
        self.instance = welcome.instance
        self.last_applied = welcome.last_applied or 0

    async def tell(self, addresses: tuple[bytes, ...], stats: ShipStats) -> None:
        """Send the node's addresses unless the server has them or takes none, receive its Ack."""
        if addresses == self._told:
            return
        message = self._session.addresses(addresses)
        if message is not None:
            await self._send(encode_to_server(message), stats)
            self._session.acked(await self._answer(), 0)
        self._told = addresses

    async def exchange(self, batch: EncodedBatch, stats: ShipStats) -> bool:
        """Send a batch, receive its Ack; True when the server had applied the batch before."""
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
