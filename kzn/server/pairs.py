"""The top pairs: at most K have a series of their own, the rest is one series ``other``.

A new pair gets a series while there is room. Beyond K its bytes go to ``other``, and it is a
candidate: at the end of each window, candidates that moved more than twice as much in the window
as the smallest incumbent take its place. A promoted pair starts at 0 (what it moved before is and
stays in ``other``), a demoted one ends. So every byte is in one series, and no rate is invented.
"""

import numpy as np

from kzn.model.flows import U64
from kzn.server.keytable import I64
from kzn.server.series import SeriesTable

_CHALLENGE = 2  # a factor, so that two equal pairs do not swap places at every window


class TopPairs:
    """A `SeriesTable` of K pairs that changes its members once a window."""

    __slots__ = ("_at_window_start", "_candidates", "_window", "_window_end", "top")

    def __init__(self, limit: int, window: float) -> None:
        self.top = SeriesTable(limit)
        self._candidates = SeriesTable(limit)
        self._window = window
        self._window_end: float | None = None
        self._at_window_start = np.zeros(0, np.uint64)

    def add(self, keys: I64, amounts: U64, now: float) -> None:
        """Add to each pair's series, or to `other` where it has none."""
        limited = self.top.add(keys, amounts, now)
        if limited is not None:
            self._candidates.add(keys.take(limited), amounts.take(limited), now)

    def turn(self, now: float) -> None:
        """End the window when its time has come: promote, demote, forget the candidates."""
        if self._window_end is None:
            self._window_end = now + self._window
        if now < self._window_end:
            return
        self._window_end = now + self._window
        if len(self._candidates):
            self._challenge(now)
        self._candidates = SeriesTable(self.top.limit)
        self._at_window_start = self.top.bytes.copy()

    def drop(self, rows: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> None:
        """End the series marked in ``rows`` (len(top),)."""
        known = min(len(rows), len(self._at_window_start))
        self._at_window_start = self._at_window_start[:known][~rows[:known]]
        self.top.drop(rows)

    def _challenge(self, now: float) -> None:
        strongest = np.argsort(self._candidates.bytes, kind="stable")[::-1]
        room = self.top.limit - len(self.top)
        challengers = strongest[room:]
        moved = self._moved_in_window()
        weakest = np.argsort(moved, kind="stable")[: len(challengers)]
        challengers = challengers[: len(weakest)]
        wins = self._candidates.bytes[challengers] > _CHALLENGE * moved[weakest]
        out = np.zeros(len(moved), np.bool_)
        out[weakest[wins]] = True
        promoted = self._candidates.keys[np.append(strongest[:room], challengers[wins])]
        self.top.drop(out)
        self.top.add(promoted, np.zeros(len(promoted), np.uint64), now)

    def _moved_in_window(self) -> U64:
        moved = self.top.bytes.copy()
        known = min(len(moved), len(self._at_window_start))
        moved[:known] -= self._at_window_start[:known]
        return moved
