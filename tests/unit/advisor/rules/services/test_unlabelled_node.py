"""One endpoint on a node without a zone label switches zones off for the whole Service."""

from dataclasses import replace
from typing import Any

from advice_world import GIB, ZONES, of_rule, party, service, talk, world

from kzn.advisor.facts import Endpoint, Service

WEB, CART = party("shop/web"), party("shop/cart")
EVEN = {(client, server): GIB for client in ZONES for server in ZONES}
TWO = dict.fromkeys(ZONES, 2)


def cart(node_has_label: bool = False, **routing: Any) -> Service:
    given: dict[str, Any] = {"distribution": "PreferClose"} | routing
    found = service("shop/cart", CART, TWO, hints=True, **given)
    # By --default-zone kzn has a zone for the node; the EndpointSlice has none.
    bad = Endpoint(CART, "n x", "c", False, node_has_label)
    return replace(found, endpoints=(*found.endpoints, bad))


def test_the_node_is_named_and_all_that_crosses_would_stay() -> None:
    (one,) = of_rule(world(talk(WEB, CART, EVEN), [cart()]), "unlabelled-node")
    assert one.saved_bytes == 6 * GIB
    assert one.draft.change.commands == (
        "kubectl label node 'n x' topology.kubernetes.io/zone=ZONE",
    )
    assert "1 of 7 endpoints" in one.draft.title
    assert of_rule(world(talk(WEB, CART, EVEN), [cart()]), "no-effect") == []


def test_it_is_silent_if_the_label_is_there_or_nothing_prefers_zones() -> None:
    for one in (cart(node_has_label=True), cart(distribution=""), cart(topology_mode="Auto")):
        assert of_rule(world(talk(WEB, CART, EVEN), [one]), "unlabelled-node") == []
