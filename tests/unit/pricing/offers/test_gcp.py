"""kzn/pricing/offers/gcp.py, by pages that are made here after the catalogue's format."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from kzn.errors import UsageError
from kzn.pricing import gcp
from kzn.pricing.file import parse_list
from kzn.pricing.offers.gcp import INTER_ZONE, import_gcp
from kzn.pricing.rule_index import RuleIndex
from kzn.pricing.text import yaml_of

READ = date(2026, 11, 26)


def sku(number: str, description: str, *nanos: int, **changes: Any) -> dict[str, Any]:
    rates = [
        {
            "startUsageAmount": start,
            "unitPrice": {"currencyCode": "USD", "units": "0", "nanos": price},
        }
        for start, price in enumerate(nanos)
    ]
    expression = {"usageUnit": "GiBy", "baseUnit": "By", "tieredRates": rates} | changes
    return {
        "name": f"services/6F81-5844-456A/skus/{number}",
        "skuId": number,
        "description": description,
        "category": {"serviceDisplayName": "Compute Engine", "resourceFamily": "Network"},
        "serviceRegions": ["us-central1"],
        "geoTaxonomy": {"type": "GLOBAL", "regions": []},
        "pricingInfo": [
            {"pricingExpression": expression, "effectiveTime": "2026-10-05T22:30:00.500-07:00"}
        ],
    }


def page(tmp_path: Path, *skus: dict[str, Any]) -> Path:
    path = tmp_path / f"{len(list(tmp_path.iterdir()))}.json"
    path.write_text(json.dumps({"skus": skus, "nextPageToken": ""}))
    return path


def test_the_sku_of_traffic_between_zones_is_the_senders_price(tmp_path: Path) -> None:
    found = import_gcp(
        [
            page(tmp_path, sku("AAAA-0000-0000", "Network Internet Data Transfer Out", 120000000)),
            page(
                tmp_path,
                sku("ZZZZ-0000-ZZZZ", "Network Inter Zone Data Transfer Out from Here", 990000000),
                sku(INTER_ZONE, "Network Inter Zone Data Transfer Out", 0, 11000000, 9000000),
            ),
        ],
        READ,
    )
    assert (found.used, found.ignored, found.extends) == (1, 2, "gcp")
    one = parse_list("f", yaml_of(found.prices, (), found.extends), [gcp.PRICES])
    assert (one.valid_from, one.currency, one.date) == (date(2026, 10, 6), "USD", READ)
    rule = RuleIndex(one.rules).first("cross_zone", "r", "r", "")
    assert rule is not None
    assert (rule.sender, rule.receiver) == (0.011, 0)
    rule = RuleIndex(one.rules).first("same_zone", "r", "r", "")
    assert rule is not None
    assert not rule.sender


@pytest.mark.parametrize("odd", [None, {"skuId": 1}, {"description": None}])
def test_a_sku_of_another_shape_is_ignored_and_counted(tmp_path: Path, odd: Any) -> None:
    one = sku(INTER_ZONE, "Network Inter Zone Data Transfer Out", 11000000)
    found = import_gcp([page(tmp_path, one, odd)], READ)
    assert (found.used, found.ignored) == (1, 1)


def test_an_older_name_of_the_sku_is_known(tmp_path: Path) -> None:
    found = import_gcp([page(tmp_path, sku("X", "Network Inter Zone Egress", 10000000))], READ)
    assert found.prices.rules[1].sender == 0.01


@pytest.mark.parametrize(
    "skus",
    [
        [],
        [sku("X", "Network Inter Zone Ingress", 1)],
        [sku(INTER_ZONE, "by the hour", 1, usageUnit="h")],
        [sku(INTER_ZONE, "without tiers")],
        [sku(INTER_ZONE, "x", tieredRates=[{"unitPrice": {"units": "many"}}])],
    ],
)
def test_a_page_without_that_price_is_refused(tmp_path: Path, skus: list[dict[str, Any]]) -> None:
    with pytest.raises(UsageError):
        import_gcp([page(tmp_path, *skus)], READ)


def in_currency(currency: str) -> dict[str, Any]:
    rates = [{"unitPrice": {"currencyCode": currency, "units": "0", "nanos": 9000000}}]
    return sku(INTER_ZONE, "Network Inter Zone Data Transfer Out", tieredRates=rates)


def test_a_list_in_another_currency_leaves_amounts_of_the_shipped_one_unpriced(
    tmp_path: Path,
) -> None:
    found = import_gcp([page(tmp_path, in_currency("EUR"))], READ)
    assert (found.extends, found.prices.currency) == ("", "EUR")
    assert [one.cls for one in found.missing] == ["cross_region"] * 4
    one = parse_list("f", yaml_of(found.prices, (), found.extends))
    index = RuleIndex(one.rules)
    rule = index.first("cross_region", "us-east1", "europe-west1", "")
    assert rule is not None
    assert "known in USD alone: 0.05 a GB" in rule.unpriced
    for shipped in gcp.PRICES.rules:
        ends = [glob.replace("*", "x") for glob in (shipped.src_regions[0], shipped.dst_regions[0])]
        of_price = index.first(shipped.cls, ends[0], ends[1], shipped.price_class)
        assert of_price is not None
        assert of_price.unpriced or of_price.sender in (0, 0.009)
    peered = index.first("same_zone", "r", "r", "peering")
    assert peered is not None
    assert not peered.sender
    assert not peered.unpriced


def test_a_page_that_is_too_deep_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "skus.json"
    path.write_text('{"skus": [{"x": ' + "[" * 20_000 + "]" * 20_000 + "}]}")
    with pytest.raises(UsageError, match="not "):
        import_gcp([path], READ)


@pytest.mark.parametrize("currency", ["eur\n", "eur", "EURO", ""])
def test_a_currency_is_three_capital_letters(tmp_path: Path, currency: str) -> None:
    with pytest.raises(UsageError, match="currency"):
        import_gcp([page(tmp_path, in_currency(currency))], READ)


def test_tiers_in_two_currencies_are_refused(tmp_path: Path) -> None:
    rates = [{"unitPrice": {"currencyCode": one, "nanos": 1000}} for one in ("EUR", "USD")]
    with pytest.raises(UsageError, match="currencies"):
        import_gcp([page(tmp_path, sku(INTER_ZONE, "x", tieredRates=rates))], READ)


@pytest.mark.parametrize("units", [10**12, "9" * 400, -1])
def test_a_price_that_no_list_can_have_is_refused(tmp_path: Path, units: int | str) -> None:
    rates = [{"unitPrice": {"units": units, "nanos": 1}}]
    with pytest.raises(UsageError, match=INTER_ZONE):
        import_gcp([page(tmp_path, sku(INTER_ZONE, "x", tieredRates=rates))], READ)
