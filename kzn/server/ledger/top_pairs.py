"""The top pairs: at most K have a series of their own, the others share the series ``other``.

A new pair gets a series while there are fewer than K. Beyond, its bytes are added to ``other`` and
it becomes a candidate: at the end of each window, candidates that sent more than twice as much in
it as the smallest pair with a series replace that pair. A promoted pair starts at 0 (its earlier
bytes stay in ``other``), a demoted one ends; bytes of it that were not exposed yet go to ``other``.
So every byte is in one series, and no rate is wrong.

The amounts of candidates are read at the end of a window only, so they are appended as they come
and summed when they take too much memory.
"""

import numpy as np

from kzn.columns.arrays import BOOL, I64, U64
from kzn.columns.group_sums import group_sums
from kzn.server.ledger.series import SeriesTable

_MARGIN = 2  # a factor, so that two equal pairs do not swap places at every window
_APPENDED = 4  # amounts per possible series before they are summed, in a few milliseconds
_ANY_KEY = 1 << 63


class _Candidates:
    """This window's bytes of pairs without a series; the ``limit`` largest are kept."""

    __slots__ = ("_amounts", "_appended", "_keys", "_limit")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._keys: list[I64] = []
        self._amounts: list[U64] = []
        self._appended = 0

    def add(self, keys: I64, amounts: U64) -> None:
        """Add the bytes of pairs, which may repeat."""
        self._keys.append(keys)
        self._amounts.append(amounts)
        self._appended += len(keys)
        if self._appended > _APPENDED * self._limit:
            keys, amounts = self.largest()
            self._keys, self._amounts, self._appended = [keys], [amounts], len(keys)

    def largest(self) -> tuple[I64, U64]:
        """Keys and bytes, largest first."""
        if not self._appended:
            return np.zeros(0, np.int64), np.zeros(0, np.uint64)
        keys, amounts = np.concatenate(self._keys), np.concatenate(self._amounts)
        keys, amounts = group_sums(keys, amounts, _ANY_KEY)
        order = np.argsort(amounts, kind="stable")[::-1][: self._limit]
        return keys.take(order), amounts.take(order)


class TopPairs:
    """A `SeriesTable` of K pairs, whose members change at the end of each window."""

    __slots__ = ("_at_window_start", "_candidates", "_window", "_window_end", "top")

    def __init__(self, top: SeriesTable, window: float) -> None:
        self.top = top
        self._candidates = _Candidates(top.limit)
        self._window = window
        self._window_end: float | None = None
        self._at_window_start = np.zeros(0, np.uint64)

    def add(self, keys: I64, amounts: U64, now: float) -> None:
        """Add to each pair's series, or to `other` where it has none."""
        limited = self.top.add(keys, amounts, now)
        if limited is not None:
            self._candidates.add(keys.take(limited), amounts.take(limited))

    def end_window(self, now: float) -> None:
        """At the end of the window, else without effect: promote, demote, start a window."""
        if self._window_end is None:
            self._window_end = now + self._window
        if now < self._window_end:
            return
        self._window_end = now + self._window
        self._promote(now)
        self._candidates = _Candidates(self.top.limit)
        self._at_window_start = self.top.bytes.copy()

    def drop(self, rows: BOOL) -> None:
        """End the series where ``rows`` (len(top),) is true."""
        self._forget(rows)
        self.top.drop(rows)

    def drop_to_other(self, rows: BOOL, now: float) -> None:
        """`drop`; bytes that were never exposed go to `other`."""
        self._forget(rows)
        self.top.drop_to_other(rows, now)

    def _forget(self, rows: BOOL) -> None:
        known = min(len(rows), len(self._at_window_start))
        self._at_window_start = self._at_window_start[:known][~rows[:known]]

    def _promote(self, now: float) -> None:
        keys, amounts = self._candidates.largest()
        if not keys.size:
            return
        room, sent = self.top.limit - len(self.top), self._sent_in_window()
        challengers = slice(room, room + len(sent))
        smallest = np.argsort(sent, kind="stable")[: len(keys[challengers])]
        wins = amounts[challengers] > _MARGIN * sent[smallest]
        out = np.zeros(len(sent), np.bool_)
        out[smallest[wins]] = True
        promoted = np.append(keys[:room], keys[challengers][wins])
        self.top.drop_to_other(out, now)
        self.top.add(promoted, np.zeros(len(promoted), np.uint64), now)

    def _sent_in_window(self) -> U64:
        sent = self.top.bytes.copy()
        known = min(len(sent), len(self._at_window_start))
        sent[:known] -= self._at_window_start[:known]
        return sent
