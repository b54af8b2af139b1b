"""What all connections of a receiver share: limits, counters, last numbers, and whom to ask."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from kzn.daemon.logs import RateLimited
from kzn.model.batch import AgentIdentity, Batch
from kzn.server.auth.permit import AdmitAgent
from kzn.server.receive.fair_share import FairShare
from kzn.server.receive.frame_memory import UnfinishedFrames
from kzn.wire.limits import Limits
from kzn.wire.sequences import AppliedSequences

ApplyBatch = Callable[[AgentIdentity, Batch], None]
"""Enters a batch as a whole or, when it raises, not at all. It must not block for long."""


Durable = Callable[[], Awaitable[None]]
"""Returns once all that was applied so far would survive this process."""


@dataclass(frozen=True, slots=True)
class ReceiveLimits:
    """What peers may take of a server: sizes, connections, and seconds for each step.

    ``idle`` is the time from one whole frame to the next, so a frame that trickles counts as
    none. An agent that sends more rarely than that connects anew for each batch. ``durable`` is the
    time that an ack waits for the state file, less than an agent waits for it. ``frame`` is the
    time from the first byte of a frame to its last.

    ``strangers`` are connections that were not welcomed yet; beyond that many the oldest gives way.
    ``backlog`` bounds the bytes of unfinished frames over all connections. ``share`` and ``burst``
    are what one address may take of the event loop while others are connected.
    """

    wire: Limits = field(default_factory=Limits)
    connections: int = 10_000
    connections_per_address: int = 100
    strangers: int = 1_000
    backlog: int = 128 << 20
    share: float = 0.25
    burst: float = 2.0
    handshake: float = 10.0
    idle: float = 600.0
    frame: float = 30.0
    durable: float = 25.0
    write: float = 10.0
    linger: float = 1.0


@dataclass(slots=True)
class ReceiveStats:
    """What all connections did since the server started; written by the event loop alone."""

    connections: int = 0
    """Open now."""
    accepted: int = 0
    frames: int = 0
    received_bytes: int = 0
    """Bytes of frames and their lengths, of whole and of broken ones."""
    sent_bytes: int = 0
    batches: int = 0
    flows: int = 0
    duplicates: int = 0
    gaps: int = 0
    """Batches whose number left some out: another server has them, or nobody."""
    refusals: Counter[str] = field(default_factory=Counter)
    """Connections ended by this server, by reason."""
    unfinished: int = 0
    """Bytes kept now of frames that are not whole, beyond what each connection may keep."""
    waits: int = 0
    """Frames that had to wait because their address took more than its share."""
    broken: int = 0
    """Connections that ended in the middle of something."""
    forgotten: int = 0
    """Epochs whose last number is no longer remembered."""

    def copy(self) -> "ReceiveStats":
        """A copy that further frames leave alone."""
        return replace(self, refusals=Counter(self.refusals))


@dataclass(frozen=True, slots=True)
class ConnectionContext:
    """What all connections of a receiver share."""

    limits: ReceiveLimits
    book: AppliedSequences
    stats: ReceiveStats
    apply: ApplyBatch
    admit: AdmitAgent
    complaints: RateLimited
    backlog: UnfinishedFrames
    pace: FairShare
    durable: Durable
    instance: int
    """Names the ledger that batches go to, so that agents can tell two servers apart."""
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held for a frame, and given on only after the loop has looked at everything else: when
    hundreds of frames are there at once, they do not keep it from the news of the topology."""
    clock: Callable[[], float] = time.monotonic


async def at_once() -> None:
    """Nothing survives this process, so there is nothing to wait for."""
