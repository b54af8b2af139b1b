"""The bytes of settled flows by class, since the ledger began: what a history must add up to.

In: the verdicts and sizes of settled flows; saved rows. Out: sums by class, rows for the state
file. Never: a sum that decreases.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from kzn.columns.arrays import I64, U8, U64
from kzn.columns.group_sums import sums
from kzn.model.settled import CLASSES, ByClass, Sum
from kzn.server.resolve import verdict as v

VERDICT_CLASSES = tuple(
    name if code < v.TRANSIT else CLASSES[-1] for code, name in enumerate(v.NAMES)
)
"""The class of settled flows by verdict; transit is never settled."""
VERDICT_NAMES = tuple(
    (found, "" if code < v.TRANSIT else name)
    for code, (found, name) in enumerate(zip(VERDICT_CLASSES, v.NAMES, strict=True))
)
"""Class and reason by verdict."""


class SettledRow(NamedTuple):
    """A saved sum."""

    class_: str
    packets: int
    bytes: int


class SettledTotals:
    """Sums by class; changed by the event loop alone."""

    __slots__ = ("_changed", "sums")

    def __init__(self) -> None:
        self.sums: ByClass = {}
        self._changed = False

    def add(self, amounts: ByClass) -> None:
        """Add sums of one batch."""
        for name, amount in amounts.items():
            self.sums[name] = self.sums.get(name, Sum()).plus(amount)
            self._changed = True

    def restore(self, rows: Iterable[SettledRow]) -> None:
        """Set the sums of an empty object."""
        self.sums = {row.class_: Sum(row.packets, row.bytes) for row in rows}

    def changed(self) -> list[SettledRow]:
        """All sums if one has changed since the last call, else none."""
        was, self._changed = self._changed, False
        return [SettledRow(name, *amount) for name, amount in self.sums.items()] if was else []


def by_class(verdicts: U8, packets: U64, sizes: U64) -> ByClass:
    """The sums of settled flows (m,)."""
    codes: I64 = verdicts.astype(np.int64)
    found: ByClass = {}
    both = zip(
        sums(codes, packets, len(v.NAMES)).tolist(),
        sums(codes, sizes, len(v.NAMES)).tolist(),
        strict=True,
    )
    for name, amount in zip(VERDICT_CLASSES, both, strict=True):
        if any(amount):
            found[name] = found.get(name, Sum()).plus(Sum(*amount))
    return found
