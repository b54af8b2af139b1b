"""A bound on the bytes of unfinished frames over all connections; the slowest gives way.

In: how many bytes each connection keeps of a frame that is not whole yet.
Out: the connections that must be cut off for the bound to hold.
Never: a small frame counted: the first `FREE` bytes of each connection are its own.
"""

from typing import Protocol

FREE = 16 << 10
"""Bytes that every connection may keep: half a batch of a typical node."""


class Holder(Protocol):
    """A connection that keeps bytes."""

    def give_way(self) -> None:
        """Be cut off, and free what is kept."""
        ...


class UnfinishedFrames:
    """Bytes kept beyond `FREE`, by connection in the order in which their frames outgrew it.

    Whoever has taken longest for a frame gives way first: an agent that sends is done in
    milliseconds, and a peer that only holds memory becomes the oldest before long.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0
        self._by_holder: dict[Holder, int] = {}

    def keep(self, holder: Holder, size: int) -> None:
        """``holder`` now keeps ``size`` bytes of one unfinished frame."""
        known = self._by_holder.get(holder, 0)
        counted = max(0, size - FREE)
        if counted:
            self._by_holder[holder] = counted
        else:
            self._by_holder.pop(holder, None)
        self.held += counted - known
        while self.held > self.limit:
            oldest = next(iter(self._by_holder))
            self.held -= self._by_holder.pop(oldest)
            oldest.give_way()
