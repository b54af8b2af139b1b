"""One connection of an agent, from its first byte to its last, whatever it sends.

In: frames, each within its time and size.
Out: applied batches, and an answer to each frame.
Never: an ack before the batch is applied and durable, or a fault that leaves this connection.
"""

import asyncio
import logging
from contextlib import suppress

from kzn.errors import WireError
from kzn.server.desk import Desk
from kzn.wire.batch import decode_batch
from kzn.wire.codec import decode_to_server, encode_to_agent
from kzn.wire.messages import Ack, Reason, Refusal, ToAgent, Welcome
from kzn.wire.session import Admit, Apply, Repeat, ServerSession
from kzn.wire.stream import FrameStream

log = logging.getLogger(__name__)

_TOO_LARGE = ("frame_too_large", "flows_limit", "addresses_limit")
_OUR_FAULT = Refusal(Reason.INTERNAL, "a fault of the server; its log says more")
_NOT_DURABLE = Refusal(Reason.BUSY, "the batch is not in the state file yet")


class _RefusedPeer(Exception):  # noqa: N818 - no fault of ours, but how a conversation ends
    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.text)
        self.refusal = refusal


class Peer:
    """Talks to one agent until either side ends it; `run` is its task."""

    def __init__(self, stream: FrameStream, address: str, desk: Desk) -> None:
        self._stream = stream
        self._address = address
        self._desk = desk
        self._session = ServerSession(desk.book, desk.limits.wire, desk.instance)
        self._who = "a stranger"
        self._busy = False
        self._stopping = False
        self._counted = (0, 0)

    def stop(self) -> bool:
        """End after the frame in hand; True when there is none, so `run` may be cancelled."""
        self._stopping = True
        return not self._busy

    def abort(self) -> None:
        """Cut the connection off, without a word."""
        self._stream.abort()

    async def run(self) -> None:
        """The whole conversation. A cancellation that `stop` announced is no error here."""
        try:
            await self._talk()
        except _RefusedPeer as end:
            await self._refuse(end.refusal, end.refusal.reason)
        except WireError as error:
            await self._misunderstood(error)
        except TimeoutError:
            await self._refuse(Refusal(Reason.TIMEOUT, "no whole frame in time"), "timeout")
        except OSError:
            self._desk.stats.broken += 1
        except asyncio.CancelledError:
            if not self._stopping:
                raise
            await self._refuse(Refusal(Reason.SHUTTING_DOWN, "shutting down"), "shutting_down")
        finally:
            self._session.close()
            self._count_bytes()

    async def _talk(self) -> None:
        while (message := await self._next_frame()) is not None:
            self._busy = True
            answer = await self._answer(message)
            async with asyncio.timeout(self._desk.limits.write):
                await self._stream.send(encode_to_agent(answer))
            self._busy = False
            self._count_bytes()
            if self._stopping:
                raise _RefusedPeer(Refusal(Reason.SHUTTING_DOWN, "shutting down"))
            # A frame that is already here is read without a wait: unless others get their turn
            # here, a peer that sends many small ones has the loop to itself.
            await asyncio.sleep(0)

    async def _next_frame(self) -> bytes | None:
        limits = self._desk.limits
        welcomed = self._session.identity is not None
        async with asyncio.timeout(limits.idle if welcomed else limits.handshake):
            message = await self._stream.receive()
        self._desk.stats.frames += message is not None
        return message

    async def _answer(self, message: bytes) -> ToAgent:
        step = self._session.receive(decode_to_server(message))
        match step:
            case Admit():
                return await self._admit(step)
            case Apply():
                ack = self._apply(step)
                await self._wait_until_durable()
                return ack
            case Repeat(ack):
                self._desk.stats.duplicates += 1
                # What was applied before may have been a moment ago, on another connection.
                await self._wait_until_durable()
                return ack
            case Refusal():
                raise _RefusedPeer(step)

    async def _admit(self, step: Admit) -> Welcome:
        self._who = step.identity.node
        try:
            async with asyncio.timeout(self._desk.limits.handshake):
                refusal = await self._desk.admit(step.hello)
        except Exception as error:
            log.exception("whether %s may speak cannot be decided", step.identity.node)
            raise _RefusedPeer(_OUR_FAULT) from error
        if refusal is not None:
            raise _RefusedPeer(refusal)
        welcome = self._session.admitted(step.identity)
        self._stream.take_frames_up_to(self._desk.limits.wire.max_frame)
        return welcome

    def _apply(self, step: Apply) -> Ack:
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
            self._desk.stats.broken += 1
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

    def _count_bytes(self) -> None:
        received, sent = self._stream.received, self._stream.sent
        self._desk.stats.received_bytes += received - self._counted[0]
        self._desk.stats.sent_bytes += sent - self._counted[1]
        self._counted = (received, sent)
