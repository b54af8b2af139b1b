"""Pods that use the address of a load balancer of their own cluster."""

from dataclasses import replace
from typing import Any

from advice_world import GIB, of_rule, party, service, talk, world

WEB, CART = party("shop/web"), party("shop/cart")
BALANCER = party("shop/cart", "Service")
FLOWS = [
    replace(flow, cls="unresolved", reason="service_address")
    for flow in talk(WEB, BALANCER, {("a", ""): (GIB, 3 * GIB)}, 443)
]


def test_the_bytes_are_those_to_and_from_the_address_and_have_no_price() -> None:
    cart = service("shop/cart", CART, {"a": 1}, outer_addresses=("192.0.2.7",))
    (one,) = of_rule(world(FLOWS, [cart]), "public-address")
    assert (one.saved_bytes, one.unpriced_saved_bytes, one.saving_per_month) == (
        4 * GIB,
        4 * GIB,
        {},
    )
    assert "cart.shop.svc" in one.draft.change.summary
    assert "192.0.2.7" in one.draft.change.summary


def test_what_would_cross_afterwards_is_not_saved() -> None:
    outer: dict[str, Any] = {"outer_addresses": ("192.0.2.7",)}
    cart = service("shop/cart", CART, {"a": 1, "b": 2, "c": 1}, **outer)
    (one,) = of_rule(world(FLOWS, [cart]), "public-address")
    assert one.saved_bytes == GIB
    near = service(
        "shop/cart", CART, {"a": 1, "b": 3}, hints=True, distribution="PreferClose", **outer
    )
    (one,) = of_rule(world(FLOWS, [near]), "public-address")
    assert one.saved_bytes == 4 * GIB
    far = service("shop/cart", CART, {"b": 1}, **outer)
    assert of_rule(world(FLOWS, [far]), "public-address") == []


def test_an_address_inside_and_an_unknown_service_are_silent() -> None:
    inside = service("shop/cart", CART, {"a": 1})
    other = service("shop/other", CART, {"a": 1}, outer_addresses=("192.0.2.7",))
    assert of_rule(world(FLOWS, [inside]), "public-address") == []
    assert of_rule(world(FLOWS, [other]), "public-address") == []
