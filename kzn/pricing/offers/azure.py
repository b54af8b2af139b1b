"""Azure's retail prices: pages of Items as JSON, of the service Bandwidth.

    Standard Data Transfer Out                  to the internet, by region of the sender
    Intra Continent Data Transfer Out           to another region of the same continent
    Inter Continent Data Transfer Out - ...     to a region of another continent

Meters of traffic between zones are listed and not billed (docs/money.md), so they are ignored. Of
several tiers the first that costs something counts, of several prices of a tier the latest that is
in force.
"""

from collections.abc import Iterable, Sequence
from datetime import date
from fnmatch import fnmatchcase
from pathlib import Path

import msgspec

from kzn.errors import UsageError
from kzn.pricing import azure
from kzn.pricing.declaration import PriceList, Rule
from kzn.pricing.offers.imported import (
    Imported,
    Pair,
    check_price,
    currency_of,
    day_of,
    extending,
    read_offer,
    rows_of,
    rules_by_regions,
)
from kzn.pricing.traffic import OUTSIDE

CONTINENTS = {
    "north-america": ("*us", "*us2", "*us3", "canada*"),
    "europe": (
        "*europe",
        "uk*",
        "france*",
        "germany*",
        "switzerland*",
        "norway*",
        "sweden*",
        "poland*",
        "italy*",
        "spain*",
        "austria*",
        "belgium*",
        "denmark*",
    ),
    "asia": ("*asia", "japan*", "korea*", "*india", "malaysia*", "indonesia*", "taiwan*"),
    "oceania": ("australia*", "newzealand*"),
    "south-america": ("brazil*", "chile*"),
    "africa": ("southafrica*",),
    "middle-east": ("uae*", "qatar*", "israel*"),
}
"""Regions by name. A region of none has no price to other regions."""

_INTERNET = "Standard Data Transfer Out"
_WITHIN, _BETWEEN = "Intra Continent Data Transfer Out", "Inter Continent Data Transfer Out"
_USED = (_INTERNET, _WITHIN, _BETWEEN)


class _Item(msgspec.Struct, rename="camel"):
    currency_code: str = "USD"
    retail_price: float = 0.0
    arm_region_name: str = ""
    effective_start_date: str = ""
    meter_name: str = ""
    product_name: str = ""
    service_name: str = ""
    unit_of_measure: str = ""
    tier_minimum_units: float = 0.0
    type: str = "Consumption"


class _Page(msgspec.Struct, rename="pascal"):
    items: list[msgspec.Raw]


def import_azure(files: Sequence[Path], read: date) -> Imported:
    """The list of pages that were read on the day ``read``; UsageError."""
    items = [item for path in files for item in read_offer(path, _Page, "a page of Items").items]
    found = [item for item in rows_of(items, _Item) if _is_used(item)]
    if not found:
        hint = "filter by serviceName eq 'Bandwidth'"
        raise UsageError(f"{', '.join(map(str, files))}: no meters of Bandwidth", hint=hint)
    today = read.isoformat()
    found = [item for item in found if item.effective_start_date[:10] <= today] or found
    starts = [item.effective_start_date for item in found if item.effective_start_date]
    return extending(
        azure.PRICES,
        PriceList(
            name="azure-retail",
            provider="azure",
            currency=currency_of({item.currency_code for item in found}, files),
            valid_from=day_of(max(starts), "effectiveStartDate") if starts else read,
            source="Azure retail prices, service Bandwidth",
            date=read,
            rules=tuple(_rules(found)),
        ),
        used=len(found),
        ignored=len(items) - len(found),
    )


def _is_used(item: _Item) -> bool:
    is_gb = item.unit_of_measure in ("1 GB", "GB") and item.service_name == "Bandwidth"
    is_plain = "Routing Preference" not in item.product_name and item.type == "Consumption"
    return is_gb and is_plain and bool(item.arm_region_name) and item.meter_name.startswith(_USED)


def _rules(items: Sequence[_Item]) -> Iterable[Rule]:
    yield from (Rule("same_zone"), Rule("cross_zone"), Rule("external", src_regions=(OUTSIDE,)))
    internet, within, between = (_by_region(items, name) for name in _USED)
    regions = sorted({*within, *between})
    pairs: dict[Pair, tuple[float, float]] = {}
    for src in regions:
        for dst in regions:
            ends = _continent(src), _continent(dst)
            prices = within if ends[0] == ends[1] else between
            if src != dst and all(ends) and src in prices:
                pairs[src, dst] = prices[src], 0.0
    yield from rules_by_regions("cross_region", pairs)
    sent = {(region, OUTSIDE): (price, 0.0) for region, price in internet.items()}
    yield from rules_by_regions("external", sent)


def _by_region(items: Iterable[_Item], meter: str) -> dict[str, float]:
    """The price of a meter by region: the first tier that costs something."""
    latest: dict[tuple[str, str, str, float], _Item] = {}
    for item in sorted(items, key=lambda one: one.effective_start_date):
        if item.meter_name.startswith(meter):
            name = item.arm_region_name, item.product_name, item.meter_name
            latest[*name, item.tier_minimum_units] = item
    tiers: dict[str, list[tuple[float, float]]] = {}
    for item in latest.values():
        tier = item.tier_minimum_units, item.retail_price
        tiers.setdefault(item.arm_region_name, []).append(tier)
    return {
        region: check_price(
            next((price for _, price in sorted(found) if price), 0.0), f"{meter} of {region[:40]}"
        )
        for region, found in tiers.items()
    }


def _continent(region: str) -> str:
    for name, globs in CONTINENTS.items():
        if any(fnmatchcase(region, glob) for glob in globs):
            return name
    return ""
