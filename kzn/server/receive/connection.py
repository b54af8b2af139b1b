"""One connection of an agent, from its first byte to its last, whatever it sends.

In: frames, each within its time and size.
Out: applied batches, and an answer to each frame.
Never: an ack before the batch is applied and durable, or a fault that leaves this connection.
"""

import asyncio
import logging
import math
import ssl
from contextlib import suppress

from kzn.daemon.tls_stream import TlsStream
from kzn.errors import WireError
from kzn.server.auth.permit import PeerInfo, peer_info
from kzn.server.receive.context import ConnectionContext
from kzn.wire.codec import decode_to_server, encode_to_agent
from kzn.wire.decode_batch import decode_batch
from kzn.wire.limits import MAX_HELLO
from kzn.wire.messages import Ack, Reason, Refusal, ToAgent, Welcome
from kzn.wire.session import Admit, Apply, Repeat, ServerSession
from kzn.wire.stream import FrameStream, Reader, Writer

log = logging.getLogger(__name__)

_TOO_LARGE = ("frame_too_large", "flows_limit", "addresses_limit")
_OUR_FAULT = Refusal(Reason.INTERNAL, "a fault of the server; its log says more")
_ENDED = Refusal(Reason.BUSY, "what this agent proved itself with has ended: connect anew")
_UNDECIDED = Refusal(Reason.BUSY, "it was not decided in time whether this agent may speak")
_NOT_DURABLE = Refusal(Reason.BUSY, "the batch is not in the state file yet")


class _RefusedPeer(Exception):  # noqa: N818 - no fault of ours, but how a conversation ends
    def __init__(self, refusal: Refusal, label: str = "") -> None:
        super().__init__(refusal.text)
        self.refusal = refusal
        self.label = label or str(refusal.reason)


class AgentConnection:
    """Talks to one agent until either side ends it; `run` is its task.

    With TLS the `TlsStream` comes as reader and as writer.
    """

    def __init__(
        self, reader: Reader, writer: Writer, address: str, desk: ConnectionContext
    ) -> None:
        self._stream = FrameStream(reader, writer, MAX_HELLO, self._keep)
        self._tls = reader if isinstance(reader, TlsStream) else None
        self._address = address
        self._caller = PeerInfo(address)
        self._desk = desk
        self._session = ServerSession(desk.book, desk.limits.wire, desk.instance)
        self._who = "a stranger"
        self._busy = False
        self._stopping = False
        self._cut = False
        self._until = math.inf
        self._counted = (0, 0)

    @property
    def is_stranger(self) -> bool:
        """Whether this peer has not been welcomed yet."""
        return self._session.identity is None

    def stop(self) -> bool:
        """End after the frame in hand; True when there is none, so `run` may be cancelled."""
        self._stopping = True
        return not self._busy

    def abort(self) -> None:
        """Cut the connection off, without a word."""
        self._stream.abort()

    def cut(self, label: str, why: str) -> None:
        """Cut the connection off for the good of the others, and count it."""
        if not self._cut:
            self._cut = True
            self._desk.stats.refusals[label] += 1
            text = "cut off %s from %s: %s"
            self._desk.complaints.line(label, text, self._who, self._address, why)
            self.abort()

    def give_way(self) -> None:
        """Free the memory of a frame that takes long."""
        self.cut("memory", "its unfinished frame is the oldest of too many")

    async def run(self) -> None:
        """The whole conversation. A cancellation that `stop` announced is no error here."""
        try:
            await self._secure()
            await self._talk()
        except _RefusedPeer as end:
            await self._refuse(end.refusal, end.label)
        except WireError as error:
            await self._misunderstood(error)
        except TimeoutError:
            await self._refuse(Refusal(Reason.TIMEOUT, "no whole frame in time"), "timeout")
        except ssl.SSLError as error:
            self.cut("tls", f"TLS: {error.reason or error}")
        except OSError:
            self._broke()
        except asyncio.CancelledError:
            if not self._stopping:
                raise
            await self._refuse(Refusal(Reason.SHUTTING_DOWN, "shutting down"), "shutting_down")
        finally:
            self._session.close()
            self._keep(0)
            self._count_bytes()

    async def _secure(self) -> None:
        if self._tls is not None:
            async with asyncio.timeout(self._desk.limits.handshake):
                await self._tls.handshake()
            self._caller = peer_info(self._address, self._tls.certificate())

    async def _talk(self) -> None:
        while (message := await self._next_frame()) is not None:
            self._busy = True
            wait, answer = await self._answer(message)
            async with asyncio.timeout(self._desk.limits.write):
                await self._stream.send(encode_to_agent(answer))
            self._busy = False
            self._count_bytes()
            if self._stopping:
                raise _RefusedPeer(Refusal(Reason.SHUTTING_DOWN, "shutting down"))
            # A frame that is already here is read without a wait: unless others get their turn
            # here, a peer that sends many small ones has the loop to itself.
            await asyncio.sleep(wait)

    async def _next_frame(self) -> bytes | None:
        limits = self._desk.limits
        patience = limits.handshake if self.is_stranger else limits.idle
        async with asyncio.timeout(patience):
            await self._stream.begun()
        async with asyncio.timeout(min(patience, limits.frame)):
            message = await self._stream.receive()
        self._desk.stats.frames += message is not None
        return message

    async def _answer(self, message: bytes) -> tuple[float, ToAgent]:
        """How long this address must stand back, and what to say."""
        async with self._desk.turn:
            began = self._desk.clock()
            try:
                step = self._session.receive(decode_to_server(message))
                answer = self._apply(step) if isinstance(step, Apply) else None
            finally:
                wait = self._stand_back(began)
            await asyncio.sleep(0)  # the loop's other work, a watch of the topology for one
        match step:
            case Admit():
                return wait, await self._admit(step)
            case Refusal():
                raise _RefusedPeer(step)
            case Repeat(ack):
                self._desk.stats.duplicates += 1
                answer = ack
        # What was applied before may have been a moment ago, on another connection.
        await self._wait_until_durable()
        assert answer is not None  # noqa: S101 - a Refusal or Admit has left
        return wait, answer

    def _stand_back(self, began: float) -> float:
        now = self._desk.clock()
        wait = self._desk.pace.spent(self._address, now - began, now)
        self._desk.stats.waits += wait > 0
        return wait

    async def _admit(self, step: Admit) -> Welcome:
        self._who = step.identity.node
        try:
            async with asyncio.timeout(self._desk.limits.handshake):
                permit = await self._desk.admit(step.hello, self._caller)
        except TimeoutError as error:
            raise _RefusedPeer(_UNDECIDED, "admission_timeout") from error
        except Exception as error:
            log.exception("whether %s may speak cannot be decided", step.identity.node)
            raise _RefusedPeer(_OUR_FAULT) from error
        if isinstance(permit, Refusal):
            raise _RefusedPeer(permit)
        self._until = self._desk.clock() + permit.seconds
        welcome = self._session.admitted(step.identity)
        self._stream.take_frames_up_to(self._desk.limits.wire.max_frame)
        return welcome

    def _apply(self, step: Apply) -> Ack:
        if self._desk.clock() > self._until:
            raise _RefusedPeer(_ENDED, "permit_ended")
        batch = decode_batch(step.batch, self._desk.limits.wire)
        try:
            self._desk.apply(step.identity, batch)
        except Exception as error:
            log.exception("batch %d of %s cannot be applied", batch.sequence, step.identity.node)
            raise _RefusedPeer(_OUR_FAULT) from error
        self._desk.stats.batches += 1
        self._desk.stats.flows += len(batch.flows)
        self._desk.stats.gaps += step.gap
        return self._session.applied(batch.sequence)

    async def _wait_until_durable(self) -> None:
        try:
            async with asyncio.timeout(self._desk.limits.durable):
                await self._desk.durable()
        except TimeoutError as error:
            raise _RefusedPeer(_NOT_DURABLE) from error

    async def _misunderstood(self, error: WireError) -> None:
        if error.reason == "frame_cut":
            self._broke()
            return
        reason = Reason.TOO_LARGE if error.reason in _TOO_LARGE else Reason.MALFORMED
        await self._refuse(Refusal(reason, error.message), error.reason)

    async def _refuse(self, refusal: Refusal, label: str) -> None:
        """Say why the connection ends, where the peer still listens, and count it."""
        self._desk.stats.refusals[label] += 1
        if refusal.reason is not Reason.SHUTTING_DOWN:
            text = "refused %s from %s: %s"
            self._desk.complaints.line(label, text, self._who, self._address, refusal.text)
        with suppress(OSError):  # a time-out is one, too
            async with asyncio.timeout(self._desk.limits.linger):
                await self._stream.send(encode_to_agent(refusal))
                await self._stream.linger()

    def _broke(self) -> None:
        self._desk.stats.broken += not self._cut

    def _keep(self, size: int) -> None:
        self._desk.backlog.keep(self, 0 if self._cut else size)
        self._desk.stats.unfinished = self._desk.backlog.held

    def _count_bytes(self) -> None:
        received, sent = self._stream.received, self._stream.sent
        self._desk.stats.received_bytes += received - self._counted[0]
        self._desk.stats.sent_bytes += sent - self._counted[1]
        self._counted = (received, sent)
