"""Owners by their id in the index, and numbers of them for the folding thread.

In: ids of a resolution, and the index, on the event loop; what it learned, in the folding thread.
Out: numbers by a gather. Never: an object for each address of each batch.
"""

from collections.abc import Callable, Sequence

import numpy as np

from kzn.columns.arrays import F64, I32, I64
from kzn.columns.sort_order import distinct
from kzn.model.endpoint import Endpoint, EndpointIndex

_CODES = 8
"""Codes of addresses without an owner are above -8."""
_KNOWN_SECONDS = 60.0
"""The index gives a freed id to another owner after a longer time."""

Learned = Sequence[tuple[int, Endpoint]]


class SeenOwners:
    """Which ids the folding thread has been told the owners of; on the event loop."""

    def __init__(self) -> None:
        self._until: F64 = np.zeros(0)

    def new(self, ids: I32, index: EndpointIndex, now: float) -> Learned:
        """The owners of those of ``ids`` that were not told within a minute."""
        at = np.maximum(ids, 0)
        if len(at) and (top := int(at.max())) >= len(self._until):
            self._until = np.append(self._until, np.full(2 * top + 1024 - len(self._until), -1e300))
        stale = np.flatnonzero((self._until.take(at) <= now) & (ids >= 0))
        if not len(stale):
            return ()
        numbers = distinct(ids.take(stale))
        learned = [(number, index.endpoint(number)) for number in numbers.tolist()]
        self._until[numbers] = now + _KNOWN_SECONDS  # not before: an id may not be in use
        return learned

    def forget(self, learned: Learned) -> None:
        """The thread was not told ``learned``."""
        self._until[[number for number, _ in learned]] = -1e300


class OwnerNumbers:
    """The number of each owner; in the folding thread. ``numbered`` numbers an owner."""

    def __init__(self, numbered: Callable[[Endpoint | int], int]) -> None:
        self._numbered = numbered
        self._owners: dict[int, Endpoint] = {}
        self._numbers: I64 = np.zeros(0, np.int64)
        self.begin_anew()

    def are_others(self, learned: Learned) -> bool:
        """Whether an id has had another owner than one of ``learned``."""
        return any(self._owners.get(number, owner) is not owner for number, owner in learned)

    def learn(self, learned: Learned) -> None:
        """The owners of some ids are these from now on."""
        for number, owner in learned:
            if self._owners.get(number) is not owner:
                self._owners[number] = owner
                if number + _CODES < len(self._numbers):
                    self._numbers[number + _CODES] = -1

    def of(self, ids: I32) -> I64:
        """The number of each of ``ids``, all of which are learned or codes."""
        at = ids.astype(np.int64) + _CODES
        if len(at) and (top := int(at.max())) >= len(self._numbers):
            room = np.full(2 * top + 1024 - len(self._numbers), -1)
            self._numbers = np.append(self._numbers, room)
        found = self._numbers.take(at)
        if (missing := found < 0).any():
            for number in np.unique(at[missing]).tolist():
                owner = self._owners[number - _CODES] if number >= _CODES else number - _CODES
                self._numbers[number] = self._numbered(owner)
            found = self._numbers.take(at)
        return found

    def begin_anew(self) -> None:
        """Numbers that were given are no longer valid."""
        self._numbers = np.full(len(self._numbers), -1)
