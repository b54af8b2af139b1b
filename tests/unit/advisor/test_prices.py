"""Prices of proposals: those of zones, and of what a static entry is billed as."""

from datetime import date

import pytest
from advice_world import GIB, of_all, party, talk, world

from kzn.advisor.prices import At, zone_prices
from kzn.pricing.aws import PRICES
from kzn.pricing.book import PriceBook
from kzn.pricing.table import Place
from kzn.pricing.traffic import Quote

WEB, DB = party("shop/web"), party("orders-db", "Static")
READS = talk(WEB, DB, {("a", "b"): (10 * GIB, 500 * GIB)}, port=5432)


@pytest.mark.parametrize(
    ("price_class", "saving", "cost"),
    [("", 7300.0, 10.2), ("managed-database", 3650.0, 5.1), ("free", 0.0, 0.0)],
)
def test_what_goes_to_a_static_entry_costs_what_its_class_says(
    price_class: str, saving: float, cost: float
) -> None:
    entry = Place("", "us-east-1", "b", price_class, "orders-db")
    found = world(READS, entries=[entry] if price_class else [])
    (one,) = of_all(found).proposals
    assert one.rule == "database-reads"
    assert one.saving_per_month == {"USD": pytest.approx(saving)}
    assert one.cost == {"USD": pytest.approx(cost)}


def test_a_pod_of_an_entrys_name_has_the_price_of_its_zone() -> None:
    zones = [Place("aws", "us-east-1", zone) for zone in "ab"]
    entry = Place("", "us-east-1", "b", "managed-database", "db")
    price_of = zone_prices(PriceBook([PRICES]), [*zones, entry], date(2026, 11, 1))
    found = price_of("cross_zone", At("a", "Pod", "web"), At("b", "Pod", "db"))
    assert isinstance(found, Quote)
    assert found.both * GIB == pytest.approx(0.02)
