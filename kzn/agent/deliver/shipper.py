"""Ships batches to a server: connects, sends, and retries until the batch is acknowledged.

In: one batch at a time, numbered by the caller.
Out: nothing, once the server has applied it. RefusedError when it refuses this agent for good.
Never: more than one batch in memory, a batch dropped, or a connection reused after an error.
"""

import asyncio
import logging
import random
import socket
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from kzn.agent.deliver.connection import ServerConnection, ShipStats
from kzn.daemon.backoff import Backoff
from kzn.daemon.connect import Dial, dial_tcp
from kzn.daemon.listen import HostPort
from kzn.daemon.logs import RateLimited
from kzn.errors import KernelError, KznError, RefusedError, WireError
from kzn.model.batch import AgentIdentity, Batch
from kzn.wire.compression import Compression
from kzn.wire.encode_batch import EncodedBatch, encode_batch
from kzn.wire.messages import Reason

log = logging.getLogger(__name__)

FAILOVER_SECONDS = 120.0
"""Once another server of the same name has answered, how long to retry for the server that a batch
was first sent to; well below the ten minutes after which the kernel's programs go dormant."""
SEARCH_WAIT_SECONDS = 8.0
"""The longest wait between two of these attempts: about thirty, each at a random server."""
HURRIED_WAIT_SECONDS = 0.5
"""The longest wait between two attempts of an agent that is shutting down."""

_HINTS = {
    Reason.VERSION: "run agents and server of the same kzn version",
    Reason.TOKEN: "give the agent a token that the server accepts (--token-file, docs/security.md)",
    Reason.NODE: "start the agent with --node NODE, the node's name in Kubernetes",
}

_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (KernelError, "kernel"),
    (TimeoutError, "timeout"),
    (socket.gaierror, "resolve"),
    (UnicodeError, "resolve"),
    (ConnectionRefusedError, "connect"),
    (ssl.SSLCertVerificationError, "certificate"),
    (ssl.SSLError, "tls"),
    (OSError, "connection"),  # last, since most others are OSErrors
)


@dataclass(frozen=True, slots=True)
class ShipTimeouts:
    """Time limits in seconds for each step; the agent then closes the connection."""

    connect: float = 5.0
    welcome: float = 10.0
    ack: float = 30.0


class BatchServer(Protocol):
    """The server instance that the batch under way was first sent to, stored beside the batch."""

    @property
    def server(self) -> int:
        """The instance in its Welcome; 0 when the batch was not sent yet."""
        ...

    def sending_to(self, server: int) -> None:
        """Record that this server may have the batch from now on."""
        ...


@dataclass(slots=True)
class _EncodedOnce:
    """A batch, encoded once for servers that take the same compression."""

    batch: Batch
    encoded: EncodedBatch | None = None

    def compressed(self, compression: Compression) -> EncodedBatch:
        encoded = self.encoded
        if encoded is None or encoded.columns.compression != compression:
            encoded = self.encoded = encode_batch(self.batch, compression)
        return encoded


class Shipper:
    """Delivers one batch at a time to one server name; metrics read ``stats``.

    ``token`` is called at each connection, since token files are renewed; its KznError counts as a
    failed attempt. ``addresses`` are the node's own, told to the server before a batch when they
    have changed; None: not known.

    Several servers may share a name, each with its own ledger. When an ack is lost, the first
    server may have applied the batch, so no other one is sent it for `FAILOVER_SECONDS`.
    """

    def __init__(
        self,
        identity: AgentIdentity,
        server: HostPort,
        *,
        first: BatchServer,
        token: Callable[[], str] = str,
        addresses: Callable[[], tuple[bytes, ...] | None] = lambda: None,
        timeouts: ShipTimeouts | None = None,
        dial: Dial | None = None,
        backoff: Backoff | None = None,
        search: Backoff | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.stats = ShipStats()
        self._identity = identity
        self._server = server
        self._first = first
        self._other_server_since: float | None = None
        self._token = token
        self._addresses = addresses
        self._timeouts = timeouts or ShipTimeouts()
        self._dial = dial or dial_tcp(server)
        self._backoff = backoff or Backoff(random.SystemRandom())
        self._search = search or Backoff(random.SystemRandom(), longest=SEARCH_WAIT_SECONDS)
        self._clock = clock
        self._sleep = sleep
        self._warnings = RateLimited(log, clock=clock)
        self._connection: ServerConnection | None = None
        self._hurrying = asyncio.Event()

    def hurry(self) -> None:
        """The agent is shutting down: retry at once, and with short waits from now on."""
        self._hurrying.set()

    async def deliver(self, batch: Batch) -> None:
        """Return when the server has acknowledged ``batch``, however long that takes.

        When cancelled, the batch may have been sent, and may be delivered again under the same
        number. RefusedError when the server refuses this agent for good.
        """
        started = self._clock()
        encoded = _EncodedOnce(batch)
        self._backoff.reset()
        self._search.reset()
        self._other_server_since = None
        while True:
            # A connection kept since the last batch may be broken although the server is up, so
            # only a failure of a new connection delays the next attempt.
            wait = self._connection is None
            backoff = self._backoff
            try:
                await self._try(encoded, started)
            except OtherServerError as error:
                backoff = self._search
                self._failed(error, batch.sequence, self._clock() - started)
            except (KznError, OSError, UnicodeError) as error:
                self._failed(error, batch.sequence, self._clock() - started)
            else:
                self._delivered(started)
                return
            if wait:
                await self._wait(backoff.next())

    async def close(self) -> None:
        """Close the connection; cancel a running `deliver` before."""
        self._disconnect()

    async def _wait(self, seconds: float) -> None:
        if self._hurrying.is_set():
            await self._sleep(min(seconds, HURRIED_WAIT_SECONDS))
            return
        waits = [
            asyncio.ensure_future(self._sleep(seconds)),
            asyncio.ensure_future(self._hurrying.wait()),
        ]
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()
        for task in done:
            task.result()

    async def _try(self, encoded: "_EncodedOnce", started: float) -> None:
        try:
            if self._connection is not None and self._connection.closed_by_server:
                self._disconnect()  # before the batch counts as sent to that server
            connection = self._connection or await self._connect()
            if (addresses := self._addresses()) is not None:
                async with asyncio.timeout(self._timeouts.ack):
                    await connection.tell(addresses, self.stats)
            self._require_first_server(connection, encoded.batch.sequence)
            waited = round((self._clock() - started) * 1000)
            async with asyncio.timeout(self._timeouts.ack):
                message = encoded.compressed(connection.compression).aged_by(waited)
                duplicate = await connection.exchange(message, self.stats)
        except BaseException:
            self._disconnect()
            raise
        self.stats.acked += 1
        self.stats.duplicates += duplicate

    def _require_first_server(self, connection: ServerConnection, sequence: int) -> None:
        """OtherServerError while a server other than this one may have applied the batch."""
        first = self._first.server
        here = connection.instance
        if first and here and first != here and connection.last_applied < sequence:
            now = self._clock()
            since = self._other_server_since = self._other_server_since or now
            if now - since < FAILOVER_SECONDS:
                raise OtherServerError(
                    f"batch {sequence} was first sent to another server of this name, which may"
                    " have counted it",
                    reason="other_server",
                )
            self.stats.failovers += 1
            log.warning(
                "batch %d failed over: the server that it was first sent to was not reached for"
                " %.0f s; if that server had counted the batch, it is counted twice",
                sequence,
                now - since,
            )
        if here:
            self._first.sending_to(here)

    async def _connect(self) -> ServerConnection:
        token = self._token()
        async with asyncio.timeout(self._timeouts.connect):
            reader, writer = await self._dial()
        self._connection = connection = ServerConnection(reader, writer, self._identity)
        async with asyncio.timeout(self._timeouts.welcome):
            await connection.handshake(token, self.stats)
        self.stats.connects += 1
        self.stats.connected = True
        return connection

    def _disconnect(self) -> None:
        self.stats.connected = False
        if self._connection is not None:
            self._connection.abort()
            self._connection = None

    def _failed(self, error: Exception, sequence: int, seconds: float) -> None:
        reason = _reason_of(error)
        self.stats.failures[reason] += 1
        if isinstance(error, RefusedError) and error.reason in _HINTS:
            hint = error.hint or _HINTS[Reason(error.reason)]
            raise RefusedError(error.message, reason=error.reason, hint=hint) from error
        self._warnings.warn(
            "away",
            "cannot deliver to server %s (%s: %s); batch %d has waited %.0f s, retrying;"
            " its counts stay in the kernel",
            self._server,
            reason,
            str(error) or type(error).__name__,
            sequence,
            seconds,
        )

    def _delivered(self, started: float) -> None:
        if self._warnings.resolved("away"):
            log.info(
                "delivering to server %s again after %.0f s", self._server, self._clock() - started
            )


class OtherServerError(WireError):
    """This server is not the one that the batch was first sent to."""


def _reason_of(error: Exception) -> str:
    """The metric label of a failed attempt."""
    if isinstance(error, RefusedError):
        return f"refused_{error.reason}"
    if isinstance(error, WireError):
        return error.reason
    return next((label for kind, label in _REASONS if isinstance(error, kind)), "credentials")
