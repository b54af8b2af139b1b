"""State shared by all agent connections."""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from kzn.daemon.logs import RateLimited
from kzn.model.batch import AgentIdentity, Batch
from kzn.server.auth.permit import Authenticate
from kzn.server.receive.fair_share import FairShare
from kzn.server.receive.frame_memory import UnfinishedFrames
from kzn.server.receive.limits import ReceiveLimits
from kzn.server.receive.live_agents import LiveAgents
from kzn.server.receive.stats import ReceiveStats
from kzn.server.receive.turns import Turns
from kzn.wire.sequences import AppliedSequences

ApplyBatch = Callable[[AgentIdentity, Batch], None]
"""Applies a whole batch, or raises and changes nothing. Must not block for long."""

TakeAddresses = Callable[[str, Sequence[bytes]], None]
"""Takes all addresses that the agent of a node has told, in place of those before."""

Durable = Callable[[], Awaitable[None]]
"""Returns once everything applied before the call would survive the end of the process."""


@dataclass(frozen=True, slots=True)
class ConnectionContext:
    """Limits, counters, sequence numbers and callbacks; one instance for each receiver."""

    limits: ReceiveLimits
    sequences: AppliedSequences
    stats: ReceiveStats
    turns: Turns
    take_addresses: TakeAddresses
    authenticate: Authenticate
    warnings: RateLimited
    frame_memory: UnfinishedFrames
    fair_share: FairShare
    durable: Durable
    agents: LiveAgents
    instance: int
    """Identifies the ledger that batches go to; agents tell servers apart by it."""
    verifies: bool = False
    """Whether an authenticated agent has proved which node it is on."""
    clock: Callable[[], float] = time.monotonic


def ignore_addresses(node: str, addresses: Sequence[bytes]) -> None:
    """`TakeAddresses` of a server that does not resolve addresses."""
    del node, addresses


async def at_once() -> None:
    """`Durable` of a server without a state file: there is nothing to wait for."""
