"""Google Cloud's catalogue: pages of SKUs as JSON, of Compute Engine or Networking.

The SKU of traffic between zones is used. SKUs between regions name cities and continents in their
descriptions and not their regions, so they are ignored.
"""

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import msgspec

from kzn.errors import UsageError
from kzn.pricing import gcp
from kzn.pricing.declaration import PriceList, Rule
from kzn.pricing.offers.imported import (
    Imported,
    check_price,
    currency_of,
    day_of,
    extending,
    read_offer,
    rows_of,
)
from kzn.pricing.traffic import OUTSIDE

INTER_ZONE = "DE9E-AFBC-A15A"
DESCRIPTIONS = ("Network Inter Zone Data Transfer Out", "Network Inter Zone Egress")


class _Money(msgspec.Struct, rename="camel"):
    currency_code: str = "USD"
    units: str | int = 0
    nanos: int = 0


class _Tier(msgspec.Struct, rename="camel"):
    unit_price: _Money
    start_usage_amount: float = 0.0


class _Expression(msgspec.Struct, rename="camel"):
    usage_unit: str = ""
    tiered_rates: list[_Tier] = msgspec.field(default_factory=list)


class _Pricing(msgspec.Struct, rename="camel"):
    pricing_expression: _Expression = msgspec.field(default_factory=_Expression)
    effective_time: str = ""


class _Sku(msgspec.Struct, rename="camel"):
    sku_id: str = ""
    description: str = ""
    pricing_info: list[_Pricing] = msgspec.field(default_factory=list)


class _Page(msgspec.Struct):
    skus: list[msgspec.Raw]


def import_gcp(files: Sequence[Path], read: date) -> Imported:
    """The list of pages that were read on the day ``read``; UsageError."""
    skus = [sku for path in files for sku in read_offer(path, _Page, "a page of SKUs").skus]
    found = [sku for sku in rows_of(skus, _Sku) if _is_inter_zone(sku) and sku.pricing_info]
    if not found:
        names = ", ".join(map(str, files))
        hint = "take the SKUs of Compute Engine (services/6F81-5844-456A)"
        raise UsageError(f"{names}: no SKU of traffic between zones ({INTER_ZONE})", hint=hint)
    sku = max(found, key=lambda one: (one.sku_id == INTER_ZONE, one.sku_id))
    pricing = max(sku.pricing_info, key=lambda one: one.effective_time)
    price, currencies = _price(sku, pricing.pricing_expression)
    starts = day_of(pricing.effective_time, "effectiveTime") if pricing.effective_time else read
    return extending(
        gcp.PRICES,
        PriceList(
            name="gcp-catalogue",
            provider="gcp",
            currency=currency_of(currencies, files),
            valid_from=starts,
            source=f"Google Cloud catalogue, SKU {sku.sku_id}",
            date=read,
            rules=(
                Rule("same_zone"),
                Rule("cross_zone", price, 0),
                Rule("external", src_regions=(OUTSIDE,)),
                Rule("cross_zone", price, 0, price_class="public-address"),
                Rule("same_zone", price, 0, price_class="public-address"),
                Rule("cross_zone", price, 0, price_class="peering"),
            ),
        ),
        used=1,
        ignored=len(skus) - 1,
    )


def _is_inter_zone(sku: _Sku) -> bool:
    return sku.sku_id == INTER_ZONE or sku.description.startswith(DESCRIPTIONS)


def _price(sku: _Sku, expression: _Expression) -> tuple[float, set[str]]:
    if expression.usage_unit != "GiBy" or not expression.tiered_rates:
        raise UsageError(f"SKU {sku.sku_id} is per {expression.usage_unit!r}, expected GiBy")
    tiers = sorted(expression.tiered_rates, key=lambda tier: tier.start_usage_amount)
    try:
        prices = [int(tier.unit_price.units) + tier.unit_price.nanos / 1e9 for tier in tiers]
    except (ValueError, OverflowError) as error:
        raise UsageError(f"SKU {sku.sku_id}: a price is not a number: {error}") from error
    paid = check_price(next((price for price in prices if price), 0.0), f"SKU {sku.sku_id}")
    return paid, {tier.unit_price.currency_code for tier in tiers}
