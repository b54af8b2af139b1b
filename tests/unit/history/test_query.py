"""Queries: what cannot be asked is named with what there is."""

from typing import Any

import pytest

from kzn.errors import UsageError
from kzn.history.query import DIMENSIONS, TrafficQuery
from kzn.history.sql import names_of


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"end": 0}, "span is empty"),
        ({"end": 10**9}, "span is too long"),
        ({"by": ("source",)}, "'source' is not a dimension"),
        ({"by": ("workload",)}, "'workload' is not a dimension"),
        ({"by": ("port", "port")}, "each once"),
        ({"by": DIMENSIONS[:21]}, "at most 8"),
        ({"limit": 10_000, "points": 101}, "too much"),
        ({"where": (("colour", ("x",)),)}, "'colour' is not a filter"),
        ({"where": (("port", ("1",) * 101),)}, "too many values"),
        ({"limit": 10_001}, "limit 10001"),
        ({"points": 1_001}, "points 1001"),
    ],
)
def test_what_cannot_be_asked_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        TrafficQuery(**{"begin": 0, "end": 60, **options})


def test_spans_and_steps_are_whole_units() -> None:
    query = TrafficQuery(59, 3601, points=7).aligned(60)
    assert (query.begin, query.end, query.step(60)) == (0, 3660, 540)
    assert query.aligned(3600).end == 7200
    assert query.step(3600) == 3600
    assert TrafficQuery(0, 3600).step(60) == 3600


@pytest.mark.parametrize("name", ["src_pod", "cause_node", "dst_address", "pod"])
def test_pods_nodes_and_addresses_need_minutes(name: str) -> None:
    assert TrafficQuery(0, 1, where=((name, ("x",)),)).needs_detail
    assert not TrafficQuery(0, 1, by=("src_workload", "port")).needs_detail


def test_values_with_a_namespace_mean_the_names_after_it() -> None:
    assert names_of(("web", "db")) == []
    assert names_of(("web", "shop/db")) == ["db", "shop/db", "web"]
    assert names_of(("a/b/c", "/x")) == ["/x", "a/b/c", "b/c", "c"]
