"""Owners of addresses, asked of a server and cached for KEEP_SECONDS.

In: addresses as text. Out: the `AddressOwner` of each that the server has answered.
Never: more than MAX_KNOWN owners in memory, or MAX_ADDRESSES in one request.
"""

import time
from collections.abc import Callable, Iterable
from typing import Any

from kzn.client.api import MAX_ADDRESSES, AddressOwner
from kzn.client.http import ApiClient

MAX_KNOWN = 100_000
KEEP_SECONDS = 30.0


class OwnerLookup:
    """The cache of one server; ``clock`` is monotonic seconds."""

    def __init__(self, api: ApiClient, clock: Callable[[], float] = time.monotonic) -> None:
        self._api = api
        self._clock = clock
        self._known: dict[str, tuple[float, AddressOwner]] = {}

    def owners(self, addresses: Iterable[str]) -> dict[str, AddressOwner]:
        """Owners by address; those not in the cache are asked for. KznError if that fails."""
        wanted = list(dict.fromkeys(addresses))
        stale = self._clock() - KEEP_SECONDS
        new = [a for a in wanted if a not in self._known or self._known[a][0] < stale]
        if len(self._known) + len(new) > MAX_KNOWN:
            self._known.clear()
            new = wanted
        for first in range(0, len(new), MAX_ADDRESSES):
            self._ask(new[first : first + MAX_ADDRESSES])
        return {address: self._known[address][1] for address in wanted if address in self._known}

    def _ask(self, addresses: list[str]) -> None:
        query = [("address", address) for address in addresses]
        for owner in self._api.fetch("addresses", _read, query):
            self._known[owner.address] = (self._clock(), owner)


def _read(answer: Any) -> list[AddressOwner]:
    return [AddressOwner.from_json(row) for row in answer["addresses"]]
