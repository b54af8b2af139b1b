"""Ships batches to a server: connects, sends, and tries again until the batch is acknowledged.

In: one batch at a time, numbered by its caller.
Out: nothing, once the server has applied it. RefusedError when it never will take this agent.
Never: more than one batch in memory, a batch given up, or a connection used again after a fault.
"""

import asyncio
import logging
import random
import socket
import ssl
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from kzn.daemon.backoff import Backoff
from kzn.daemon.connect import Dial, dial_tcp
from kzn.daemon.listen import Address
from kzn.daemon.logs import Repeating
from kzn.errors import KznError, RefusedError, WireError
from kzn.model.batch import AgentIdentity, Batch
from kzn.wire.batch import EncodedBatch, encode_batch
from kzn.wire.codec import decode_to_agent, encode_to_server
from kzn.wire.messages import Reason, ToAgent
from kzn.wire.session import AgentSession
from kzn.wire.stream import FrameStream

log = logging.getLogger(__name__)

MAX_ANSWER = 64 << 10
"""Bytes of a frame that a server may send: a refusal with its text is the longest."""

_HINTS = {
    Reason.VERSION: "run agents and server of the same kzn version",
    Reason.TOKEN: "give the agent a token that this server takes (--token-file, docs/security.md)",
    Reason.NODE: "start the agent with --node NODE, the node's name in Kubernetes",
}

_LABELS: tuple[tuple[type[Exception], str], ...] = (
    (TimeoutError, "timeout"),
    (socket.gaierror, "resolve"),
    (UnicodeError, "resolve"),
    (ConnectionRefusedError, "connect"),
    (ssl.SSLCertVerificationError, "certificate"),
    (ssl.SSLError, "tls"),
    (OSError, "connection"),  # last, since all but UnicodeError are OSErrors
)


@dataclass(frozen=True, slots=True)
class ShipTimeouts:
    """Seconds that a server has for each step before the connection is given up."""

    connect: float = 5.0
    welcome: float = 10.0
    ack: float = 30.0


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
    failures: Counter[str] = field(default_factory=Counter)
    """Tries that failed, by reason."""

    def copy(self) -> "ShipStats":
        """A copy that further batches leave alone."""
        return replace(self, failures=Counter(self.failures))


class Shipper:
    """One agent's way to one server; `deliver` is called for one batch at a time.

    ``token`` is asked for at each connection, since tokens are renewed in their files; the
    KznError that it raises is a fault like any other. ``stats`` is read by metrics.
    """

    def __init__(
        self,
        identity: AgentIdentity,
        server: Address,
        *,
        token: Callable[[], str] = str,
        timeouts: ShipTimeouts | None = None,
        dial: Dial | None = None,
        backoff: Backoff | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.stats = ShipStats()
        self._identity = identity
        self._server = server
        self._token = token
        self._timeouts = timeouts or ShipTimeouts()
        self._dial = dial or dial_tcp(server)
        self._backoff = backoff or Backoff(random.SystemRandom())
        self._clock = clock
        self._sleep = sleep
        self._away = Repeating(log, clock=clock)
        self._link: _Link | None = None

    async def deliver(self, batch: Batch) -> None:
        """Return when the server has acknowledged ``batch``, however long that takes.

        May be cancelled at any time; the batch is then sent or not, and may be delivered again
        under the same number. RefusedError when the server refuses this agent for good.
        """
        begun = self._clock()
        encoded = encode_batch(batch)
        self._backoff.reset()
        while True:
            # A connection kept since the last batch may have ended meanwhile, which says
            # nothing about the server: only a failure on a new one makes the next try wait.
            wait = self._link is None
            try:
                await self._try(encoded, begun)
            except (KznError, OSError, UnicodeError) as error:
                self._failed(error, batch.sequence, self._clock() - begun)
            else:
                self._delivered(begun)
                return
            if wait:
                await self._sleep(self._backoff.next())

    async def close(self) -> None:
        """Close the connection; a `deliver` under way must have been cancelled before."""
        self._drop()

    async def _try(self, encoded: EncodedBatch, begun: float) -> None:
        try:
            link = self._link or await self._connect()
            waited = round((self._clock() - begun) * 1000)
            async with asyncio.timeout(self._timeouts.ack):
                duplicate = await link.exchange(encoded.waited(waited), self.stats)
        except BaseException:
            self._drop()
            raise
        self.stats.acked += 1
        self.stats.duplicates += duplicate

    async def _connect(self) -> "_Link":
        token = self._token()
        async with asyncio.timeout(self._timeouts.connect):
            reader, writer = await self._dial()
        self._link = link = _Link(FrameStream(reader, writer, MAX_ANSWER), self._identity)
        async with asyncio.timeout(self._timeouts.welcome):
            await link.greet(token, self.stats)
        self.stats.connects += 1
        self.stats.connected = True
        return link

    def _drop(self) -> None:
        self.stats.connected = False
        if self._link is not None:
            self._link.abort()
            self._link = None

    def _failed(self, error: Exception, sequence: int, seconds: float) -> None:
        reason = _reason_of(error)
        self.stats.failures[reason] += 1
        if isinstance(error, RefusedError) and error.reason in _HINTS:
            hint = error.hint or _HINTS[Reason(error.reason)]
            raise RefusedError(error.message, reason=error.reason, hint=hint) from error
        self._away.line(
            "away",
            "no delivery to %s (%s: %s); batch %d waits since %.0f s, its bytes stay in the kernel",
            self._server,
            reason,
            str(error) or type(error).__name__,
            sequence,
            seconds,
        )

    def _delivered(self, begun: float) -> None:
        if self._away.over("away"):
            log.info("delivering to %s again after %.0f s", self._server, self._clock() - begun)


class _Link:
    """One connection: whose turn it is, and the bytes."""

    def __init__(self, stream: FrameStream, identity: AgentIdentity) -> None:
        self._stream = stream
        self._session = AgentSession(identity)

    async def greet(self, token: str, stats: ShipStats) -> None:
        """Hello and Welcome."""
        await self._send(encode_to_server(self._session.hello(token)), stats)
        self._session.welcomed(await self._answer())

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


def _reason_of(error: Exception) -> str:
    """The metric label of a failed try."""
    if isinstance(error, RefusedError):
        return f"refused_{error.reason}"
    if isinstance(error, WireError):
        return error.reason
    return next((label for kind, label in _LABELS if isinstance(error, kind)), "credentials")
