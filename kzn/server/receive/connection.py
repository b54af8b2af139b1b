"""One agent connection, from accept to close.

In: frames, each with a time and size limit.
Out: applied batches, and an answer to each frame.
Never: an ack before the batch is applied and durable; an exception caused by the peer's input.
"""

import asyncio
import logging
import math
import ssl
from collections.abc import Callable
from contextlib import suppress

from kzn.daemon.tls_stream import TlsStream
from kzn.errors import WireError
from kzn.model.batch import AgentIdentity
from kzn.server.auth.permit import PeerInfo, peer_info
from kzn.server.receive.context import ConnectionContext, at_once
from kzn.server.receive.kept_timeout import KeptTimeout
from kzn.server.receive.live_agents import LiveAgent
from kzn.server.receive.turns import Applied, UndecodableError
from kzn.wire.codec import decode_to_server, encode_to_agent
from kzn.wire.encode_batch import EncodedBatch
from kzn.wire.limits import MAX_HELLO
from kzn.wire.messages import Ack, Reason, Refusal, ToAgent, Welcome
from kzn.wire.session import Apply, Authenticate, Repeat, ServerSession, TakeAddresses
from kzn.wire.stream import FrameStream, Reader, Writer

USUAL_FLOW_BYTES, USUAL_ADDRESS_BYTES = 6, 2
"""On the wire, of usual traffic. Made-up columns compress to almost nothing."""

log = logging.getLogger(__name__)

_TOO_LARGE = ("frame_too_large", "flows_limit", "addresses_limit", "node_addresses_limit")
_INTERNAL = Refusal(Reason.INTERNAL, "internal error of the server; see its log")
_PERMIT_ENDED = Refusal(Reason.BUSY, "the token or certificate has expired: reconnect")
_AUTHENTICATION_TIMEOUT = Refusal(Reason.BUSY, "authentication took too long: try again")
_NOT_DURABLE = Refusal(Reason.BUSY, "the batch is not in the state file yet")


class _RefusedPeer(Exception):  # noqa: N818 - not an error of the server
    def __init__(self, refusal: Refusal, label: str = "") -> None:
        super().__init__(refusal.text)
        self.refusal = refusal
        self.label = label or str(refusal.reason)


class AgentConnection:
    """Serves one agent until either side closes; `run` is its task.

    With TLS, ``reader`` and ``writer`` are the same `TlsStream`. ``payer`` is who the limits count
    it for: the address, or once its node is proved the agent, if ``verified`` (called with both)
    has room for it.
    """

    def __init__(
        self,
        reader: Reader,
        writer: Writer,
        address: str,
        context: ConnectionContext,
        verified: Callable[[str, str], bool] = lambda _payer, _agent: True,
    ) -> None:
        self.payer = address
        self._verified = verified
        self._stream = FrameStream(reader, writer, MAX_HELLO, self._frame_grew)
        self._tls = reader if isinstance(reader, TlsStream) else None
        self._address = address
        self._peer = PeerInfo(address)
        self._context = context
        self._session = ServerSession(context.sequences, context.limits.wire, context.instance)
        self._peer_name = "unauthenticated peer"
        self._silence = KeptTimeout()
        self._busy = False
        self._stopping = False
        self._cut = False
        self._permit_ends = math.inf
        self._counted = (0, 0)
        self._agent: LiveAgent | None = None

    @property
    def is_authenticated(self) -> bool:
        """Whether the server has sent Welcome."""
        return self._session.identity is not None

    def stop(self) -> bool:
        """Close after the current frame; True when there is none: the caller can cancel `run`."""
        self._stopping = True
        return not self._busy

    def abort(self) -> None:
        """Reset the connection without a refusal."""
        self._stream.abort()

    def cut(self, label: str, why: str) -> None:
        """Reset the connection to free its resources; counted under ``label``."""
        if not self._cut:
            self._cut = True
            self._context.stats.refusals[label] += 1
            text = "closed connection of %s from %s: %s"
            self._context.warnings.warn(label, text, self._peer_name, self._address, why)
            self.abort()

    def supersede(self) -> None:
        """A newer process of this agent is connected, so this connection is half-open."""
        self.cut("superseded", "a newer process of this agent is connected")

    def evict(self) -> None:
        """Free the memory of an unfinished frame."""
        self.cut("memory", "unfinished frames use too much memory, and its frame is the oldest")

    async def run(self) -> None:
        """Serve the connection. A cancellation after `stop` closes it with a refusal."""
        try:
            await self._handshake()
            await self._serve_frames()
        except _RefusedPeer as end:
            await self._refuse(end.refusal, end.label)
        except WireError as error:
            await self._protocol_error(error)
        except TimeoutError:
            await self._refuse(
                Refusal(Reason.TIMEOUT, "no complete frame in time, or an answer not read in time"),
                "timeout",
            )
        except ssl.SSLError as error:
            self.cut("tls", f"TLS: {error.reason or error}")
        except OSError:
            self._disconnected()
        except asyncio.CancelledError:
            if not self._stopping:
                raise
            await self._refuse(Refusal(Reason.SHUTTING_DOWN, "shutting down"), "shutting_down")
        finally:
            self._silence.close()
            self._session.close()
            if self._agent is not None:
                self._context.agents.left(self._agent)
                self._agent = None  # which refers to this connection
            self._frame_grew(0)
            self._count_bytes()

    async def _handshake(self) -> None:
        if self._tls is not None:
            async with asyncio.timeout(self._context.limits.handshake):
                await self._tls.handshake()
            self._peer = peer_info(self._address, self._tls.certificate())

    async def _serve_frames(self) -> None:
        while (message := await self._next_frame()) is not None:
            self._busy = True
            wait, answer = await self._answer(message)
            await self._send(encode_to_agent(answer))
            self._busy = False
            self._count_bytes()
            if self._stopping:
                raise _RefusedPeer(Refusal(Reason.SHUTTING_DOWN, "shutting down"))
            if wait:
                self._context.stats.throttled_frames += 1
                await asyncio.sleep(wait)

    async def _send(self, message: bytes) -> None:
        if self._stream.sent_at_once(message):
            return  # as nearly always: no timeout to set up
        async with asyncio.timeout(self._context.limits.write):
            await self._stream.drain()

    async def _next_frame(self) -> bytes | None:
        limits = self._context.limits
        silence = limits.idle if self.is_authenticated else limits.handshake
        await self._silence.wait(self._stream.wait_readable(), silence)
        message = self._stream.received_message()
        if message is None:
            async with asyncio.timeout(min(silence, limits.frame)):
                message = await self._stream.receive()
        self._context.stats.frames += message is not None
        if self._agent is not None:
            self._context.agents.heard(self._agent)
        return message

    async def _answer(self, message: bytes) -> tuple[float, ToAgent]:
        """Seconds that this address must wait, and the answer."""
        decoded = decode_to_server(message)
        await self._context.turns.enter(_weight(message, decoded))
        step = self._session.receive(decoded)
        if isinstance(step, Apply):
            wait, ack = await self._applied(step, self._submit(step))
            await self._wait_until_durable()
            return wait, ack
        started = self._context.clock()
        try:
            if isinstance(step, TakeAddresses):
                self._take(step)
        finally:
            wait = self._charge(self._context.clock() - started)
        match step:
            case Authenticate():
                return wait, await self._authenticate(step)
            case Refusal():
                raise _RefusedPeer(step)
            case TakeAddresses(ack=ack):
                return wait, ack
            case Repeat(ack):
                self._context.stats.duplicates += 1
                # Another connection may have applied the batch a moment ago.
                await self._wait_until_durable()
                return wait, ack

    def _charge(self, seconds: float) -> float:
        return self._context.fair_share.charge(self.payer, seconds, self._context.clock())

    async def _authenticate(self, step: Authenticate) -> Welcome:
        self._peer_name = f"agent of {step.identity.node}"
        try:
            async with asyncio.timeout(self._context.limits.handshake):
                permit = await self._context.authenticate(step.hello, self._peer)
        except TimeoutError as error:
            raise _RefusedPeer(_AUTHENTICATION_TIMEOUT, "authentication_timeout") from error
        except Exception as error:
            log.exception("authentication of %s failed: internal error", step.identity.node)
            raise _RefusedPeer(_INTERNAL) from error
        if isinstance(permit, Refusal):
            raise _RefusedPeer(permit)
        self._admit(step.identity)
        if self._context.verifies:
            self._count_for_agent(step.identity.node)
        self._permit_ends = self._context.clock() + permit.seconds
        welcome = self._session.authenticated(step.identity)
        self._stream.set_max_frame(self._context.limits.wire.max_frame)
        return welcome

    def _count_for_agent(self, node: str) -> None:
        """A neighbour behind the same address must not use up what this agent may take."""
        agent = f"{self._address} {node}"
        if not self._verified(self.payer, agent):
            text = f"too many connections of the agent of {node} are open"
            raise _RefusedPeer(Refusal(Reason.BUSY, text), "connections_per_address")
        self.payer = agent

    def _admit(self, identity: AgentIdentity) -> None:
        """Refuse a second agent of a node; a restarted one supersedes the connections before it."""
        agent = LiveAgent(
            self,
            self._address,
            identity.node,
            identity.process,
            identity.epoch,
            self._context.clock(),
            identity.interval_ms / 1000,
        )
        rival = self._context.agents.admit(agent)
        if rival is not None:
            text = f"another agent of node {identity.node} is connected from {rival.address}"
            raise _RefusedPeer(Refusal(Reason.SECOND_AGENT, text))
        self._agent = agent

    def _submit(self, step: Apply) -> "asyncio.Future[Applied]":
        self._require_permit()
        return self._context.turns.submit(step, self._session)

    async def _applied(self, step: Apply, applied: "asyncio.Future[Applied]") -> tuple[float, Ack]:
        """Seconds to wait, and the ack of a batch once it is applied."""
        try:
            found = await self._result_of(applied)
        except WireError:
            raise  # the agent's fault
        except Exception as error:
            node, sequence = step.identity.node, step.batch.sequence
            log.exception("batch %d of %s not applied: internal error", sequence, node)
            raise _RefusedPeer(_INTERNAL) from error
        stats = self._context.stats
        if found.duplicate:
            stats.duplicates += 1
        else:
            stats.batches += 1
            stats.flows += step.batch.columns.flows
            stats.gaps += step.gap
        return self._charge(found.seconds), found.ack

    async def _result_of(self, applied: "asyncio.Future[Applied]") -> Applied:
        try:
            return await applied
        except UndecodableError as failed:
            self._charge(failed.seconds)  # its next connection may have to wait
            raise failed.error from None

    def _take(self, step: TakeAddresses) -> None:
        self._require_permit()
        node = step.identity.node
        try:
            self._context.take_addresses(node, step.addresses)
        except Exception as error:
            log.exception("addresses of %s not taken: internal error", node)
            raise _RefusedPeer(_INTERNAL) from error

    def _require_permit(self) -> None:
        if self._context.clock() > self._permit_ends:
            raise _RefusedPeer(_PERMIT_ENDED, "permit_ended")

    async def _wait_until_durable(self) -> None:
        if self._context.durable is at_once:
            return
        try:
            async with asyncio.timeout(self._context.limits.durable):
                await self._context.durable()
        except TimeoutError as error:
            raise _RefusedPeer(_NOT_DURABLE) from error

    async def _protocol_error(self, error: WireError) -> None:
        if error.reason == "frame_cut":
            self._disconnected()
            return
        reason = Reason.TOO_LARGE if error.reason in _TOO_LARGE else Reason.MALFORMED
        await self._refuse(Refusal(reason, error.message), error.reason)

    async def _refuse(self, refusal: Refusal, label: str) -> None:
        """Count the refusal and send it, if the peer still reads."""
        self._context.stats.refusals[label] += 1
        if refusal.reason is not Reason.SHUTTING_DOWN:
            text = "refused %s from %s: %s"
            self._context.warnings.warn(label, text, self._peer_name, self._address, refusal.text)
        with suppress(OSError):  # TimeoutError included
            async with asyncio.timeout(self._context.limits.linger):
                await self._stream.send(encode_to_agent(refusal))
                await self._stream.linger()

    def _disconnected(self) -> None:
        self._context.stats.broken += not self._cut

    def _frame_grew(self, size: int) -> None:
        self._context.frame_memory.update(self, 0 if self._cut else size)
        self._context.stats.unfinished_bytes = self._context.frame_memory.held_bytes

    def _count_bytes(self) -> None:
        received, sent = self._stream.received, self._stream.sent
        self._context.stats.received_bytes += received - self._counted[0]
        self._context.stats.sent_bytes += sent - self._counted[1]
        self._counted = (received, sent)


def _weight(message: bytes, decoded: object) -> int:
    """What a message costs a turn, in bytes: what its flows usually take, however it is packed."""
    if not isinstance(decoded, EncodedBatch):
        return len(message)
    columns = decoded.columns
    addresses = columns.ipv4 + columns.ipv6
    return max(len(message), USUAL_FLOW_BYTES * columns.flows + USUAL_ADDRESS_BYTES * addresses)
