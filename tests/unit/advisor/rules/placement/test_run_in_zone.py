"""What a workload saves in all by running in one zone."""

import pytest
from advice_world import GIB, party, talk, world

from kzn.advisor.facts import Workload
from kzn.advisor.rules.placement.run_in_zone import (
    draft_near,
    flows_between,
    net_moves,
    placed_flows,
)

WEB, CART, DB = party("shop/web"), party("shop/cart"), party("shop/db")
FLOWS = talk(WEB, CART, {("a", "b"): 4 * GIB}) + talk(DB, WEB, {("a", "a"): GIB, ("", "a"): GIB})


def test_what_newly_crosses_is_taken_off_what_stays() -> None:
    flows = placed_flows(world(FLOWS + talk(WEB, WEB, {("a", "b"): GIB})), WEB)
    assert sum(flow.bytes for flow in flows) == 5 * GIB  # not what has no zone, nor its own
    moves = net_moves(flows, WEB, "b")
    assert sum(move.bytes for move in moves) == pytest.approx(3 * GIB)
    assert {move.flow for move in moves} == {0, 1}


def test_a_zone_in_which_as_much_crosses_saves_nothing() -> None:
    flows = placed_flows(world(FLOWS), WEB)
    assert net_moves(flows, WEB, "a") == net_moves(flows, WEB, "c") == ()


def test_ports_of_a_pair_are_one() -> None:
    found = world(FLOWS + talk(WEB, CART, {("a", "b"): GIB}, 9090))
    sizes = {(one, other): len(flows) for one, other, flows in flows_between(found)}
    assert sizes == {(WEB, CART): 4, (DB, WEB): 4}


def test_who_is_there_or_has_to_be_elsewhere_does_not_move() -> None:
    flows = talk(WEB, CART, {("a", "b"): GIB})
    for facts, is_there in (
        ({"pods": {"a": 2}}, True),
        ({"pods": {"b": 2}}, False),  # it moved within the window
        ({"pods": {"a": 2}, "zones": ("a", "b")}, True),
        ({"pods": {"a": 2}, "zones": ("a",)}, False),
        ({"pods": {"a": 2}, "not_zones": ("b",)}, False),
        ({"pods": {"a": 2}, "is_pinned": True}, False),
        ({"pods": {"a": 2}, "spread": "DoNotSchedule"}, False),
    ):
        found = world(flows, [], [Workload(WEB, **facts)])
        assert (draft_near(found, WEB, CART, "b") is not None) == is_there
