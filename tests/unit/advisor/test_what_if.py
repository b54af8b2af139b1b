"""Bytes and loads after a change, against numbers worked out by hand."""

import pytest

from kzn.advisor.what_if import (
    at_random,
    completed,
    crossing,
    distance,
    judge,
    kept_in_zone,
    loads,
    zone_loads,
)
from kzn.advisor.world import Matrix

EVEN = {("a", "a"): 100, ("a", "b"): 100, ("b", "a"): 50, ("b", "b"): 50}


def test_random_choice_goes_by_the_number_of_endpoints() -> None:
    found = at_random({("a", "a"): 300}, {"a": 1, "b": 2, "c": 0})
    assert found == {("a", "a"): 100, ("a", "b"): 200}


def test_a_zone_with_endpoints_keeps_all_and_one_without_goes_on() -> None:
    found = kept_in_zone({**EVEN, ("c", "a"): 7, ("c", "b"): 8}, {"a": 1, "b": 1})
    assert found == {("a", "a"): 200, ("b", "b"): 100, ("c", "a"): 7, ("c", "b"): 8}
    assert (crossing(found), crossing(found, "c"), crossing(found, "a")) == (15, 15, 0)


def test_what_stays_on_nodes_is_reckoned_from_what_crosses() -> None:
    # a has 1 of 3 endpoints, so half of what crosses; b has 2 of 3, so twice that.
    found = completed(
        {("a", "b"): 10, ("b", "a"): 10, ("b", "b"): 3, ("c", "a"): 5}, {"a": 1, "b": 2}
    )
    assert found == {("a", "b"): 10, ("a", "a"): 5, ("b", "a"): 10, ("b", "b"): 20, ("c", "a"): 5}
    more = {("a", "a"): 9, ("a", "b"): 10}
    assert completed(more, {"a": 1, "b": 2}) == more
    assert completed({("a", "a"): 9}, {"a": 1}) == {("a", "a"): 9}


def test_the_load_of_an_endpoint_is_its_share_times_all_over_those_of_its_zone() -> None:
    # c = 2/3 of the bytes at 1 of 4 endpoints: 2/3 * 4/1; the rest: 1/3 * 4/3.
    found = loads({("a", "a"): 200, ("b", "b"): 100}, {"a": 1, "b": 3})
    assert found == {"a": pytest.approx(8 / 3), "b": pytest.approx(4 / 9)}


def zones_of(matrix: Matrix, endpoints: dict[str, int]) -> tuple[str, str]:
    after = kept_in_zone(matrix, endpoints)
    verdict, risks = judge(zone_loads(matrix, after, (matrix, after), (endpoints, endpoints)))
    return verdict, "\n".join(risks)


def test_two_endpoints_in_each_zone_and_an_even_load_are_safe() -> None:
    assert zones_of(EVEN, {"a": 4, "b": 2}) == ("proposed", "")


def test_a_load_above_the_limit_is_a_warning_at_and_below_it_none() -> None:
    # Clients of a have c of the bytes, and 2 of 4 endpoints: the factor is 2 c.
    assert zones_of({("a", "b"): 65, ("b", "a"): 35}, {"a": 2, "b": 2})[0] == "proposed"
    verdict, risks = zones_of({("a", "b"): 66, ("b", "a"): 34}, {"a": 2, "b": 2})
    assert verdict == "warning"
    assert "1.32 times" in risks


def test_a_zone_with_one_endpoint_is_a_warning() -> None:
    verdict, risks = zones_of({("a", "b"): 50, ("b", "a"): 50}, {"a": 1, "b": 1})
    assert (verdict, risks.count("has 1 endpoint")) == ("warning", 2)


def test_most_bytes_from_zones_without_an_endpoint_are_a_refusal() -> None:
    half = {("a", "b"): 50, ("b", "b"): 50}
    assert zones_of(half, {"b": 2})[0] == "warning"
    verdict, risks = zones_of({("a", "b"): 51, ("b", "b"): 49}, {"b": 2})
    assert verdict == "refused"
    assert "spread the endpoints first" in risks


def test_the_distance_of_random_choice_is_nothing_and_of_sticky_clients_is_much() -> None:
    endpoints = {"a": 1, "b": 1}
    assert distance(EVEN, endpoints) == 0
    assert distance({("a", "b"): 10, ("b", "a"): 10}, endpoints) == 0  # the rest is on nodes
    assert distance({("a", "a"): 10, ("b", "b"): 10}, endpoints) == 0.5
    assert distance({}, endpoints) == 1
