"""The state machine of one connection, for either side. Pure: no await, no clock.

In: the peer's messages in order. Out: the next step, as a value.
Never: sends, receives, decodes columns, or assumes that a peer keeps to the order.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from kzn.errors import RefusedError, WireError
from kzn.model.batch import AgentIdentity
from kzn.wire.compression import Compression, best_of, offer
from kzn.wire.encode_batch import EncodedBatch, check_limits
from kzn.wire.limits import MAX_NODE_ADDRESSES, Limits
from kzn.wire.messages import (
    PROTOCOL,
    Ack,
    Hello,
    NodeAddresses,
    Reason,
    Refusal,
    ToAgent,
    ToServer,
    Welcome,
)
from kzn.wire.sequences import AppliedSequences, Key, SequenceCheck

_NODE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")
_WORD = re.compile(r"[A-Za-z0-9._+-]{0,64}")
_Answer = TypeVar("_Answer", Welcome, Ack)


@dataclass(frozen=True, slots=True)
class Authenticate:
    """Authenticate this agent, then call `authenticated` or close with a refusal."""

    hello: Hello
    identity: AgentIdentity


@dataclass(frozen=True, slots=True)
class Apply:
    """Decode and apply this batch of ``identity``, then call `applied` and send its result.

    ``gap`` is True if batches before it are missing.
    """

    identity: AgentIdentity
    batch: EncodedBatch
    gap: bool


@dataclass(frozen=True, slots=True)
class Repeat:
    """This batch was applied before: send ``ack`` and count a duplicate."""

    ack: Ack


@dataclass(frozen=True, slots=True)
class TakeAddresses:
    """``addresses`` are those that the node of ``identity`` has now: take them, send ``ack``."""

    identity: AgentIdentity
    addresses: tuple[bytes, ...]
    ack: Ack


Step = Authenticate | Apply | Repeat | TakeAddresses | Refusal


class ServerSession:
    """The server's side of one connection; all connections share ``sequences``."""

    def __init__(self, sequences: AppliedSequences, limits: Limits, instance: int = 0) -> None:
        self.identity: AgentIdentity | None = None
        self._sequences = sequences
        self._limits = limits
        self._instance = instance
        self._greeted = False

    def receive(self, message: ToServer) -> Step:
        """The step for an agent's message; after a Refusal the connection ends."""
        if isinstance(message, Hello):
            if self._greeted:
                return Refusal(Reason.UNEXPECTED, "a second Hello")
            self._greeted = True
            return _greet(message)
        if self.identity is None:
            return Refusal(Reason.UNEXPECTED, "a batch or addresses before Hello")
        if isinstance(message, NodeAddresses):
            return TakeAddresses(self.identity, message.addresses, Ack(0))
        return self._receive_batch(self.identity, message)

    def _receive_batch(self, identity: AgentIdentity, batch: EncodedBatch) -> Step:
        if batch.sequence == 0:
            return Refusal(Reason.MALFORMED, "batch 0: sequences begin at 1")
        check = self._sequences.check(self._key, batch.sequence)
        if check is SequenceCheck.DUPLICATE:
            return Repeat(Ack(batch.sequence, duplicate=True))
        return Apply(identity, batch, gap=check is SequenceCheck.GAP)

    def repeated(self, sequence: int) -> Ack | None:
        """The ack of batch ``sequence`` if it was applied since it was received, else None."""
        check = self._sequences.check(self._key, sequence)
        duplicate = check is SequenceCheck.DUPLICATE
        return Ack(sequence, duplicate=True) if duplicate else None

    def authenticated(self, identity: AgentIdentity) -> Welcome:
        """The agent is authenticated; `close` must be called from now on."""
        self.identity = identity
        self._sequences.opened(self._key)
        last = self._sequences.last(self._key)
        return Welcome(
            last_applied=last,
            limits=self._limits,
            instance=self._instance,
            max_node_addresses=MAX_NODE_ADDRESSES,
            compressions=offer(),
        )

    def applied(self, sequence: int) -> Ack:
        """Batch ``sequence`` is applied as a whole."""
        self._sequences.applied(self._key, sequence)
        return Ack(sequence)

    def close(self) -> None:
        """The connection has ended. May be called at any time, also twice."""
        if self.identity is not None:
            self._sequences.closed(self._key)
            self.identity = None

    @property
    def _key(self) -> Key:
        if self.identity is None:
            raise RuntimeError("no agent is authenticated")
        return self.identity.node, self.identity.epoch


def _greet(hello: Hello) -> Step:
    if hello.protocol != PROTOCOL:
        return Refusal(
            Reason.VERSION,
            f"the agent has protocol version {hello.protocol}, this server {PROTOCOL}",
        )
    if not _NODE.fullmatch(hello.node):
        return Refusal(Reason.NODE, f"{hello.node[:300]!r} is not a node name")
    if not (_WORD.fullmatch(hello.agent_version) and _WORD.fullmatch(hello.probe)):
        return Refusal(
            Reason.MALFORMED, "agent version or probe is not a word of at most 64 characters"
        )
    if hello.epoch == 0:
        return Refusal(Reason.MALFORMED, "epoch 0 is not valid")
    identity = AgentIdentity(
        hello.node,
        hello.epoch,
        hello.probe,
        hello.agent_version,
        hello.process,
        hello.interval_ms,
    )
    return Authenticate(hello, identity)


class AgentSession:
    """The agent's side of one connection: Hello, then one batch at a time until its Ack."""

    def __init__(self, identity: AgentIdentity) -> None:
        self._identity = identity
        self._welcome: Welcome | None = None

    def hello(self, token: str) -> Hello:
        """The first message to send."""
        return Hello(
            node=self._identity.node,
            epoch=self._identity.epoch,
            token=token,
            agent_version=self._identity.version,
            probe=self._identity.probe,
            process=self._identity.process,
            interval_ms=self._identity.interval_ms,
        )

    def welcomed(self, message: ToAgent) -> Welcome:
        """The Welcome that answers Hello; RefusedError or WireError for another message."""
        welcome = _expect(message, Welcome)
        if welcome.protocol != PROTOCOL:
            raise RefusedError(
                f"the server has protocol version {welcome.protocol}, this agent {PROTOCOL}",
                reason=Reason.VERSION,
                hint="run agents and server of the same kzn version",
            )
        self._welcome = welcome
        return welcome

    @property
    def compression(self) -> Compression:
        """The best compression that the server takes."""
        return best_of(self._welcome.compressions) if self._welcome else Compression.ZLIB

    def addresses(self, told: Sequence[bytes]) -> NodeAddresses | None:
        """The message of the node's addresses, the first ones that the server takes; None: none."""
        if self._welcome is None:
            raise RuntimeError("no Welcome was received")
        limit = min(self._welcome.max_node_addresses, MAX_NODE_ADDRESSES)
        return NodeAddresses(tuple(told[:limit])) if limit else None

    def check(self, batch: EncodedBatch, length: int) -> None:
        """WireError if the batch or its message exceeds the server's limits."""
        if self._welcome is None:
            raise RuntimeError("no Welcome was received")
        limits = self._welcome.limits
        check_limits(batch.columns, limits)
        if length > limits.max_frame:
            raise WireError(
                f"the batch has {length} bytes, the server's limit is {limits.max_frame}",
                reason="frame_too_large",
            )

    def acked(self, message: ToAgent, sequence: int) -> Ack:
        """The Ack of batch ``sequence``; RefusedError or WireError for another message."""
        ack = _expect(message, Ack)
        if ack.sequence != sequence:
            raise WireError(
                f"the server acknowledged batch {ack.sequence}, not {sequence}", reason="wrong_ack"
            )
        return ack


def _expect(message: ToAgent, kind: type[_Answer]) -> _Answer:
    if isinstance(message, kind):
        return message
    if isinstance(message, Refusal):
        raise RefusedError(f"the server refused: {message.text}", reason=message.reason)
    raise WireError(f"unexpected {type(message).__name__}", reason="unexpected_message")
