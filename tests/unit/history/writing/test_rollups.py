"""Rows added up by pairs of workloads and by node are those of dictionaries."""

from collections import Counter
from typing import Any

from hypothesis import given
from questions import ENDS, FLOWS, PROVIDER_IDS, T0, settled

from kzn.history.columns import OF_PLACE
from kzn.history.writing.end_names import OF_WORKLOAD, EndNames
from kzn.history.writing.rollups import Sums, joined, of_pairs, sums_of


def names() -> EndNames:
    found = EndNames()
    found.add(ENDS, PROVIDER_IDS)
    return found


def of_end(number: int, fields: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(getattr(ENDS[number], name) for name in fields)


def sums(rows: Any, keys: Any) -> Counter[Any]:
    found: Counter[Any] = Counter()
    for row in rows:
        found[keys(row)] += int(row["bytes"])
    return found


@given(FLOWS)
def test_sums_are_those_of_dictionaries(flows: list[tuple[int, ...]]) -> None:
    rows = settled([(0, *flow[1:]) for flow in flows])

    def key(src: tuple[str, ...], dst: tuple[str, ...], *rest: str) -> Any:
        return lambda row: (
            of_end(row["src"], src),
            of_end(row["dst"], dst),
            *(int(row[name]) for name in ("verdict", "initiator", *rest)),
        )

    whole = sums_of(rows, names())
    halves = [sums_of(rows[len(rows) // 2 :], names()), sums_of(rows[: len(rows) // 2], names())]
    for made in (whole, joined(halves, names())):
        check(made, rows, key)


def check(made: Sums, rows: Any, key: Any) -> None:
    near, far = ("node", *OF_PLACE), OF_PLACE
    pairs, sent, received = made.pairs, made.sent, made.received
    for found, keys in (
        (pairs, key(OF_WORKLOAD, OF_WORKLOAD, "port", "protocol")),
        (sent, key(near, far)),
        (received, key(far, near)),
    ):
        expected = sums(rows, keys)
        assert sums(found, keys) == expected
        assert len(found) == len(expected)
        assert int(found["packets"].sum()) == len(rows)
        assert set(found["time"].tolist()) <= {T0}


def test_sums_are_exact_beyond_floating_point() -> None:
    flows: list[tuple[int, ...]] = [(0, 0, 1, 443, 6, 0, 0, (1 << 60) + 1)] * 5
    (found,) = of_pairs(settled(flows), names()).tolist()
    assert found[-1] == 5 * ((1 << 60) + 1)
