"""Azure: nothing between zones; the sender between regions; both ends over VNet peering."""

from datetime import date

from kzn.pricing.declaration import PriceList, Rule
from kzn.pricing.traffic import OUTSIDE

_BANDWIDTH = "https://azure.microsoft.com/pricing/details/bandwidth/"
_PEERING = "https://azure.microsoft.com/pricing/details/virtual-network/"

PRICES = PriceList(
    name="azure",
    provider="azure",
    currency="USD",
    valid_from=date(2024, 1, 1),
    source=_BANDWIDTH,
    date=date(2026, 7, 1),
    rules=(
        Rule("same_zone", 0, 0),
        Rule("cross_zone", 0, 0),
        Rule(
            "cross_region",
            unpriced="0.02 to 0.16 USD a GB by pairs of continents: import Azure's list",
        ),
        Rule("external", 0, 0, (OUTSIDE,)),
        Rule(
            "external",
            dst_regions=(OUTSIDE,),
            unpriced="it depends on the routing preference and the region: import Azure's list",
        ),
        Rule("same_zone", 0, 0, price_class="public-address"),
        Rule("cross_zone", 0, 0, price_class="public-address"),
        Rule(
            "cross_region",
            price_class="peering",
            unpriced="global peering: 0.035 to 0.09 USD a GB at both ends, by zone of the regions",
            source=_PEERING,
        ),
        Rule("same_zone", 0.01, 0.01, price_class="peering", source=_PEERING),
        Rule("cross_zone", 0.01, 0.01, price_class="peering", source=_PEERING),
    ),
)
