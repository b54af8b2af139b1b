"""The top pairs: at most K have a series of their own, the rest is one series ``other``.

A new pair gets a series while there is room. Beyond K its bytes go to ``other``, and it is a
candidate: at the end of each window, candidates that moved more than twice as much in the window
as the smallest incumbent take its place. A promoted pair starts at 0 (what it moved before is and
stays in ``other``), a demoted one ends. So every byte is in one series, and no rate is invented.

Nobody asks what a candidate moved before the window ends, so that is written down as it comes and
summed up only now and then.
"""

import numpy as np

from kzn.columns.arrays import I64, U64
from kzn.columns.group_sums import group_sums
from kzn.server.ledger.series import SeriesTable

_CHALLENGE = 2  # a factor, so that two equal pairs do not swap places at every window


_NOTES = 4  # for each series that there may be: a few milliseconds of summing up at once
_ANY_KEY = 1 << 63


class _Candidates:
    """What pairs without a series moved; of those that move least, of too many, some is forgotten.

    Too many are more than ``limit``.
    """

    __slots__ = ("_amounts", "_keys", "_limit", "_notes")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._keys: list[I64] = []
        self._amounts: list[U64] = []
        self._notes = 0

    def add(self, keys: I64, amounts: U64) -> None:
        """Pairs, which may repeat, moved ``amounts``."""
        self._keys.append(keys)
        self._amounts.append(amounts)
        self._notes += len(keys)
        if self._notes > _NOTES * self._limit:
            keys, amounts = self.strongest()
            self._keys, self._amounts, self._notes = [keys], [amounts], len(keys)

    def strongest(self) -> tuple[I64, U64]:
        """Those that moved most first, and how much."""
        if not self._notes:
            return np.zeros(0, np.int64), np.zeros(0, np.uint64)
        keys, amounts = np.concatenate(self._keys), np.concatenate(self._amounts)
        keys, amounts = group_sums(keys, amounts, _ANY_KEY)
        order = np.argsort(amounts, kind="stable")[::-1][: self._limit]
        return keys.take(order), amounts.take(order)


class TopPairs:
    """A `SeriesTable` of K pairs that changes its members once a window."""

    __slots__ = ("_at_window_start", "_candidates", "_window", "_window_end", "top")

    def __init__(self, limit: int, window: float) -> None:
        self.top = SeriesTable(limit)
        self._candidates = _Candidates(limit)
        self._window = window
        self._window_end: float | None = None
        self._at_window_start = np.zeros(0, np.uint64)

    def add(self, keys: I64, amounts: U64, now: float) -> None:
        """Add to each pair's series, or to `other` where it has none."""
        limited = self.top.add(keys, amounts, now)
        if limited is not None:
            self._candidates.add(keys.take(limited), amounts.take(limited))

    def turn(self, now: float) -> None:
        """End the window when its time has come: promote, demote, forget the candidates."""
        if self._window_end is None:
            self._window_end = now + self._window
        if now < self._window_end:
            return
        self._window_end = now + self._window
        self._challenge(now)
        self._candidates = _Candidates(self.top.limit)
        self._at_window_start = self.top.bytes.copy()

    def drop(self, rows: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> None:
        """End the series marked in ``rows`` (len(top),)."""
        known = min(len(rows), len(self._at_window_start))
        self._at_window_start = self._at_window_start[:known][~rows[:known]]
        self.top.drop(rows)

    def _challenge(self, now: float) -> None:
        strongest, amounts = self._candidates.strongest()
        if not strongest.size:
            return
        room, moved = self.top.limit - len(self.top), self._moved_in_window()
        rivals = slice(room, room + len(moved))
        weakest = np.argsort(moved, kind="stable")[: len(strongest[rivals])]
        wins = amounts[rivals] > _CHALLENGE * moved[weakest]
        out = np.zeros(len(moved), np.bool_)
        out[weakest[wins]] = True
        promoted = np.append(strongest[:room], strongest[rivals][wins])
        self.top.drop(out)
        self.top.add(promoted, np.zeros(len(promoted), np.uint64), now)

    def _moved_in_window(self) -> U64:
        moved = self.top.bytes.copy()
        known = min(len(moved), len(self._at_window_start))
        moved[:known] -= self._at_window_start[:known]
        return moved
