"""The last hour of minute sums in memory, for servers without ``--history``.

In: what a history's writer takes. Out: answers to queries. Nothing is durable.
Never: more than `MAX_ROWS` rows a minute: of more, the smallest are added up by zone.
"""

import threading
from collections.abc import Mapping, Sequence

import numpy as np

from kzn.columns.arrays import I64
from kzn.history.books import Books, Gap
from kzn.history.memory import Rows, answer
from kzn.history.query import Answer, TrafficQuery
from kzn.model.settled import SETTLED, ByClass, End, Sum
from kzn.server.recording.fold import grouped
from kzn.server.settled_totals import VERDICT_NAMES

SECONDS = 3600
MAX_ROWS = 5_000
MAX_ENDS = 100_000
"""Ends beyond which those that no row has are forgotten."""
OTHER = "other"
"""The workload of flows that were added up because there were too many."""


class Ring:
    """A `SegmentWriter` that keeps minutes for an hour; asked from any thread."""

    def __init__(self, began: int) -> None:
        """``began``: from when on, in Unix seconds, the server counts."""
        self._lock = threading.Lock()
        self._began = began
        self._until = began
        self._minutes: dict[int, Rows] = {}
        self._ends: list[End] = []
        self._numbers: dict[End, int] = {}
        self._of_writer: list[int] = []

    def ask(self, query: TrafficQuery) -> Answer:
        """The answer from what is in memory."""
        with self._lock:
            parts = list(self._minutes.values())
            ends, until = self._ends, self._until
        rows = np.concatenate(parts) if parts else np.zeros(0, SETTLED)
        first = max(-(-self._began // 60) * 60, until - SECONDS)
        return answer(query, rows, ends, VERDICT_NAMES, first, until)

    def open(self) -> Books:
        """See `SegmentWriter`."""
        return Books()

    def open_books(self, instance: int, ledger: Mapping[str, Sum]) -> Books:
        """See `SegmentWriter`: what another server has counted is not missing here."""
        return Books(instance, lost=dict(ledger))

    def add_ends(self, ends: Sequence[End], *, anew: bool) -> None:
        """See `SegmentWriter`; pods, nodes and addresses are left out."""
        with self._lock:
            if anew:
                self._of_writer = []
            self._of_writer += [
                self._number(end._replace(pod="", node="", address="")) for end in ends
            ]

    def write(self, number: int, rows: bytes, dropped: Mapping[str, ByClass], until: int) -> None:
        """See `SegmentWriter`."""
        del number, dropped
        found = np.frombuffer(rows, SETTLED).copy()
        with self._lock:
            numbers = np.array(self._of_writer, np.int32)
            for side in ("src", "dst"):
                found[side] = numbers.take(found[side])
            for minute in np.unique(found["time"]).tolist():
                part = found[found["time"] == minute]
                if minute in self._minutes:
                    part = np.concatenate([self._minutes[minute], part])
                self._minutes[minute] = self._limited(grouped(part))
            self._until = max(self._until, until)
            self._forget()

    def note(self, dropped: Mapping[str, ByClass], gaps: Sequence[Gap], until: int) -> Books:
        """See `SegmentWriter`."""
        del dropped, gaps
        with self._lock:
            self._until = max(self._until, until)
            self._forget()
        return Books(until=until)

    def maintain(self, now: float) -> bool:
        """See `SegmentWriter`."""
        del now
        return False

    def close(self) -> None:
        """See `SegmentWriter`."""

    def _number(self, end: End) -> int:
        number = self._numbers.get(end)
        if number is None:
            number = self._numbers[end] = len(self._ends)
            self._ends.append(end)
        return number

    def _limited(self, rows: Rows) -> Rows:
        if len(rows) <= MAX_ROWS:
            return rows
        order = np.argsort(~rows["bytes"], kind="stable")
        rest = rows.take(order[MAX_ROWS // 2 :])
        for side in ("src", "dst"):
            rest[side] = self._by_zone(rest[side])
        rest["port"] = rest["protocol"] = 0
        return grouped(np.concatenate([rows.take(order[: MAX_ROWS // 2]), rest]))

    def _by_zone(self, numbers: I64) -> I64:
        used, codes = np.unique(numbers, return_inverse=True)
        changed = []
        for number in used.tolist():
            end = self._ends[number]
            other = End(end.kind, "", "", OTHER, "", "", end.zone, end.region, "")
            changed.append(self._number(other))
        return np.array(changed, np.int64).take(codes)

    def _forget(self) -> None:
        for minute in [m for m in self._minutes if m < self._until - SECONDS - 60]:
            del self._minutes[minute]
        if len(self._ends) <= MAX_ENDS:
            return
        used = {
            number
            for rows in self._minutes.values()
            for side in ("src", "dst")
            for number in np.unique(rows[side]).tolist()
        } | set(self._of_writer)
        kept = sorted(used)
        new = np.zeros(len(self._ends), np.int32)
        new[kept] = np.arange(len(kept))
        self._ends = [self._ends[number] for number in kept]
        self._numbers = {end: number for number, end in enumerate(self._ends)}
        self._of_writer = [int(new[number]) for number in self._of_writer]
        changed = {}
        for minute, rows in self._minutes.items():
            changed[minute] = rows.copy()
            for side in ("src", "dst"):
                changed[minute][side] = new.take(rows[side])
        self._minutes = changed
