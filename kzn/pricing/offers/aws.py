"""AWS' bulk price list: the offer AWSDataTransfer, a JSON file for each region.

A product's ``transferType`` says what it is:

    IntraRegion                       between zones: one price, paid at each end
    IntraRegion-VPCpeering-Out, -In   the same over VPC peering, by end
    InterRegion Outbound, Inbound     between two regions, by end
    AWS Outbound, AWS Inbound         to and from the internet

Crossings that cost nothing (IntraRegion-xAZ-In, -Out) have no rule: an address does not show them.
Of several tiers the first that costs something counts, of several terms the latest, of several
products of one kind the one without an operation, which is the general one, else the dearest.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path

import msgspec

from kzn.errors import UsageError
from kzn.pricing import aws
from kzn.pricing.declaration import PriceList, Rule
from kzn.pricing.offers.imported import (
    Imported,
    Pair,
    check_price,
    day_of,
    extending,
    read_offer,
    row_of,
    rules_by_regions,
)
from kzn.pricing.traffic import OUTSIDE

_NO_TERMS = msgspec.Raw(b"{}")
_REGION, _EXTERNAL = "AWS Region", "External"
_ENDS = {
    "IntraRegion": ("cross_zone", "", "both"),
    "IntraRegion-VPCpeering-Out": ("cross_zone", "peering", "sender"),
    "IntraRegion-VPCpeering-In": ("cross_zone", "peering", "receiver"),
    "InterRegion Outbound": ("cross_region", "", "sender"),
    "InterRegion Inbound": ("cross_region", "", "receiver"),
    "AWS Outbound": ("external", "", "sender"),
    "AWS Inbound": ("external", "", "receiver"),
}


class _Attributes(msgspec.Struct, rename="camel"):
    transfer_type: str = ""
    from_location: str = ""
    from_location_type: str = ""
    from_region_code: str = ""
    to_location: str = ""
    to_location_type: str = ""
    to_region_code: str = ""
    operation: str = ""


class _Product(msgspec.Struct, rename="camel"):
    attributes: _Attributes
    product_family: str = ""


class _Dimension(msgspec.Struct, rename="camel"):
    price_per_unit: dict[str, str]
    unit: str = ""
    begin_range: str = "0"


class _Term(msgspec.Struct, rename="camel"):
    price_dimensions: dict[str, _Dimension]
    effective_date: str = ""


class _Terms(msgspec.Struct):
    on_demand: dict[str, msgspec.Raw] = msgspec.field(default_factory=dict, name="OnDemand")


class _Offer(msgspec.Struct, rename="camel"):
    offer_code: str
    publication_date: str
    products: dict[str, msgspec.Raw]
    terms: _Terms
    version: str = ""


class _Prices:
    """The prices of one kind: by pair of regions the general one, and the dearest other one."""

    def __init__(self) -> None:
        self._found: dict[Pair, tuple[bool, float]] = {}

    def add(self, pair: Pair, price: float, *, is_general: bool) -> None:
        self._found[pair] = max(self._found.get(pair, (False, 0.0)), (is_general, price))

    def get(self, pair: Pair) -> float:
        return self._found.get(pair, (False, 0.0))[1]

    def pairs(self) -> set[Pair]:
        return set(self._found)


def import_aws(files: Sequence[Path], read: date) -> Imported:
    """The list of offer files that were read on the day ``read``; UsageError."""
    offers = [read_offer(path, _Offer, "an offer of AWS' price list") for path in files]
    for path, offer in zip(files, offers, strict=True):
        if offer.offer_code != "AWSDataTransfer":
            raise UsageError(f"{path}: offer {offer.offer_code!r}", hint="take AWSDataTransfer")
    prices = {kind: _Prices() for kind in set(_ENDS.values())}
    used = ignored = 0
    for offer in offers:
        for sku, raw in offer.products.items():
            attributes = product.attributes if (product := row_of(raw, _Product)) else _Attributes()
            price = _price(row_of(offer.terms.on_demand.get(sku, _NO_TERMS), dict[str, _Term]))
            pair = _pair(attributes)
            kind = _ENDS.get(attributes.transfer_type)
            if price is None or pair is None or kind is None:
                ignored += 1
                continue
            used += 1
            price = check_price(price, f"product {sku[:40]}")
            prices[kind].add(pair, price, is_general=not attributes.operation)
    if not used:
        names = ", ".join(map(str, files))
        raise UsageError(
            f"{names}: no price in USD for a GB between zones, between regions or to the internet",
            hint="take the offer AWSDataTransfer of a region; those of China are in CNY, for which"
            " a list is written by hand",
        )
    latest = max(offers, key=lambda offer: offer.publication_date)
    return extending(
        aws.PRICES,
        PriceList(
            name="aws-offer",
            provider="aws",
            currency="USD",
            valid_from=day_of(latest.publication_date, "publicationDate"),
            source=f"AWS offer AWSDataTransfer, version {latest.version or 'unknown'}",
            date=read,
            rules=tuple(_rules(prices)),
        ),
        used=used,
        ignored=ignored,
    )


def _rules(prices: dict[tuple[str, str, str], _Prices]) -> Iterable[Rule]:
    both = prices["cross_zone", "", "both"]
    within = {pair: (both.get(pair), both.get(pair)) for pair in both.pairs()}
    yield from rules_by_regions("cross_zone", within)
    for cls in ("cross_zone", "same_zone"):  # by public addresses AWS does not tell zones apart
        yield from rules_by_regions(cls, within, "public-address")
    for cls, price_class in (("cross_zone", "peering"), ("cross_region", ""), ("external", "")):
        sender, receiver = (prices[cls, price_class, end] for end in ("sender", "receiver"))
        pairs = sender.pairs()
        if cls == "external":
            pairs |= receiver.pairs()
        elif price_class:  # billed at both ends: with one alone half would be missing
            pairs &= receiver.pairs()
        ends = {pair: (sender.get(pair), receiver.get(pair)) for pair in pairs}
        yield from rules_by_regions(cls, ends, price_class)


def _pair(found: _Attributes) -> Pair | None:
    """The regions from which and to which bytes go; None for local zones and edge locations."""
    src = _place(found.from_location, found.from_location_type, found.from_region_code)
    dst = _place(found.to_location, found.to_location_type, found.to_region_code)
    if not src or not dst or (OUTSIDE in (src, dst)) != found.transfer_type.startswith("AWS "):
        return None
    return src, dst


def _place(location: str, kind: str, region: str) -> str:
    if location == _EXTERNAL:
        return OUTSIDE
    return region if kind == _REGION else ""


def _price(terms: Mapping[str, _Term] | None) -> float | None:
    """USD for a GB in the first tier that costs something, 0 if none does; None without prices."""
    tiers = []
    latest = max((term.effective_date for term in (terms or {}).values()), default="")
    for term in (terms or {}).values():
        if term.effective_date != latest:
            continue
        for dimension in term.price_dimensions.values():
            usd = dimension.price_per_unit.get("USD")
            if dimension.unit != "GB" or usd is None:
                return None
            try:
                tiers.append((float(dimension.begin_range), float(usd)))
            except ValueError:
                return None
    return next((price for _, price in sorted(tiers) if price), 0.0) if tiers else None
