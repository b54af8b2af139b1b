"""Takes connections of agents, bounds them in number, and ends them all in good order.

In: listening sockets.
Out: for each connection that fits a `AgentConnection`, for each other a refusal.
Never: keeps a connection beyond its limits, or stops accepting for the fault of one.
"""

import asyncio
import logging
import socket
from collections import Counter

from kzn.daemon.connect import enable_keepalive
from kzn.daemon.logs import RateLimited
from kzn.daemon.tls import ServerTls
from kzn.daemon.tls_stream import TlsStream
from kzn.server.auth.permit import AdmitAgent, admit_all
from kzn.server.receive.connection import AgentConnection
from kzn.server.receive.context import ApplyBatch, ConnectionContext, Durable, at_once
from kzn.server.receive.fair_share import FairShare
from kzn.server.receive.frame_memory import UnfinishedFrames
from kzn.server.receive.limits import ReceiveLimits
from kzn.server.receive.stats import ReceiveStats
from kzn.wire.codec import encode_to_agent
from kzn.wire.frames import frame
from kzn.wire.messages import Reason, Refusal
from kzn.wire.sequences import AppliedSequences
from kzn.wire.stream import Reader, Writer

log = logging.getLogger(__name__)

_MAPPED = "::ffff:"
_BUFFER = 32 << 10
"""Bytes that the kernel keeps of one connection's frames, and about as many the loop: TCP makes
the peer wait. asyncio reads what there is at once, so this bounds its memory, too."""
_ANSWERS = 16 << 10
"""Bytes of answers that a peer may leave unread before it is waited for."""


class Receiver:
    """The server's side of delivery. ``apply`` runs in the event loop, once for each number.

    ``stats`` is live and read by metrics. ``book`` outlives connections; it is given when its
    numbers come from somewhere, and is empty otherwise. An ack waits until ``durable`` returns.
    """

    def __init__(
        self,
        apply: ApplyBatch,
        *,
        limits: ReceiveLimits | None = None,
        admit: AdmitAgent = admit_all,
        book: AppliedSequences | None = None,
        durable: Durable = at_once,
        instance: int = 0,
        tls: ServerTls | None = None,
    ) -> None:
        self.stats = ReceiveStats()
        self._tls = tls
        limits = limits or ReceiveLimits()
        self._desk = ConnectionContext(
            limits=limits,
            book=AppliedSequences() if book is None else book,  # an empty one is falsy
            stats=self.stats,
            apply=apply,
            admit=admit,
            complaints=RateLimited(log),
            backlog=UnfinishedFrames(limits.backlog),
            pace=FairShare(limits.share, limits.burst),
            durable=durable,
            instance=instance,
        )
        self._servers: list[asyncio.Server] = []
        self._peers: dict[asyncio.Task[None], AgentConnection] = {}
        self._strangers: dict[asyncio.Task[None], AgentConnection] = {}
        self._by_address: Counter[str] = Counter()
        self._closing = False

    async def start(self, sockets: list[socket.socket]) -> None:
        """Accept on ``sockets``, which belong to this receiver from now on."""
        for sock in sockets:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            self._servers.append(
                await asyncio.start_server(self.accept, sock=sock, limit=_BUFFER // 2)
            )

    async def close(self, deadline: float) -> None:
        """Stop accepting, let frames that are being applied finish, and close all connections.

        After ``deadline`` seconds whatever is left is cut off; nobody's bytes are lost by that,
        since what was not acked is sent again.
        """
        self._closing = True
        for server in self._servers:
            server.close()
        for task, peer in self._peers.items():
            if peer.stop():
                task.cancel()
        if self._peers:
            _, late = await asyncio.wait(list(self._peers), timeout=deadline)
            for task in late:
                self._peers[task].abort()
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take a connection that was just made, whatever it is made of."""
        address = _address_of(writer)
        self.stats.accepted += 1
        refused = self._no_place(address)
        if refused is not None:
            self._turn_away(writer, *refused, address)
            return
        enable_keepalive(writer)
        writer.transport.set_write_buffer_limits(high=_ANSWERS)
        streams: tuple[Reader, Writer] = (reader, writer)
        if self._tls is not None:
            secure = TlsStream(reader, writer, self._tls.context())
            streams = (secure, secure)
        peer = AgentConnection(*streams, address, self._desk)
        task = asyncio.get_running_loop().create_task(peer.run())
        self._peers[task] = self._strangers[task] = peer
        self._by_address[address] += 1
        self._count()
        task.add_done_callback(lambda done: self._ended(done, address))
        self._bound_strangers()

    def _bound_strangers(self) -> None:
        """Whoever has been silent for longest makes room: an agent is welcomed in milliseconds."""
        if len(self._strangers) <= self._desk.limits.strangers:
            return
        self._strangers = {task: p for task, p in self._strangers.items() if p.is_stranger}
        while len(self._strangers) > self._desk.limits.strangers:
            oldest = next(iter(self._strangers))
            self._strangers.pop(oldest).cut("strangers", "too many have not said who they are")
            oldest.cancel()

    def _count(self) -> None:
        self.stats.connections = len(self._peers)
        self._desk.pace.alone = len(self._by_address) <= 1

    def _ended(self, task: asyncio.Task[None], address: str) -> None:
        self._peers.pop(task).abort()
        self._strangers.pop(task, None)
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]
        self._count()
        self.stats.forgotten = self._desk.book.evicted
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a connection of %s ended by a defect of kzn", address, exc_info=error)

    def _no_place(self, address: str) -> tuple[str, Refusal] | None:
        limits = self._desk.limits
        if self._closing:
            return "shutting_down", Refusal(Reason.SHUTTING_DOWN, "shutting down")
        if len(self._peers) >= limits.connections:
            text = f"{limits.connections} connections are open"
            return "connections", Refusal(Reason.BUSY, text)
        if self._by_address[address] >= limits.connections_per_address:
            text = f"{limits.connections_per_address} connections from {address} are open"
            return "connections_per_address", Refusal(Reason.BUSY, text)
        return None

    def _turn_away(
        self, writer: asyncio.StreamWriter, label: str, refusal: Refusal, address: str
    ) -> None:
        self.stats.refusals[label] += 1
        self._desk.complaints.line(label, "turned away %s: %s", address, refusal.text)
        if self._tls is None:  # a handshake is work, and there is no other way to say it
            writer.write(frame(encode_to_agent(refusal)))
        writer.close()


def _address_of(writer: asyncio.StreamWriter) -> str:
    """The peer's address without port; a dual-stack socket shows IPv4 as mapped."""
    name = writer.get_extra_info("peername")
    return str(name[0]).removeprefix(_MAPPED) if name else "unknown"
