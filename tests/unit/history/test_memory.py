"""Answers from memory are those of plain dictionaries, and rows + other = total."""

from hypothesis import given, settings
from questions import CLUSTER, ENDS, FLOWS, PROVIDER_IDS, QUERIES, T0, VERDICTS, check, settled

from kzn.history.memory import answer
from kzn.history.query import TrafficQuery


@settings(max_examples=300)
@given(FLOWS, QUERIES)
def test_an_answer_is_that_of_dictionaries(
    flows: list[tuple[int, ...]], query: TrafficQuery
) -> None:
    rows = settled(flows)
    found = answer(query, rows, ENDS, VERDICTS, T0, cluster=CLUSTER, provider_ids=PROVIDER_IDS)
    check(found, flows, query)


def test_without_traffic_there_are_sums_of_zero() -> None:
    query = TrafficQuery(T0, T0 + 120, ("src_workload",), points=2, compare=True)
    found = answer(query, settled([]), ENDS, VERDICTS, None).to_json()
    zero = {"bytes": 0, "packets": 0, "before": 0, "series": [0, 0]}
    assert found == {
        "from": T0,
        "to": T0 + 120,
        "step": 60,
        "by": ["src_workload"],
        "rows": [],
        "other": zero,
        "total": zero,
        "of": 0,
        "complete_from": None,
        "complete_to": None,
        "gaps": [],
        "source": "memory",
    }
