"""Accepts agent connections, limits their number, and closes them at shutdown.

In: listening sockets.
Out: an `AgentConnection` for each connection within the limits, a refusal for any other.
Never: more connections than the limits allow; an end of accepting because one connection failed.
"""

import asyncio
import logging
import socket
from collections import Counter

from kzn.daemon.accept import Acceptor, peer_address
from kzn.daemon.connect import enable_keepalive
from kzn.daemon.garbage import release
from kzn.daemon.logs import RateLimited
from kzn.daemon.tls import ServerTls
from kzn.daemon.tls_stream import TlsStream
from kzn.server.auth.permit import Authenticate, accept_all
from kzn.server.receive.connection import AgentConnection
from kzn.server.receive.context import (
    ApplyBatch,
    ConnectionContext,
    Durable,
    TakeAddresses,
    at_once,
    ignore_addresses,
)
from kzn.server.receive.fair_share import FairShare
from kzn.server.receive.frame_memory import UnfinishedFrames
from kzn.server.receive.limits import ReceiveLimits
from kzn.server.receive.live_agents import LiveAgents, Waiting
from kzn.server.receive.stats import ReceiveStats
from kzn.server.receive.turns import ApplyAll, Turns, one_by_one
from kzn.wire.codec import encode_to_agent
from kzn.wire.frames import frame
from kzn.wire.messages import Reason, Refusal
from kzn.wire.sequences import AppliedSequences
from kzn.wire.stream import Reader, Writer

log = logging.getLogger(__name__)

_BUFFER_BYTES = 32 << 10
"""Receive buffer of a connection, in the kernel and again in asyncio, which reads all there is at
once. When it is full, TCP flow control stops the peer."""
_UNREAD_BYTES = 16 << 10
"""Bytes of unread answers after which the server waits for the peer to read."""


class Receiver:
    """The agent port of the server. ``apply`` runs on the event loop, once for each batch.

    With ``apply_all`` that is called instead, with the batches that came at the same time.
    ``sequences`` has the sequence numbers restored from a state file; empty when omitted. An ack
    waits until ``durable`` returns. ``stats`` is live. ``verifies``: ``authenticate`` proves the
    node of an agent, so that limits go by agent and not by the address that many may share.
    """

    def __init__(
        self,
        apply: ApplyBatch,
        *,
        apply_all: ApplyAll | None = None,
        limits: ReceiveLimits | None = None,
        authenticate: Authenticate = accept_all,
        sequences: AppliedSequences | None = None,
        durable: Durable = at_once,
        take_addresses: TakeAddresses = ignore_addresses,
        instance: int = 0,
        verifies: bool = False,
        tls: ServerTls | None = None,
    ) -> None:
        self.stats = ReceiveStats()
        self._tls = tls
        limits = limits or ReceiveLimits()
        if sequences is None:  # not `or`: it is falsy while empty
            sequences = AppliedSequences()
        self._context = ConnectionContext(
            limits=limits,
            sequences=sequences,
            stats=self.stats,
            turns=Turns(
                apply_all or one_by_one(apply), limits.wire, lambda: len(self._connections)
            ),
            take_addresses=take_addresses,
            authenticate=authenticate,
            warnings=RateLimited(log),
            frame_memory=UnfinishedFrames(limits.unfinished_bytes),
            fair_share=FairShare(limits.share, limits.burst),
            durable=durable,
            agents=LiveAgents(),
            instance=instance,
            verifies=verifies,
        )
        self._acceptor = Acceptor(
            "agents",
            self.accept,
            reserve=limits.reserved_descriptors,
            read_buffer=_BUFFER_BYTES // 2,
            on_refused=self._count_no_descriptor,
        )
        self._connections: dict[asyncio.Task[None], AgentConnection] = {}
        self._unauthenticated: dict[asyncio.Task[None], AgentConnection] = {}
        self._by_payer: Counter[str] = Counter()
        self._closing = False

    def waiting(self) -> Waiting:
        """Since when agents are connected, and when a batch of them is due."""
        return self._context.agents.waiting()

    async def start(self, sockets: list[socket.socket]) -> None:
        """Accept on ``sockets``; the receiver closes them."""
        for sock in sockets:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        self._acceptor.start(sockets)

    async def close(self, deadline: float) -> None:
        """Stop accepting, finish frames being processed, and close all connections.

        After ``deadline`` seconds the remaining connections are reset. No bytes are lost: agents
        resend what was not acked.
        """
        self._closing = True
        self._acceptor.close()
        for task, connection in self._connections.items():
            if connection.stop():
                task.cancel()
        if self._connections:
            _, late = await asyncio.wait(list(self._connections), timeout=deadline)
            for task in late:
                self._connections[task].abort()
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a new connection, or refuse it."""
        address = peer_address(writer)
        self.stats.accepted += 1
        refusal = self._refusal_for(address)
        if refusal is not None:
            self._refuse(writer, *refusal, address)
            return
        enable_keepalive(writer)
        writer.transport.set_write_buffer_limits(high=_UNREAD_BYTES)
        streams: tuple[Reader, Writer] = (reader, writer)
        if self._tls is not None:
            secure = TlsStream(reader, writer, self._tls.context())
            streams = (secure, secure)
        connection = AgentConnection(*streams, address, self._context, self._verified)
        task = asyncio.get_running_loop().create_task(connection.run())
        self._connections[task] = self._unauthenticated[task] = connection
        self._by_payer[connection.payer] += 1
        self._count()
        task.add_done_callback(self._ended)
        task.add_done_callback(lambda _: release(writer.transport))
        self._limit_unauthenticated()

    def _count_no_descriptor(self) -> None:
        self.stats.refusals["descriptors"] += 1

    def _limit_unauthenticated(self) -> None:
        """Close the oldest beyond the limit; an agent authenticates in milliseconds."""
        if len(self._unauthenticated) <= self._context.limits.unauthenticated:
            return
        self._unauthenticated = {
            task: c for task, c in self._unauthenticated.items() if not c.is_authenticated
        }
        while len(self._unauthenticated) > self._context.limits.unauthenticated:
            oldest = next(iter(self._unauthenticated))
            self._unauthenticated.pop(oldest).cut(
                "unauthenticated", "too many unauthenticated connections, and it is the oldest"
            )
            oldest.cancel()

    def _count(self) -> None:
        self.stats.connections = len(self._connections)
        self._context.fair_share.single_address = len(self._by_payer) <= 1

    def _verified(self, payer: str, agent: str) -> bool:
        """Count a connection of ``payer`` for its agent from now on, unless that has too many."""
        if self._by_payer[agent] >= self._context.limits.connections_per_address:
            return False
        self._by_payer[agent] += 1
        self._leave(payer)
        self._count()
        return True

    def _leave(self, payer: str) -> None:
        self._by_payer[payer] -= 1
        if not self._by_payer[payer]:
            del self._by_payer[payer]

    def _ended(self, task: asyncio.Task[None]) -> None:
        connection = self._connections.pop(task)
        connection.abort()
        self._unauthenticated.pop(task, None)
        self._leave(connection.payer)
        self._count()
        self.stats.evicted_epochs = self._context.sequences.evicted
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("connection from %s closed: internal error", connection.payer, exc_info=error)

    def _refusal_for(self, address: str) -> tuple[str, Refusal] | None:
        limits = self._context.limits
        if self._closing:
            return "shutting_down", Refusal(Reason.SHUTTING_DOWN, "shutting down")
        if len(self._connections) >= limits.connections:
            text = f"{limits.connections} connections are open"
            return "connections", Refusal(Reason.BUSY, text)
        if self._by_payer[address] >= limits.connections_per_address:
            text = f"{limits.connections_per_address} connections from {address} are open"
            return "connections_per_address", Refusal(Reason.BUSY, text)
        return None

    def _refuse(
        self, writer: asyncio.StreamWriter, label: str, refusal: Refusal, address: str
    ) -> None:
        self.stats.refusals[label] += 1
        self._context.warnings.warn(label, "refused connection from %s: %s", address, refusal.text)
        if self._tls is None:  # with TLS a refusal would need a handshake first
            writer.write(frame(encode_to_agent(refusal)))
        writer.close()
