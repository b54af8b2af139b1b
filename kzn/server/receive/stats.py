"""Counters of all agent connections since the server started."""

from collections import Counter
from dataclasses import dataclass, field, replace


@dataclass(slots=True)
class ReceiveStats:
    """Written by the event loop alone."""

    connections: int = 0
    """Open now."""
    accepted: int = 0
    frames: int = 0
    received_bytes: int = 0
    """Bytes of complete and incomplete frames, length prefixes included."""
    sent_bytes: int = 0
    batches: int = 0
    flows: int = 0
    duplicates: int = 0
    gaps: int = 0
    """Batches after a gap: the batch before is lost, or another server has it."""
    refusals: Counter[str] = field(default_factory=Counter)
    """Connections that the server ended, by reason."""
    unfinished_bytes: int = 0
    """Bytes of unfinished frames held now, beyond the free bytes of each connection."""
    throttled_frames: int = 0
    """Frames that waited because their address had used up its share of the event loop."""
    broken: int = 0
    """Connections that ended within a frame or by an error of the network."""
    evicted_epochs: int = 0
    """Disconnected epochs whose last sequence number was evicted to bound memory."""

    def copy(self) -> "ReceiveStats":
        """A copy that does not change with further frames."""
        return replace(self, refusals=Counter(self.refusals))
