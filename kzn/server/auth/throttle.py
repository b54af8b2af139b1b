"""Limits the requests that this server sends to the API server about tokens that are refused.

In: keys (who presented a token), and what the API server said. Out: whether to ask about another.
Never: a key shut out for good: beyond its limit it is asked about once a second, so that a client
cannot be locked out by another that shares its key. Pure but for the clock.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

SECONDS = 60.0
MAX_REFUSED = 5
"""Refused tokens of one key in SECONDS, beyond which it is asked about once in EXTRA_SECONDS."""
EXTRA_SECONDS = 1.0
MAX_KEYS = 20_000


@dataclass(slots=True)
class _Refusals:
    number: int
    since: float
    last_extra: float


class RefusalThrottle:
    """Refused tokens by key, over the last minute."""

    def __init__(self, clock: Callable[[], float], limit: int = MAX_REFUSED) -> None:
        self._clock = clock
        self._limit = limit
        self._keys: OrderedDict[Hashable, _Refusals] = OrderedDict()

    def __len__(self) -> int:
        return len(self._keys)

    def may_ask(self, key: Hashable) -> bool:
        """Whether to ask the API server about a token of ``key`` now."""
        found, now = self._keys.get(key), self._clock()
        if found is None or found.number < self._limit or now - found.since >= SECONDS:
            return True
        if now - found.last_extra < EXTRA_SECONDS:
            return False
        found.last_extra = now
        return True

    def accepted(self, key: Hashable) -> None:
        """A token of ``key`` was accepted: its refusals are forgotten."""
        self._keys.pop(key, None)

    def refused(self, key: Hashable) -> None:
        """A token of ``key`` was refused."""
        now = self._clock()
        found = self._keys.get(key)
        if found is None or now - found.since >= SECONDS:
            self._keys[key] = _Refusals(1, now, now)
            self._keys.move_to_end(key)
        else:
            found.number += 1
        if len(self._keys) > MAX_KEYS:
            self._keys.popitem(last=False)
