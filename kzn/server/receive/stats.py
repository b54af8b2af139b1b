"""Counters of all agent connections."""

from collections import Counter
from dataclasses import dataclass, field, replace


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
