"""kzn/pricing/offers/azure.py, by pages that are made here after the format of retail prices."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from kzn.errors import UsageError
from kzn.pricing import azure
from kzn.pricing.book import PriceBook
from kzn.pricing.declaration import GIB
from kzn.pricing.file import parse_list
from kzn.pricing.offers.azure import import_azure
from kzn.pricing.text import yaml_of
from kzn.pricing.traffic import Quote, Traffic

READ = date(2026, 11, 26)


def item(meter: str, region: str, price: float, **changes: Any) -> dict[str, Any]:
    return {
        "currencyCode": "USD",
        "tierMinimumUnits": 0.0,
        "retailPrice": price,
        "unitPrice": price,
        "armRegionName": region,
        "location": region,
        "effectiveStartDate": "2026-02-01T00:00:00Z",
        "meterName": meter,
        "productName": "Bandwidth Inter-Region",
        "skuName": "Inter-Region",
        "serviceName": "Bandwidth",
        "serviceFamily": "Networking",
        "unitOfMeasure": "1 GB",
        "type": "Consumption",
    } | changes


OUT = "Standard Data Transfer Out"
ITEMS = [
    item("Intra Continent Data Transfer Out", "eastus", 0.02),
    item("Intra Continent Data Transfer Out", "westus2", 0.02),
    item("Intra Continent Data Transfer Out", "westeurope", 0.021),
    item("Inter Continent Data Transfer Out - NAM or EU To Any", "eastus", 0.05),
    item("Inter Continent Data Transfer Out - NAM or EU To Any", "westeurope", 0.051),
    item("Inter Continent Data Transfer Out - Asia To Any", "moonbase1", 0.9),
    item(OUT, "eastus", 0.0, productName="Rtn Preference: MGN"),
    item(OUT, "eastus", 0.087, productName="Rtn Preference: MGN", tierMinimumUnits=100.0),
    item(OUT, "eastus", 0.083, productName="Rtn Preference: MGN", tierMinimumUnits=10335.0),
    item(OUT, "eastus", 0.08, productName="Bandwidth - Routing Preference: Internet"),
    item("Standard Inter-Availability Zone Data Transfer Out", "eastus", 0.01),
    item(OUT, "eastus", 0.5, serviceName="Content Delivery Network"),
]


def pages(tmp_path: Path, *parts: list[dict[str, Any]]) -> list[Path]:
    paths = []
    for number, items in enumerate(parts):
        paths.append(tmp_path / f"{number}.json")
        page = {"BillingCurrency": "USD", "Items": items, "NextPageLink": None, "Count": 1}
        paths[-1].write_text(json.dumps(page))
    return paths


def test_meters_between_regions_and_to_the_internet_are_the_senders(tmp_path: Path) -> None:
    found = import_azure(pages(tmp_path, ITEMS[:5], ITEMS[5:]), READ)
    assert (found.used, found.ignored, found.extends) == (9, 3, "azure")
    text = yaml_of(found.prices, (), found.extends)
    book = PriceBook([parse_list("f", text, [azure.PRICES])])

    def ask(cls: str, src: str, dst: str) -> object:
        ends = ["" if region == "outside" else "azure" for region in (src, dst)]
        answer = book.quote(Traffic(cls, ends[0], src, ends[1], dst), READ)
        if not isinstance(answer, Quote):
            return answer.reason
        return round(answer.sender * GIB, 9), answer.receiver

    assert ask("cross_region", "eastus", "westus2") == (0.02, 0)
    assert ask("cross_region", "eastus", "westeurope") == (0.05, 0)
    assert ask("cross_region", "westeurope", "westus2") == (0.051, 0)
    assert ask("cross_region", "westus2", "westeurope") == "left_unpriced"
    assert ask("cross_region", "moonbase1", "eastus") == "left_unpriced"
    assert ask("external", "eastus", "outside") == (0.087, 0)
    assert ask("external", "westeurope", "outside") == "left_unpriced"
    assert ask("cross_zone", "eastus", "eastus") == (0, 0)
    assert found.prices.valid_from == date(2026, 2, 1)


def test_of_several_prices_of_a_tier_the_latest_in_force_counts(tmp_path: Path) -> None:
    rows = [
        item(OUT, "eastus", usd, effectiveStartDate=f"{day}T00:00:00Z")
        for day, usd in (("2025-07-01", 0.08), ("2024-01-01", 0.05), ("2026-12-01", 0.01))
    ]
    found = import_azure(pages(tmp_path, rows), READ)
    [sent] = [rule for rule in found.prices.rules if rule.src_regions == ("eastus",)]
    assert (sent.sender, found.prices.valid_from) == (0.08, date(2025, 7, 1))
    assert (found.used, found.ignored) == (2, 1)


@pytest.mark.parametrize("odd", [None, [], item(OUT, "eastus", 1) | {"armRegionName": None}])
def test_a_meter_of_another_shape_is_ignored_and_counted(tmp_path: Path, odd: Any) -> None:
    found = import_azure(pages(tmp_path, [*ITEMS, odd]), READ)
    plain = import_azure(pages(tmp_path, ITEMS), READ)
    assert found.prices == plain.prices
    assert (found.used, found.ignored) == (plain.used, plain.ignored + 1)


def test_another_currency_is_complete_by_itself(tmp_path: Path) -> None:
    euro = [one | {"currencyCode": "EUR"} for one in ITEMS]
    found = import_azure(pages(tmp_path, euro), READ)
    assert (found.extends, found.prices.currency) == ("", "EUR")
    zones = PriceBook([found.prices]).quote(Traffic("cross_zone", "azure", "r", "azure", "r"), READ)
    assert isinstance(zones, Quote)
    assert zones.is_free


@pytest.mark.parametrize("items", [[], ITEMS[-2:], [ITEMS[0], ITEMS[1] | {"currencyCode": "EUR"}]])
def test_pages_without_such_meters_or_of_two_currencies_are_refused(
    tmp_path: Path, items: list[dict[str, Any]]
) -> None:
    with pytest.raises(UsageError, match=r"Bandwidth|currencies"):
        import_azure(pages(tmp_path, items), READ)


def test_a_list_in_another_currency_leaves_amounts_of_the_shipped_one_unpriced(
    tmp_path: Path,
) -> None:
    euro = [one | {"currencyCode": "EUR"} for one in ITEMS]
    found = import_azure(pages(tmp_path, euro), READ)
    assert sorted(map(str, found.missing)) == ["cross_zone, peering", "same_zone, peering"]
    book = PriceBook([parse_list("f", yaml_of(found.prices, (), found.extends))])

    def ask(cls: str, price_class: str) -> object:
        traffic = Traffic(cls, "azure", "eastus", "", "eastus", dst_price_class=price_class)
        answer = book.quote(traffic, READ)
        return answer.both if isinstance(answer, Quote) else (answer.reason, answer.detail)

    assert ask("cross_zone", "public-address") == ask("same_zone", "public-address") == 0
    why = (
        "azure-retail: its price is known in USD alone: 0.01 a GB at the sender and 0.01 at the"
        " receiver"
    )
    assert ask("cross_zone", "peering") == ask("same_zone", "peering") == ("left_unpriced", why)


@pytest.mark.parametrize("currency", ["eur", "EUR\n", "EURO", "", "ÉUR"])
def test_a_currency_is_three_capital_letters(tmp_path: Path, currency: str) -> None:
    other = [one | {"currencyCode": currency} for one in ITEMS]
    with pytest.raises(UsageError, match="currency"):
        import_azure(pages(tmp_path, other), READ)


@pytest.mark.parametrize("price", [1e12, 1e300, 1e-13, -0.01])
def test_a_price_that_no_list_can_have_is_refused(tmp_path: Path, price: float) -> None:
    with pytest.raises(UsageError, match=r"Transfer Out of eastus: .* per GB"):
        import_azure(pages(tmp_path, [item(OUT, "eastus", price)]), READ)


def test_the_least_and_the_dearest_price_can_be_read_again(tmp_path: Path) -> None:
    items = [item(OUT, "eastus", 1.2345678901234567e-12), item(OUT, "null", 999999999999.9)]
    found = import_azure(pages(tmp_path, [*items, item(OUT, "a\x7fb", 0.1)]), READ)
    one = parse_list("f", yaml_of(found.prices, (), found.extends), [azure.PRICES])
    assert one.rules[: len(found.prices.rules)] == found.prices.rules
