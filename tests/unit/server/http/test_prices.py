"""kzn/server/http/prices.py."""

import json
from ipaddress import ip_network

from kzn.cli.prices import text_of
from kzn.client.prices import PriceTable
from kzn.pricing import aws
from kzn.pricing.book import PriceBook
from kzn.pricing.table import Place
from kzn.server.http.prices import answer
from kzn.server.prices import places_of
from kzn.topology.facts import Network, NodeFacts, PodFacts, PodWithPrice, Workload

NODES = [
    NodeFacts("1", "n1", "a", "us-east-1", provider="aws"),
    NodeFacts("2", "n2", "b", "us-east-1", provider="aws"),
    NodeFacts("3", "n3", "b", "us-east-1", provider="aws"),
    NodeFacts("4", "n4", "", "us-east-1", provider="aws"),
]
CIDR = (ip_network("10.9.0.0/24"),)
NETWORKS = [
    Network("orders", "Database", CIDR, "b", "us-east-1", price_class="managed-database"),
    Network("plain", "Subnet", CIDR, "b", "us-east-1"),
    Network("lost", "Subnet", CIDR, "", "", is_zone_unknown=True, price_class="free"),
]


def test_places_are_zones_of_nodes_and_entries_with_a_price_class() -> None:
    assert set(places_of(NODES, NETWORKS)) == {
        Place("aws", "us-east-1", "a"),
        Place("aws", "us-east-1", "b"),
        Place("", "us-east-1", "b", "managed-database", "orders"),
    }


def test_the_page_has_both_sides_of_each_pair() -> None:
    body = answer(PriceBook([aws.PRICES]), NODES, NETWORKS, 1795698000.0)
    table = PriceTable.from_json(json.loads(body))
    prices = {(p.src_zone, p.dst_zone, p.dst_name): p for p in table.prices}
    per_gib = 0.01 / (1 << 30)
    assert (prices["a", "b", ""].sender, prices["a", "b", ""].receiver) == (per_gib, per_gib)
    database = prices["a", "b", "orders"]
    assert (database.sender, database.receiver, database.class_) == (per_gib, 0, "cross_zone")
    assert table.time.startswith("2026-11-26T")
    assert table.places == 4


def test_prices_that_are_off_are_not_zero() -> None:
    table = PriceTable.from_json(json.loads(answer(None, NODES, (), 1795698000.0)))
    assert (table.is_off, table.prices) == (True, ())


def test_networks_without_a_class_and_priced_nodes_and_pods_are_shown() -> None:
    nodes = [*NODES, NodeFacts("5", "lb", "b", "us-east-1", provider="aws", price_class="peering")]
    free = PodWithPrice("p", "shop", "gw", node="n1", addresses=(), priced_as="public-address")
    plain = PodFacts("q", "shop", "web", node="n1", addresses=())
    pods = [(one, Workload("Pod", one.name)) for one in (free, plain)]
    body = answer(PriceBook([aws.PRICES]), nodes, NETWORKS, 1795698000.0, pods)
    table = PriceTable.from_json(json.loads(body))
    prices = {
        (p.src_name or p.src_zone, p.dst_name or p.dst_zone): (p.class_, p.sender, p.unpriced)
        for p in table.prices
    }
    per_gib = 0.01 / (1 << 30)
    assert prices["a", "plain"] == prices["a", "lb"] == ("cross_zone", per_gib, "")
    assert prices["b", "plain"] == prices["b", "lb"] == ("same_zone", 0, "")
    assert prices["a", "shop/gw"] == ("same_zone", per_gib, "")
    assert prices["lb", "plain"] == ("same_zone", 0, "")
    assert prices["shop/gw", "outside"] == ("external", None, "no_rule")
    assert ("plain", "orders") not in prices
    assert ("lb", "lb") not in prices
    assert not {"shop/web", "lost"} & {name for pair in prices for name in pair}
    text = "\n".join(text_of(table))
    assert "lb (peering)" in text
    assert "plain ()" not in text
    assert " plain " in text
