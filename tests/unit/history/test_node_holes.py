"""kzn/history/node_holes.py: of which spans the rollups of nodes are missing."""

import pytest

from kzn.history.node_holes import node_holes
from kzn.history.query import Source, TrafficQuery
from kzn.history.segments import DAY, HOUR, Segment, arranged


def holes(
    files: list[tuple[str, int]], source: Source = "hours", hours: tuple[int, int] = (0, 72)
) -> list[tuple[int, int]]:
    found = arranged({Segment(hour * HOUR, "0a0b0c0d", 1, kind): 1 for kind, hour in files})
    query = TrafficQuery(hours[0] * HOUR, hours[1] * HOUR)
    return [(begin // HOUR, end // HOUR) for begin, end in node_holes(found, query, source)]


PAIRS = [("r", hour) for hour in range(4)]


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ([("nr", hour) for hour in range(4)], []),
        ([], [(0, 4)]),
        ([("nr", 1)], [(0, 1), (2, 4)]),
        ([("nr", 1), ("h", 2)], [(0, 1), (3, 4)]),  # minutes have the node
        ([("nd", 0)], [(0, 4)]),  # days do not answer for hours
    ],
)
def test_hours_without_a_rollup_of_nodes_or_minutes(
    others: list[tuple[str, int]], expected: list[tuple[int, int]]
) -> None:
    assert holes(PAIRS + others) == expected


def test_days_are_judged_by_their_hours_while_there_are_any() -> None:
    assert holes([*PAIRS, ("nd", 0)], "days") == []
    assert holes([*PAIRS, ("nr", 1), ("d", 0)], "days") == [(0, 1), (2, 4)]
    assert holes([("d", 0), ("d", 24), ("nd", 24), ("d", 48)], "days") == [(0, 24), (48, 72)]


def test_only_the_span_that_is_asked_for_counts() -> None:
    assert holes(PAIRS, hours=(1, 2)) == [(1, 2)]
    assert holes([("d", 0)], "days", hours=(DAY // HOUR, 72)) == []
