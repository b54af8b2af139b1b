"""What all connections of a receiver share: limits, counters, last numbers, and whom to ask."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from kzn.daemon.logs import RateLimited
from kzn.model.batch import AgentIdentity, Batch
from kzn.server.auth.permit import AdmitAgent
from kzn.server.receive.fair_share import FairShare
from kzn.server.receive.frame_memory import UnfinishedFrames
from kzn.server.receive.limits import ReceiveLimits
from kzn.server.receive.stats import ReceiveStats
from kzn.wire.sequences import AppliedSequences

ApplyBatch = Callable[[AgentIdentity, Batch], None]
"""Enters a batch as a whole or, when it raises, not at all. It must not block for long."""


Durable = Callable[[], Awaitable[None]]
"""Returns once all that was applied so far would survive this process."""


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
