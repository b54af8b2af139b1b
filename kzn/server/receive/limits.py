"""Limits on the resources that agents can use, by default generous enough for any agent."""

from dataclasses import dataclass, field

from kzn.wire.limits import Limits


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
