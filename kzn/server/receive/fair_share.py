"""Whose turn it is when somebody wants all of it: seconds of the event loop, by address.

In: how long each address kept the loop busy.
Out: how long it must wait before its next frame is read.
Never: a wait for whoever stays below the share, or for one who is alone.
"""

from collections import OrderedDict

MAX_ADDRESSES = 20_000


class FairShare:
    """A leaky bucket for each address: ``share`` of the time, and ``burst`` seconds at once.

    An agent takes some milliseconds in ten seconds. Only the latest addresses are remembered;
    forgetting one forgives it, which matters little: it stood still for long. ``alone`` is True
    while one address only is connected: nobody waits for it then.
    """

    def __init__(self, share: float, burst: float) -> None:
        self.alone = False
        self._share = share
        self._burst = burst
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._levels)

    def spent(self, address: str, seconds: float, now: float) -> float:
        """Count ``seconds`` of work for ``address``; the seconds that it has to wait now."""
        level, since = self._levels.pop(address, (0.0, now))
        level = max(0.0, level - (now - since) * self._share) + seconds
        self._levels[address] = (level, now)
        if len(self._levels) > MAX_ADDRESSES:
            self._levels.popitem(last=False)
        return 0.0 if self.alone else max(0.0, level - self._burst) / self._share
