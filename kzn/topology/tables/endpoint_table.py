"""Endpoints by id: facts, integer columns, and the reuse of freed ids.

In: endpoints as they become known and end. Out: ids and numpy columns by id. Never: addresses.
"""

from collections.abc import Hashable
from math import inf
from typing import Generic, TypeVar, cast

import numpy as np

from kzn.columns.arrays import F64
from kzn.columns.interner import Interner
from kzn.errors import KznError
from kzn.model.endpoint import NO_CODE, Endpoint, EndpointColumns

K = TypeVar("K", bound=Hashable)

FIRST_CAPACITY = 1024


class CountedCodes(Generic[K]):
    """Names as codes, with a count of users; a code is freed when its last user releases it."""

    def __init__(self) -> None:
        self._names: Interner[K] = Interner()
        self._users: list[int] = []

    def acquire(self, name: K) -> int:
        """The code of ``name``, with one user more."""
        code = self._names.code(name)
        if code == len(self._users):
            self._users.append(0)
        self._users[code] += 1
        return code

    def release(self, code: int) -> None:
        """One user of ``code`` less; NO_CODE is ignored."""
        if code == NO_CODE:
            return
        self._users[code] -= 1
        if self._users[code] == 0:
            self._names.free(code)

    def get(self, name: K) -> int:
        """The code of ``name``, NO_CODE when it has none."""
        code = self._names.get(name)
        return NO_CODE if code is None else code


class EndpointTable:
    """All endpoints that a batch or a series may still refer to.

    The facts behind an id never change. ``times`` (ids, 2) has ``valid_from`` and
    ``exclusive_since`` of the owner behind each id (`ownership.intervals.Owner`).
    """

    def __init__(self) -> None:
        self._endpoints: list[Endpoint | None] = []
        self._free: list[int] = []
        self._nodes: CountedCodes[str] = CountedCodes()
        self._zones: CountedCodes[tuple[str, str]] = CountedCodes()
        self._regions: CountedCodes[str] = CountedCodes()
        self._billing: CountedCodes[tuple[str, str]] = CountedCodes()
        # A row per id, not a column per field: a look-up touches one line of the CPU cache.
        self._codes = np.full((FIRST_CAPACITY, 4), NO_CODE, np.int32)
        self.times: F64 = np.zeros((FIRST_CAPACITY, 2))

    def __len__(self) -> int:
        return len(self._endpoints) - len(self._free)

    @property
    def columns(self) -> EndpointColumns:
        """Views of the columns, as long as the highest id."""
        node, zone, region, billing = self._codes[: len(self._endpoints)].T
        return EndpointColumns(node=node, zone=zone, region=region, billing=billing)

    def add(self, endpoint: Endpoint, valid_from: float, exclusive_since: float = -inf) -> int:
        """A new id for ``endpoint``, with its times."""
        number = self._next_id()
        self._endpoints[number] = endpoint
        self.times[number] = valid_from, exclusive_since
        zone, region = (endpoint.region, endpoint.zone), endpoint.region
        billing = endpoint.provider, endpoint.price_class
        self._codes[number] = (
            self._nodes.acquire(endpoint.node) if endpoint.node else NO_CODE,
            self._zones.acquire(zone) if endpoint.zone else NO_CODE,
            self._regions.acquire(region) if region else NO_CODE,
            self._billing.acquire(billing) if any(billing) else NO_CODE,
        )
        return number

    def free(self, number: int) -> None:
        """Free an unreferenced id, so that another endpoint can get it."""
        self._endpoints[number] = None
        node, zone, region, billing = self._codes[number].tolist()
        self._nodes.release(node)
        self._zones.release(zone)
        self._regions.release(region)
        self._billing.release(billing)
        self._codes[number] = NO_CODE
        self._free.append(number)

    def __getitem__(self, number: int) -> Endpoint:
        endpoint = self._endpoints[number] if 0 <= number < len(self._endpoints) else None
        if endpoint is None:
            raise KznError(f"endpoint id {number} is not in use: unknown, or ended too long ago")
        return endpoint

    def all_of(self, numbers: list[int]) -> list[Endpoint | int]:
        """The facts behind each id; negative codes are returned as they are.

        KznError for an id not in use.
        """
        known = self._endpoints
        try:
            found = [known[number] if number >= 0 else number for number in numbers]
        except IndexError:
            found = [None]
        if not all(found):
            raise KznError("an endpoint id is not in use: unknown, or ended too long ago")
        return cast(list[Endpoint | int], found)

    def node_code(self, node: str) -> int:
        """The code of a node by name."""
        return self._nodes.get(node)

    def _next_id(self) -> int:
        if self._free:
            return self._free.pop()
        number = len(self._endpoints)
        self._endpoints.append(None)
        if number == len(self.times):
            self._codes = np.concatenate([self._codes, np.full_like(self._codes, NO_CODE)])
            self.times = np.concatenate([self.times, np.zeros_like(self.times)])
        return number
