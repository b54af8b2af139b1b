"""Answers a query from rows in memory: columns of SETTLED and the ends that they number. Pure.

In: rows, ends, class and reason by verdict, a query. Out: an `Answer`. It is also what the tests
compare the answers of files with.
"""

import socket
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from kzn.columns.arrays import BOOL, I64, U64
from kzn.columns.group_sums import sums
from kzn.history.query import (
    END_DIMENSIONS,
    SIDES,
    Answer,
    Measure,
    Row,
    TrafficQuery,
    Value,
    matches,
)
from kzn.model.flows import INITIATOR_DESTINATION
from kzn.model.settled import End

Rows = npt.NDArray[np.void]
PROTOCOLS = {
    socket.IPPROTO_ICMP: "icmp",
    socket.IPPROTO_TCP: "tcp",
    socket.IPPROTO_UDP: "udp",
    socket.IPPROTO_ICMPV6: "icmpv6",
    socket.IPPROTO_SCTP: "sctp",
}
INITIATORS = ("unknown", "source", "destination")


def answer(
    query: TrafficQuery,
    rows: Rows,
    ends: Sequence[End],
    verdicts: Sequence[tuple[str, str]],
    complete_from: int | None,
    complete_to: int | None = None,
    *,
    cluster: str = "",
    provider_ids: Mapping[str, str] | None = None,
) -> Answer:
    """The answer from rows that may lie outside the span.

    ``verdicts`` as `Writer` has them; ``provider_ids`` by node.
    """
    query = query.aligned(60)
    rows = rows[(rows["time"] >= query.first) & (rows["time"] < query.end)]
    table = _Table(rows, ends, verdicts, cluster, provider_ids or {})
    rows, table = table.where(query)
    groups, keys = table.groups(query.by)
    is_now: BOOL = rows["time"] >= query.begin
    step = query.step(60)
    sizes = _sums(groups[is_now], rows["bytes"][is_now], len(keys))
    order = sorted(range(len(keys)), key=lambda n: (-sizes[n], tuple(map(str, keys[n]))))
    order = order[: query.limit]
    rank = np.full(len(keys) + 1, -1)  # series are made for the rows that are shown alone
    rank[order] = np.arange(len(order))
    places = rank.take(groups)
    shown: BOOL = places >= 0
    measures = _measures(query, step, rows[shown], places[shown], len(order), is_now[shown])
    everything = np.zeros(len(rows), np.int64)
    total = _measures(query, step, rows, everything, 1, is_now)[0]
    return Answer(
        query=query,
        step=step,
        rows=tuple(Row(keys[n], one) for n, one in zip(order, measures, strict=True)),
        total=total,
        of=len(keys),
        source="memory",
        complete_from=complete_from,
        complete_to=complete_to,
    )


def _measures(
    query: TrafficQuery, step: int, rows: Rows, groups: I64, size: int, is_now: BOOL
) -> list[Measure]:
    now = rows[is_now]
    columns = [_sums(groups[is_now], now[name], size) for name in ("bytes", "packets")]
    before = _sums(groups[~is_now], rows["bytes"][~is_now], size) if query.compare else None
    series: list[tuple[int, ...]] | None = None
    if query.points:
        points = -(-(query.end - query.begin) // step)
        bins = groups[is_now] * points + (now["time"] - query.begin) // step
        flat = _sums(bins, now["bytes"], size * points)
        series = [tuple(flat[n * points : (n + 1) * points]) for n in range(size)]
    return [
        Measure(
            columns[0][n],
            columns[1][n],
            before[n] if before is not None else None,
            series[n] if series is not None else None,
        )
        for n in range(size)
    ]


def _sums(groups: I64, amounts: U64, size: int) -> list[int]:
    found: list[int] = sums(groups, np.ascontiguousarray(amounts), size).tolist()
    return found


class _Table:
    """Rows with their dimensions."""

    def __init__(
        self,
        rows: Rows,
        ends: Sequence[End],
        verdicts: Sequence[tuple[str, str]],
        cluster: str,
        provider_ids: Mapping[str, str],
    ) -> None:
        self._rows = rows
        self._ends = ends
        self._verdicts = verdicts
        self._cluster = cluster
        self._provider_ids = provider_ids

    def where(self, query: TrafficQuery) -> tuple[Rows, "_Table"]:
        """The rows that all filters accept."""
        kept = np.ones(len(self._rows), np.bool_)
        for name, accepted in query.where:
            if name in END_DIMENSIONS:
                found = self._accepts(f"src_{name}", accepted)
                kept &= found | self._accepts(f"dst_{name}", accepted)
            else:
                kept &= self._accepts(name, accepted)
        rows = self._rows[kept]
        return rows, _Table(rows, self._ends, self._verdicts, self._cluster, self._provider_ids)

    def groups(self, by: Sequence[str]) -> tuple[I64, list[tuple[Value, ...]]]:
        """The number of each row's group, and the values of each group."""
        numbers = np.zeros(len(self._rows), np.int64)
        keys: list[tuple[Value, ...]] = [()] if not by else []
        for position, name in enumerate(by):
            codes, values = self._dimension(name)
            pairs, numbers = np.unique(numbers * (len(values) + 1) + codes, return_inverse=True)
            before, own = np.divmod(pairs, len(values) + 1)
            earlier = keys if position else [()]
            keys = [
                (*earlier[a], values[b]) for a, b in zip(before.tolist(), own.tolist(), strict=True)
            ]
        return numbers.astype(np.int64), keys if len(self._rows) else []

    def _accepts(self, name: str, accepted: Sequence[str]) -> BOOL:
        side, _, field = name.partition("_")
        if side not in SIDES:
            codes, values = self._dimension(name)
            chosen = np.array([matches(name, accepted, value) for value in values], np.bool_)
            found: BOOL = chosen.take(codes) if len(codes) else np.zeros(0, np.bool_)
            return found
        numbers = self._numbers(side)
        used = np.unique(numbers)
        chosen = np.zeros(len(self._ends) + 1, np.bool_)
        for number in used.tolist():
            end = self._ends[number]
            chosen[number] = matches(name, accepted, self._field(end, field), end.namespace)
        return chosen.take(numbers)

    def _dimension(self, name: str) -> tuple[I64, list[Value]]:
        """A code for each row, and the value of each code."""
        side, _, field = name.partition("_")
        if side in SIDES:
            numbers = self._numbers(side)
            used, codes = np.unique(numbers, return_inverse=True)
            return _interned(codes, [self._field(self._ends[n], field) for n in used.tolist()])
        if name == "cluster":
            return np.zeros(len(self._rows), np.int64), [self._cluster]
        column = "verdict" if name in {"class", "reason"} else name
        used, codes = np.unique(self._rows[column], return_inverse=True)
        return _interned(codes, [self._value(name, n) for n in used.tolist()])

    def _field(self, end: End, field: str) -> str:
        if field == "provider_id":
            return self._provider_ids.get(end.node, "")
        return str(getattr(end, field))

    def _value(self, name: str, number: int) -> Value:
        if name == "class":
            return self._verdicts[number][0]
        if name == "reason":
            return self._verdicts[number][1]
        if name == "initiator":
            return INITIATORS[number]
        if name == "protocol":
            return PROTOCOLS.get(number, str(number))
        return number

    def _numbers(self, side: str) -> I64:
        if side != "cause":
            return self._rows[side].astype(np.int64)
        is_dst = self._rows["initiator"] == INITIATOR_DESTINATION
        return np.where(is_dst, self._rows["dst"], self._rows["src"]).astype(np.int64)


def _interned(codes: npt.NDArray[np.intp], values: list[Value]) -> tuple[I64, list[Value]]:
    """Codes whose values are distinct."""
    number: dict[Value, int] = {}
    renumbered = np.array([number.setdefault(value, len(number)) for value in values], np.int64)
    return (renumbered.take(codes) if len(codes) else codes.astype(np.int64)), list(number)
