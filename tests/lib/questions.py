"""Queries about past traffic and their plain answers, for every store.

In: rows by (minute, source, destination, …). Out: what an answer must be, by dictionaries.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from kzn.history.query import DIMENSIONS, END_DIMENSIONS, NAMED, SIDES, TrafficQuery
from kzn.model.settled import SETTLED, End

T0 = 1_795_651_200
VERDICTS = [("same_zone", ""), ("cross_zone", ""), ("unresolved", "ambiguous")]
ENDS = [
    End("Pod", "shop", "Deployment", "web", "web-1", "n1", "a", "r", "10.0.0.1", "team-a"),
    End("Pod", "shop", "Deployment", "web", "web-2", "n2", "b", "r", "10.0.0.2"),
    End("Pod", "bank", "Deployment", "web", "web-1", "n3", "b", "r", "10.0.0.3"),
    End("Node", "", "Node", "n1", "", "n1", "a", "r", "10.0.0.4"),
    End("External", "", "", "", "", "", "", "", "8.8.8.8"),
]
CLUSTER, PROVIDER_IDS = "east", {"n1": "aws:///a/i-1"}
PROTOCOLS = {6: "tcp", 17: "udp", 99: "99"}
INITIATORS = ("unknown", "source", "destination")

FLOWS = st.lists(
    st.tuples(
        st.integers(-130, 130),
        st.integers(0, len(ENDS) - 1),
        st.integers(0, len(ENDS) - 1),
        st.sampled_from([0, 443, 5432]),
        st.sampled_from([*PROTOCOLS]),
        st.integers(0, len(VERDICTS) - 1),
        st.integers(0, 2),
        st.integers(1, 1 << 48),
    ),
    max_size=25,
)
"""(minute, source, destination, port, protocol, verdict, initiator, bytes)"""

_VALUES = [
    "web",
    "shop/web",
    "web-1",
    "n1",
    "a",
    "b",
    "shop",
    "",
    "443",
    "tcp",
    "same_zone",
    "10.0.0.2",
    "team-a",
    "east",
    "aws:///a/i-1",
]
QUERIES = st.builds(
    lambda begin, length, by, where, limit, points, compare: TrafficQuery(
        T0 + begin, T0 + begin + length, tuple(by), tuple(where.items()), limit, points, compare
    ),
    st.integers(-7200, 3600),
    st.integers(1, 9000),
    st.lists(st.sampled_from(DIMENSIONS), unique=True, max_size=3),
    st.dictionaries(
        st.sampled_from([*DIMENSIONS, *END_DIMENSIONS]),
        st.lists(st.sampled_from(_VALUES), min_size=1, max_size=3).map(tuple),
        max_size=2,
    ),
    st.integers(0, 4),
    st.integers(0, 5),
    st.booleans(),
)


@dataclass(frozen=True, slots=True)
class Expected:
    """Sums of a group: bytes, packets, before, series."""

    bytes: int = 0
    packets: int = 0
    before: int = 0
    series: tuple[int, ...] = ()


def settled(flows: list[tuple[int, ...]]) -> Any:
    """Rows of SETTLED."""
    rows = np.zeros(len(flows), SETTLED)
    for row, (minute, src, dst, port, protocol, verdict, initiator, size) in zip(
        rows, flows, strict=True
    ):
        row["time"], row["src"], row["dst"] = T0 + minute * 60, src, dst
        row["port"], row["protocol"], row["verdict"] = port, protocol, verdict
        row["initiator"], row["bytes"], row["packets"] = initiator, size, 1
    return rows


def expected(
    flows: list[tuple[int, ...]], query: TrafficQuery, unit: int = 60
) -> dict[tuple[Any, ...], Expected]:
    """The sums of each group."""
    query = query.aligned(unit)
    step, length = query.step(unit), query.end - query.begin
    points = -(-length // step) if query.points else 0
    groups: dict[tuple[Any, ...], Expected] = {}
    for flow in flows:
        time, values = T0 + flow[0] * 60, _values(flow)
        before = query.compare and query.begin - length <= time < query.begin
        if not (query.begin <= time < query.end or before) or not _accepted(values, query):
            continue
        key = tuple(values[name] for name in query.by)
        so_far, size = groups.get(key, Expected(series=(0,) * points)), flow[-1]
        if before:
            made = Expected(so_far.bytes, so_far.packets, so_far.before + size, so_far.series)
        else:
            series = list(so_far.series)
            if points:
                series[(time - query.begin) // step] += size
            made = Expected(so_far.bytes + size, so_far.packets + 1, so_far.before, tuple(series))
        groups[key] = made
    return groups


def check(answer: Any, flows: list[tuple[int, ...]], query: TrafficQuery, unit: int = 60) -> None:
    """The answer is what dictionaries say, and rows + other = total."""
    groups = expected(flows, query, unit)
    document = answer.to_json()
    order = sorted(groups, key=lambda key: (-groups[key].bytes, tuple(map(str, key))))
    rows = [{name: row[name] for name in query.by} for row in document["rows"]]
    assert rows == [dict(zip(query.by, key, strict=True)) for key in order[: query.limit]]
    for row, key in zip(document["rows"], order, strict=False):
        _check_sums(row, groups[key], query)
    total = _added(groups.values(), query, unit)
    _check_sums(document["total"], total, query)
    assert document["of"] == len(groups)
    parts = [*document["rows"], document["other"]]
    for name in ("bytes", "packets", *(["before"] if query.compare else [])):
        assert sum(part[name] for part in parts) == document["total"][name]
    if query.points:
        columns = zip(*(part["series"] for part in parts), strict=True)
        assert [sum(column) for column in columns] == document["total"]["series"]
        assert sum(document["total"]["series"]) == document["total"]["bytes"]


def _added(groups: Any, query: TrafficQuery, unit: int) -> Expected:
    query = query.aligned(unit)
    points = -(-(query.end - query.begin) // query.step(unit)) if query.points else 0
    found = list(groups)
    series = tuple(sum(one.series[n] for one in found) for n in range(points))
    return Expected(
        sum(one.bytes for one in found),
        sum(one.packets for one in found),
        sum(one.before for one in found),
        series,
    )


def _check_sums(row: Any, sums: Expected, query: TrafficQuery) -> None:
    assert (row["bytes"], row["packets"]) == (sums.bytes, sums.packets)
    assert row.get("before") == (sums.before if query.compare else None)
    assert row.get("series") == (list(sums.series) if query.points else None)


def _values(flow: tuple[int, ...]) -> dict[str, Any]:
    _, src, dst, port, protocol, verdict, initiator, _ = flow
    ends = {"src": ENDS[src], "dst": ENDS[dst], "cause": ENDS[dst if initiator == 2 else src]}
    found: dict[str, Any] = {
        f"{side}_{name}": PROVIDER_IDS.get(ends[side].node, "")
        if name == "provider_id"
        else getattr(ends[side], name)
        for side in SIDES
        for name in END_DIMENSIONS
    }
    found |= {
        "cluster": CLUSTER,
        "port": port,
        "protocol": PROTOCOLS[protocol],
        "initiator": INITIATORS[initiator],
    }
    return found | dict(zip(("class", "reason"), VERDICTS[verdict], strict=True))


def _accepted(values: dict[str, Any], query: TrafficQuery) -> bool:
    for name, accepted in query.where:
        sides = [f"src_{name}", f"dst_{name}"] if name in END_DIMENSIONS else [name]
        if not any(_is_one_of(values, side, accepted) for side in sides):
            return False
    return True


def _is_one_of(values: dict[str, Any], name: str, accepted: tuple[str, ...]) -> bool:
    side, _, field = name.partition("_")
    forms = {str(values[name])}
    if side in SIDES and field in NAMED and values[f"{side}_namespace"]:
        forms.add(f"{values[f'{side}_namespace']}/{values[name]}")
    return bool(forms & set(accepted))
