"""A Job in the zone of what it works with."""

import pytest
from advice_world import GIB, of_rule, party, talk, world

JOB, DB, OTHER = party("shop/night", "CronJob"), party("shop/db"), party("shop/other")


def test_the_saving_is_what_crosses_now_less_what_crosses_then() -> None:
    # 600 with b, 300 with c; 700 cross. In b the 300 go on.
    flows = talk(JOB, DB, {("a", "b"): 400 * GIB, ("b", "b"): 200 * GIB})
    flows += talk(OTHER, JOB, {("c", "a"): 300 * GIB})
    (one,) = of_rule(world(flows), "batch")
    assert one.draft.title == "shop/night: run in b"
    assert one.crossing_bytes == 700 * GIB
    assert one.saved_bytes == pytest.approx(400 * GIB)
    assert 'values: ["b"]' in one.draft.change.yaml


def test_a_job_that_would_cross_as_much_elsewhere_is_left() -> None:
    flows = talk(JOB, DB, {("a", "a"): GIB, ("a", "b"): GIB})
    assert of_rule(world(flows), "batch") == []
    assert of_rule(world(talk(party("shop/web"), DB, {("a", "b"): GIB})), "batch") == []
