"""The annotation that takes precedence over trafficDistribution."""

from advice_world import GIB, ZONES, of_rule, party, service, talk, world

WEB, CART = party("shop/web"), party("shop/cart")
EVEN = {(client, server): GIB for client in ZONES for server in ZONES}
TWO = dict.fromkeys(ZONES, 2)


def test_the_annotation_goes_and_the_field_comes_unless_it_is_there() -> None:
    cart = service("shop/cart", CART, TWO, topology_mode="Auto")
    (one,) = of_rule(world(talk(WEB, CART, EVEN), [cart]), "hints-annotation")
    assert one.saved_bytes == 6 * GIB
    remove, patch = one.draft.change.commands
    assert remove == (
        "kubectl -n shop annotate service cart service.kubernetes.io/topology-mode-"
        " service.kubernetes.io/topology-aware-hints-"
    )
    assert "PreferSameZone" in patch
    assert "0 of 6 endpoints have hints" in one.draft.why
    both = service("shop/cart", CART, TWO, topology_mode="x", distribution="PreferSameZone")
    (one,) = of_rule(world(talk(WEB, CART, EVEN), [both]), "hints-annotation")
    assert one.draft.change.commands == (remove,)


def test_without_the_annotation_and_without_crossing_it_is_silent() -> None:
    kept = {(zone, zone): GIB for zone in ZONES}
    cart = service("shop/cart", CART, TWO, topology_mode="Auto")
    assert of_rule(world(talk(WEB, CART, kept), [cart]), "hints-annotation") == []
    plain = service("shop/cart", CART, TWO)
    assert of_rule(world(talk(WEB, CART, EVEN), [plain]), "hints-annotation") == []
