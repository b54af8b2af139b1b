"""Limit on the memory of unfinished frames over all connections; evicts the oldest frame.

In: the bytes that each connection buffers of an unfinished frame.
Out: `evict` calls on connections until the total is within the limit.
Never: counts the first `FREE_BYTES` of a connection.
"""

from typing import Protocol

FREE_BYTES = 16 << 10
"""Bytes that each connection can buffer uncounted: half a batch of a typical node."""


class FrameHolder(Protocol):
    """A connection that buffers a frame."""

    def evict(self) -> None:
        """Close the connection and free its buffer."""
        ...


class UnfinishedFrames:
    """Bytes buffered beyond `FREE_BYTES`, by connection, oldest frame first.

    A working agent finishes a frame in milliseconds, so a peer that only holds memory soon has
    the oldest frame.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held_bytes = 0
        self._by_holder: dict[FrameHolder, int] = {}

    def update(self, holder: FrameHolder, size: int) -> None:
        """``holder`` now buffers ``size`` bytes of one unfinished frame."""
        known = self._by_holder.get(holder, 0)
        counted = max(0, size - FREE_BYTES)
        if counted:
            self._by_holder[holder] = counted
        else:
            self._by_holder.pop(holder, None)
        self.held_bytes += counted - known
        while self.held_bytes > self.limit:
            oldest = next(iter(self._by_holder))
            self.held_bytes -= self._by_holder.pop(oldest)
            oldest.evict()
