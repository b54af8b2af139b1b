"""kzn/server/http/prices.py."""

import json
from ipaddress import ip_network

from kzn.client.prices import PriceTable
from kzn.pricing import aws
from kzn.pricing.book import PriceBook
from kzn.pricing.table import Place
from kzn.server.http.prices import answer, places_of
from kzn.topology.facts import Network, NodeFacts

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
    assert table.places == 3


def test_prices_that_are_off_are_not_zero() -> None:
    table = PriceTable.from_json(json.loads(answer(None, NODES, (), 1795698000.0)))
    assert (table.is_off, table.prices) == (True, ())
