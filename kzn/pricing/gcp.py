"""Google Cloud: the sender of a byte between zones or regions is billed, per GiB."""

from datetime import date

from kzn.pricing.declaration import PriceList, Rule
from kzn.pricing.traffic import OUTSIDE

_VPC = "https://cloud.google.com/vpc/network-pricing"
_NORTH_AMERICA = ("us-*", "northamerica-*")

PRICES = PriceList(
    name="gcp",
    provider="gcp",
    currency="USD",
    valid_from=date(2024, 2, 1),
    source=_VPC,
    date=date(2026, 7, 1),
    rules=(
        Rule("same_zone", 0, 0),
        Rule("cross_zone", 0.01, 0),
        Rule("cross_region", 0.02, 0, _NORTH_AMERICA, _NORTH_AMERICA),
        Rule("cross_region", 0.05, 0, _NORTH_AMERICA, ("europe-*",)),
        Rule("cross_region", 0.08, 0, _NORTH_AMERICA, ("asia-*",)),
        Rule("cross_region", 0.14, 0, _NORTH_AMERICA, ("southamerica-*",)),
        Rule("external", 0, 0, (OUTSIDE,)),
        Rule(
            "external",
            dst_regions=(OUTSIDE,),
            unpriced="it depends on the network tier and on where the receiver is",
        ),
        Rule("same_zone", 0.01, 0, price_class="public-address"),
        Rule("cross_zone", 0.01, 0, price_class="public-address"),
        Rule("same_zone", 0, 0, price_class="peering"),
        Rule("cross_zone", 0.01, 0, price_class="peering"),
    ),
)
