"""Per-address CPU budget (leaky bucket) for the event loop.

In: seconds of event loop time that each address used.
Out: seconds to wait before the next frame of that address is read.
Never: a wait for an address below its share, or for the only address connected.
"""

from collections import OrderedDict

MAX_ADDRESSES = 20_000


class FairShare:
    """A leaky bucket for each address: ``share`` of the time, plus ``burst`` seconds at once.

    A normal agent uses some milliseconds every ten seconds. Beyond `MAX_ADDRESSES` the address
    idle for longest is evicted and its bucket is empty again, which long idleness made it anyway.
    ``single_address``: only one address is connected, so it never waits.
    """

    def __init__(self, share: float, burst: float) -> None:
        self.single_address = False
        self._share = share
        self._burst = burst
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._levels)

    def charge(self, address: str, seconds: float, now: float) -> float:
        """Add ``seconds`` of work to the bucket of ``address``; returns the seconds to wait."""
        level, since = self._levels.pop(address, (0.0, now))
        level = max(0.0, level - (now - since) * self._share) + seconds
        self._levels[address] = (level, now)
        if len(self._levels) > MAX_ADDRESSES:
            self._levels.popitem(last=False)
        return 0.0 if self.single_address else max(0.0, level - self._burst) / self._share
