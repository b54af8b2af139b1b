"""An answer is the same on both sides of a pipe, however many rows it has."""

import pytest

from kzn.history.processes import answers
from kzn.history.processes.answers import ROWS_A_LINE
from kzn.history.query import Answer, Measure, MissingSpan, Row, TrafficQuery

QUERY = TrafficQuery(
    0, 600, ("src_pod", "port"), (("zone", ("a", "b\n")),), 10_000, 3, compare=True
)


@pytest.mark.parametrize("count", [0, 1, ROWS_A_LINE, ROWS_A_LINE + 1])
def test_an_answer_is_the_same_on_both_sides(count: int) -> None:
    rows = tuple(
        Row((f"web-\n{n}é", n), Measure(n, 1, None if n % 2 else 7, (n, 0, (1 << 63) - 1)))
        for n in range(count)
    )
    total = Measure((1 << 63) - 1, count, 0)
    gap = MissingSpan(60, 120, "restart")
    answer = Answer(QUERY, 200, rows, total, count, "minutes", None, 540, (gap,))
    assert answers.decode(answers.encode(answer)) == answer
