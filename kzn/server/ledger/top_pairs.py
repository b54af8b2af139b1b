"""The top pairs: at most K have a series of their own, the others share the series ``other``.

A new pair gets a series while there are fewer than K. Beyond, its bytes are added to ``other`` and
it becomes a candidate: at the end of each window, candidates that sent more than twice as much in
it as the smallest pair with a series replace that pair. A promoted pair starts at 0 (its earlier
bytes stay in ``other``), a demoted one ends; bytes of it that were not exposed yet go to ``other``.
So every byte is in one series, and no rate is wrong.

Candidates share a fixed number of slots by their hash. A slot has one key and a balance: bytes of
its key add to the balance, bytes of other keys take from it, and a key that takes more than there
is gets the slot. So a key that sends most of a slot's bytes has it (Boyer and Moore's majority
vote), and a balance is at most what its key sent: no pair is promoted that did not send enough. Of
two large candidates that share a slot the smaller one may have to wait for another window.
"""

import numpy as np

from kzn.columns.arrays import BOOL, I64, U64
from kzn.columns.hash_table import EMPTY, fibonacci
from kzn.server.ledger.series import SeriesTable, moves

_MARGIN = 2  # a factor, so that two equal pairs do not swap places at every window
_SLOTS_A_SERIES = 4
_MIN_BITS = 10


class _Candidates:
    """Lower bounds of this window's bytes of pairs without a series, at most one a slot."""

    __slots__ = ("_balances", "_keys", "_limit", "_shift")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        bits = max(_MIN_BITS, (_SLOTS_A_SERIES * limit - 1).bit_length())
        self._shift = np.uint64(64 - bits)
        self._keys = np.full(1 << bits, EMPTY, np.int64)
        self._balances = np.zeros(1 << bits, np.int64)

    def add(self, keys: I64, amounts: U64) -> None:
        """Add the bytes of pairs, which may repeat."""
        slots = (fibonacci(keys) >> self._shift).view(np.int64)
        sizes = amounts.view(np.int64)
        own = self._keys.take(slots) == keys
        np.add.at(self._balances, slots, np.where(own, sizes, -sizes))
        others = np.flatnonzero(~own)
        lost = others[self._balances.take(slots.take(others)) < 0]
        if not lost.size:
            return
        # The last of several keys gets the slot, with no more than it brought itself.
        at = slots.take(lost)
        self._keys[at] = keys.take(lost)
        self._balances[at] = np.minimum(-self._balances.take(at), sizes.take(lost))

    def keys(self) -> I64:
        """The keys that have a slot."""
        found: I64 = self._keys[self._keys != EMPTY]
        return found

    def largest(self) -> tuple[I64, U64]:
        """At most ``limit`` keys and bytes, largest first."""
        filled = np.flatnonzero(self._balances > 0)
        amounts = self._balances.take(filled)
        order = np.argsort(-amounts, kind="stable")[: self._limit]
        return self._keys.take(filled.take(order)), amounts.take(order).view(np.uint64)


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

    def candidate_keys(self) -> I64:
        """The keys of pairs that may get a series at the end of the window."""
        return self._candidates.keys()

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
        """Let the amounts of what stays go along with its rows."""
        start = np.zeros(len(rows), np.uint64)
        start[: len(self._at_window_start)] = self._at_window_start
        gaps, fillers = moves(rows)
        start[gaps] = start[fillers]
        self._at_window_start = start[: len(rows) - int(np.count_nonzero(rows))]

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
