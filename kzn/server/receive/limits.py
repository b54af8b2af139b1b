"""Limits on what agent connections can take of the server."""

from dataclasses import dataclass, field

from kzn.wire.limits import Limits


@dataclass(frozen=True, slots=True)
class ReceiveLimits:
    """Numbers of connections, bytes, shares of the event loop, and timeouts in seconds."""

    wire: Limits = field(default_factory=Limits)
    connections: int = 10_000
    connections_per_address: int = 100
    reserved_descriptors: int = 0
    """Descriptors that agents leave for HTTP, files and the API server."""
    unauthenticated: int = 1_000
    """Connections without a Welcome; one more closes the oldest of them."""
    unfinished_bytes: int = 128 << 20
    """Bytes of unfinished frames, over all connections."""
    share: float = 0.25
    """Share of the event loop that one address gets while other addresses are connected."""
    burst: float = 2.0
    """Seconds of the event loop that one address can take at once, beyond its share."""
    handshake: float = 10.0
    """For each of TLS handshake, Hello and authentication."""
    idle: float = 600.0
    """From the end of one frame to the first byte of the next; agents that send less often
    reconnect for each batch."""
    frame: float = 30.0
    """From the first byte of a frame to its last."""
    durable: float = 25.0
    """From applying a batch to its commit; shorter than an agent waits for the ack."""
    write: float = 10.0
    """For the peer to read an answer."""
    linger: float = 1.0
    """For a refusal to reach the peer before the connection is closed."""
