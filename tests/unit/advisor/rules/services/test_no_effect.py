"""A preference of zones that changes nothing, and the evidence why."""

from dataclasses import replace
from typing import Any

import pytest
from advice_world import CLUSTER, GIB, HOUR, ZONES, of_rule, party, service, talk, world

from kzn.advisor.facts import Cluster, Flow, Service, Window

WEB, CART = party("shop/web"), party("shop/cart")
EVEN = {(client, server): GIB for client in ZONES for server in ZONES}
TWO = dict.fromkeys(ZONES, 2)


def cart(**routing: Any) -> Service:
    return service("shop/cart", CART, TWO, hints=True, distribution="PreferClose", **routing)


@pytest.mark.parametrize(
    ("cluster", "routing", "confidence", "words"),
    [
        (CLUSTER, {"is_headless": True}, "high", "headless"),
        (replace(CLUSTER, proxy="cilium", cilium={}), {}, "high", "serviceTopology is off"),
        (replace(CLUSTER, proxy="ovn-kubernetes"), {}, "high", "OVN"),
        (replace(CLUSTER, kubelet=(1, 29)), {}, "medium", "older than 1.31"),
        (replace(CLUSTER, meshes=("Istio",)), {}, "low", "Istio"),
        (CLUSTER, {}, "low", "older than the field"),
    ],
)
def test_the_reason_is_named_with_how_sure_it_is(
    cluster: Cluster, routing: dict[str, bool], confidence: str, words: str
) -> None:
    found = world(talk(WEB, CART, EVEN), [cart(**routing)], cluster=cluster)
    (one,) = of_rule(found, "no-effect")
    assert one.saved_bytes == 6 * GIB
    assert one.draft.confidence == confidence
    assert words in "\n".join(one.draft.why)
    assert len(one.draft.change.commands) == (2 if cluster.proxy == "cilium" else 0)


def test_a_tenth_that_leaves_is_no_sign() -> None:
    sizes = {("a", "a"): 9 * GIB, ("a", "b"): GIB, ("c", "a"): 0}
    assert of_rule(world(talk(WEB, CART, sizes), [cart()]), "no-effect") == []
    sizes[("a", "b")] += 1 << 20
    assert len(of_rule(world(talk(WEB, CART, sizes), [cart()]), "no-effect")) == 1


def by_hour(client: str, server: str, *sizes: int) -> list[Flow]:
    return [
        replace(flow, series=tuple(size // 2 for size in sizes))
        for flow in talk(WEB, CART, {(client, server): sum(sizes)})
    ]


WEEK = Window(1_700_000_000, 1_700_000_000 + 7 * 86_400, 7 * 86_400, 3600)


@pytest.mark.parametrize(
    ("since", "idle", "fires"), [(24, 0, False), (4, 0, False), (0, 0, True), (24, 20, False)]
)
def test_a_field_that_works_since_it_was_set_has_an_effect(
    since: int, idle: int, fires: bool
) -> None:
    before = 168 - since - idle
    kept = by_hour("a", "a", *[GIB] * before, *[3 * GIB] * since, *[0] * idle)
    crossing = by_hour("a", "b", *[2 * GIB] * before, *[0] * (since + idle))
    found = of_rule(world(kept + crossing, [cart()], window=WEEK), "no-effect")
    assert bool(found) == fires


def test_what_is_saved_is_what_leaves_of_late() -> None:
    # Two thirds left for six days, and a third does since then, at night with less traffic.
    kept = by_hour("a", "a", *[GIB] * 144, *[2 << 20] * 24)
    crossing = by_hour("a", "b", *[2 * GIB] * 144, *[1 << 20] * 24)
    (one,) = of_rule(world(kept + crossing, [cart()], window=WEEK), "no-effect")
    assert one.saved_bytes == pytest.approx(one.crossing_bytes / 2, rel=0.01)


def test_an_hour_is_judged_by_its_last_quarter() -> None:
    hour = replace(HOUR, step=60)
    kept = by_hour("a", "a", *[GIB] * 30, *[3 * GIB] * 30)
    crossing = by_hour("a", "b", *[2 * GIB] * 30, *[0] * 30)
    assert of_rule(world(kept + crossing, [cart()], window=hour), "no-effect") == []


def test_a_missing_hint_and_an_annotation_are_other_rules() -> None:
    without = service("shop/cart", CART, TWO, distribution="PreferClose")
    annotated = service(
        "shop/cart", CART, TWO, hints=True, distribution="PreferClose", topology_mode="Disabled"
    )
    for one in (without, annotated, service("shop/cart", CART, TWO)):
        assert of_rule(world(talk(WEB, CART, EVEN), [one]), "no-effect") == []
