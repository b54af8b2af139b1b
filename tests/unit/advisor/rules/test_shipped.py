"""All rules of pyproject.toml together."""

from advice_world import GIB, ZONES, of_all, party, rules, service, talk, workload, world

WEB, CART = party("shop/web"), party("shop/cart")
EVEN = dict.fromkeys(ZONES, 2)


def test_there_are_rules_and_all_of_them_load() -> None:
    assert len(rules()) >= 14
    assert all(rule.signature for rule in rules())


def test_a_world_without_crossing_bytes_has_no_proposal() -> None:
    flows = talk(WEB, CART, {(zone, zone): GIB for zone in ZONES})
    found = of_all(world(flows, [service("shop/cart", CART, EVEN)], [workload(WEB, EVEN)]))
    assert (found.of, found.failed) == (0, {})


def test_an_empty_world_has_no_proposal() -> None:
    assert (of_all(world([])).of, of_all(world([])).failed) == (0, {})
