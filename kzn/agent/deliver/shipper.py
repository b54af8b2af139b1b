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
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from kzn.agent.deliver.connection import ServerConnection, ShipStats
from kzn.daemon.backoff import Backoff
from kzn.daemon.connect import Dial, dial_tcp
from kzn.daemon.listen import HostPort
from kzn.daemon.logs import RateLimited
from kzn.errors import KznError, RefusedError, WireError
from kzn.model.batch import AgentIdentity, Batch
from kzn.wire.encode_batch import EncodedBatch, encode_batch
from kzn.wire.messages import Reason

log = logging.getLogger(__name__)

MOVE_SECONDS = 120.0
"""How long the server that a batch was sent to is looked for, from the first time that another
one of its name answers; well below the ten minutes after which the kernel's programs go dormant."""
SEARCH_SECONDS = 8.0
"""The longest wait between two looks: some thirty looks, each at a server by chance."""
PRESSED_SECONDS = 0.5
"""The longest wait of an agent that is about to end."""

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


class FirstServer(Protocol):
    """Which ledger the batch under way was first sent to, remembered beside the batch."""

    @property
    def server(self) -> int:
        """Welcome's instance, 0 when it was sent to none."""
        ...

    def sending_to(self, server: int) -> None:
        """It may be in this ledger from now on."""
        ...


class Shipper:
    """One agent's way to one server; `deliver` is called for one batch at a time.

    ``token`` is asked for at each connection, since tokens are renewed in their files; the
    KznError that it raises is a fault like any other. ``stats`` is read by metrics.

    Several servers may answer to one name, each with its own ledger. A batch whose ack was lost may
    be in the ledger of the one that it was sent to, so no other is given it for `MOVE_SECONDS`.
    """

    def __init__(
        self,
        identity: AgentIdentity,
        server: HostPort,
        *,
        first: FirstServer,
        token: Callable[[], str] = str,
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
        self._elsewhere_since: float | None = None
        self._token = token
        self._timeouts = timeouts or ShipTimeouts()
        self._dial = dial or dial_tcp(server)
        self._backoff = backoff or Backoff(random.SystemRandom())
        self._search = search or Backoff(random.SystemRandom(), longest=SEARCH_SECONDS)
        self._clock = clock
        self._sleep = sleep
        self._away = RateLimited(log, clock=clock)
        self._link: ServerConnection | None = None
        self._pressed = asyncio.Event()

    def hurry(self) -> None:
        """The agent is about to end: try at once, and never again wait for long."""
        self._pressed.set()

    async def deliver(self, batch: Batch) -> None:
        """Return when the server has acknowledged ``batch``, however long that takes.

        May be cancelled at any time; the batch is then sent or not, and may be delivered again
        under the same number. RefusedError when the server refuses this agent for good.
        """
        begun = self._clock()
        encoded = encode_batch(batch)
        self._backoff.reset()
        self._search.reset()
        self._elsewhere_since = None
        while True:
            # A connection kept since the last batch may have ended meanwhile, which says
            # nothing about the server: only a failure on a new one makes the next try wait.
            wait = self._link is None
            backoff = self._backoff
            try:
                await self._try(encoded, begun)
            except OtherServerError as error:
                backoff = self._search
                self._failed(error, batch.sequence, self._clock() - begun)
            except (KznError, OSError, UnicodeError) as error:
                self._failed(error, batch.sequence, self._clock() - begun)
            else:
                self._delivered(begun)
                return
            if wait:
                await self._rest(backoff.next())

    async def close(self) -> None:
        """Close the connection; a `deliver` under way must have been cancelled before."""
        self._drop()

    async def _rest(self, seconds: float) -> None:
        if self._pressed.is_set():
            await self._sleep(min(seconds, PRESSED_SECONDS))
            return
        ways = [
            asyncio.ensure_future(self._sleep(seconds)),
            asyncio.ensure_future(self._pressed.wait()),
        ]
        try:
            done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
        for way in done:
            way.result()

    async def _try(self, encoded: EncodedBatch, begun: float) -> None:
        try:
            if self._link is not None and self._link.ended:
                self._drop()  # before the batch counts as sent to that server
            link = self._link or await self._connect()
            self._keep_to_one_ledger(link, encoded.sequence)
            waited = round((self._clock() - begun) * 1000)
            async with asyncio.timeout(self._timeouts.ack):
                duplicate = await link.exchange(encoded.aged_by(waited), self.stats)
        except BaseException:
            self._drop()
            raise
        self.stats.acked += 1
        self.stats.duplicates += duplicate

    def _keep_to_one_ledger(self, link: ServerConnection, sequence: int) -> None:
        """_ElsewhereError while another server than this one may have the batch."""
        first = self._first.server
        here = link.instance
        if first and here and first != here and link.last_applied < sequence:
            now = self._clock()
            since = self._elsewhere_since = self._elsewhere_since or now
            if now - since < MOVE_SECONDS:
                raise OtherServerError(
                    f"batch {sequence} may be counted by another server of this name already",
                    reason="other_server",
                )
            self.stats.failovers += 1
            log.warning(
                "batch %d was sent to a server that was not met again for %.0f s, and goes to"
                " another one now; if the first had counted it, it is counted twice",
                sequence,
                now - since,
            )
        if here:
            self._first.sending_to(here)

    async def _connect(self) -> ServerConnection:
        token = self._token()
        async with asyncio.timeout(self._timeouts.connect):
            reader, writer = await self._dial()
        self._link = link = ServerConnection(reader, writer, self._identity)
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
        self._away.warn(
            "away",
            "no delivery to %s (%s: %s); batch %d waits since %.0f s, its bytes stay in the kernel",
            self._server,
            reason,
            str(error) or type(error).__name__,
            sequence,
            seconds,
        )

    def _delivered(self, begun: float) -> None:
        if self._away.resolved("away"):
            log.info("delivering to %s again after %.0f s", self._server, self._clock() - begun)


class OtherServerError(WireError):
    """The server is not the one that the batch was first sent to."""


def _reason_of(error: Exception) -> str:
    """The metric label of a failed try."""
    if isinstance(error, RefusedError):
        return f"refused_{error.reason}"
    if isinstance(error, WireError):
        return error.reason
    return next((label for kind, label in _LABELS if isinstance(error, kind)), "credentials")
