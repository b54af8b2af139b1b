"""The last hour of minute sums in memory, for servers without ``--history``.

In: what a history's writer takes. Out: answers to queries. Nothing is durable.
Never: more than `MAX_ROWS` rows a minute: of more, the smallest are added up by zone.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from kzn.history.books import Books, Gap
from kzn.history.memory import Rows, answer
from kzn.history.processes.framing import Payload
from kzn.history.query import Answer, TrafficQuery
from kzn.model.settled import SETTLED, ByClass, End, Sum
from kzn.server.recording.rest import OTHER, RestOfZones
from kzn.server.recording.words import grouped
from kzn.server.settled_totals import VERDICT_NAMES

SECONDS = 3600
MAX_ROWS = 5_000
MAX_REST = MAX_ROWS // 2 - 64
"""Most rows of those that are added up by zone; beyond it by class and initiator alone."""
MAX_ENDS = 100_000
"""Ends beyond which those that no row has are forgotten."""
_NOWHERE = End("Unknown", "", "", OTHER, "", "", "", "", "")


class Ring:
    """A `SegmentWriter` that keeps minutes for an hour; asked from any thread."""

    def __init__(self, began: int) -> None:
        """``began``: from when on, in Unix seconds, the server counts."""
        self._lock = threading.Lock()
        self._cluster = ""
        self._began = began
        self._until = began
        self._minutes: dict[int, Rows] = {}
        self._ends: list[End] = []
        self._numbers: dict[End, int] = {}
        self._of_writer: list[int] = []
        self._rest = RestOfZones(self._number)

    def ask(self, query: TrafficQuery) -> Answer:
        """The answer from what is in memory."""
        with self._lock:
            parts = list(self._minutes.values())
            ends, until, cluster = self._ends, self._until, self._cluster
        rows = np.concatenate(parts) if parts else np.zeros(0, SETTLED)
        first = -(-max(self._began, until - SECONDS - 60) // 60) * 60
        return answer(query, rows, ends, VERDICT_NAMES, first, until, cluster=cluster)

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

    def describe(self, cluster: str, provider_ids: Mapping[str, str]) -> None:
        """See `SegmentWriter`; without nodes there are no ids of them."""
        del provider_ids
        self._cluster = cluster

    def write(self, number: int, rows: Payload, dropped: Mapping[str, ByClass], until: int) -> None:
        """See `SegmentWriter`."""
        del number, dropped
        found = np.frombuffer(rows, SETTLED).copy()
        with self._lock:
            numbers = np.array(self._of_writer, np.int32)
            for side in ("src", "dst"):
                found[side] = numbers.take(found[side])
            for minute, part in _by_minute(found):
                # Limited first: then it is a twentieth of the rows that are grouped.
                kept = self._limited(part)
                if minute in self._minutes:
                    kept = np.concatenate([self._minutes[minute], kept])
                self._minutes[minute] = self._limited(grouped(kept))
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
        smaller = len(rows) - MAX_ROWS // 2
        order = np.argpartition(np.ascontiguousarray(rows["bytes"]), smaller)
        rest = rows.take(order[:smaller])
        for side in ("src", "dst"):
            rest[side] = self._rest.of(np.ascontiguousarray(rest[side]), self._ends)
        rest["port"] = rest["protocol"] = 0
        rest = grouped(rest)
        if len(rest) > MAX_REST:  # of very many zones: the smallest have none of their own
            order_of_rest = np.argpartition(np.ascontiguousarray(rest["bytes"]), -MAX_REST)
            least = rest.take(order_of_rest[:-MAX_REST])
            least["src"] = least["dst"] = self._number(_NOWHERE)
            rest = np.concatenate([rest.take(order_of_rest[-MAX_REST:]), grouped(least)])
        return np.concatenate([rows.take(order[smaller:]), rest])

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
        self._rest.begin_anew()
        self._of_writer = [int(new[number]) for number in self._of_writer]
        changed = {}
        for minute, rows in self._minutes.items():
            changed[minute] = rows.copy()
            for side in ("src", "dst"):
                changed[minute][side] = new.take(rows[side])
        self._minutes = changed


def _by_minute(rows: Rows) -> Iterator[tuple[int, Rows]]:
    """The rows of each minute; nearly always there is one."""
    if not len(rows):
        return
    times = np.ascontiguousarray(rows["time"])
    if (times == times[0]).all():
        yield int(times[0]), rows
        return
    for minute in np.unique(times).tolist():
        yield minute, rows[times == minute]
