"""AWS: both ends of a byte between zones are billed, between regions the sender alone.

Public list prices in USD. AWS does not say what its GB is; docs/money.md says why it is 2^30 here.
"""

from datetime import date

from kzn.pricing.declaration import ANY, PriceList, Rule
from kzn.pricing.traffic import OUTSIDE

_EC2 = "https://aws.amazon.com/ec2/pricing/on-demand/"
_ENDPOINT = "https://aws.amazon.com/privatelink/pricing/"
_TRANSIT = "https://aws.amazon.com/transit-gateway/pricing/"
_PEERING = "https://aws.amazon.com/vpc/faqs/"
_RDS = "https://aws.amazon.com/blogs/architecture/exploring-data-transfer-costs-for-aws-managed-databases/"
_JULY_2026 = date(2026, 7, 1)
_2024 = date(2024, 12, 31)

_BETWEEN_REGIONS = (
    (("us-gov-*",), 0.03),
    (("us-*", "ca-*", "eu-*"), 0.02),
    (("ap-northeast-2", "il-central-1", "ap-southeast-5"), 0.08),
    (("ap-south-1", "ap-south-2"), 0.086),
    (("ap-northeast-1", "ap-northeast-3", "ap-southeast-1", "ap-east-1"), 0.09),
    (("ap-southeast-2",), 0.098),
    (("me-south-1",), 0.1105),
    (("sa-east-1",), 0.138),
    (("af-south-1",), 0.147),
)
"""USD a GB by the sender's region. Pairs can differ: the offer file of AWS has all of them."""


def _region_rules(price_class: str = "") -> tuple[Rule, ...]:
    ohio_virginia = ("us-east-1", "us-east-2")
    routes = [
        (ohio_virginia, ohio_virginia, 0.01),
        *((regions, ANY, price) for regions, price in _BETWEEN_REGIONS),
    ]
    return tuple(
        Rule("cross_region", price, 0, src, dst, price_class, source=_EC2, date=_2024)
        for src, dst, price in routes
    )


PRICES = PriceList(
    name="aws",
    provider="aws",
    currency="USD",
    valid_from=date(2022, 4, 1),
    source=_EC2,
    date=_JULY_2026,
    rules=(
        Rule("same_zone", 0, 0),
        *(
            Rule(cls, src_regions=("cn-*",), unpriced="China has a price list of its own")
            for cls in ("cross_zone", "cross_region", "external")
        ),
        Rule("cross_zone", 0.01, 0.01),
        *_region_rules(),
        Rule("external", 0, 0, (OUTSIDE,)),
        Rule(
            "external",
            src_regions=("us-gov-*",),
            dst_regions=(OUTSIDE,),
            unpriced="GovCloud has another price than us-* for what leaves it",
        ),
        Rule("external", 0.09, 0, ("us-*", "ca-*", "eu-*"), (OUTSIDE,)),
        Rule("same_zone", 0.01, 0.01, price_class="public-address"),
        Rule("cross_zone", 0.01, 0.01, price_class="public-address"),
        Rule("same_zone", 0, 0, price_class="peering", source=_PEERING),
        Rule("cross_zone", 0.01, 0.01, price_class="peering", source=_PEERING),
        *_region_rules("peering"),
        Rule("same_zone", 0, 0, price_class="managed-database", source=_RDS),
        Rule(
            "cross_zone",
            0.01,
            0.01,
            price_class="managed-database",
            bills_far_end=False,
            source=_RDS,
        ),
        *(
            Rule(
                cls,
                0.01,
                0.01,
                price_class="interface-endpoint",
                bills_far_end=False,
                source=_ENDPOINT,
            )
            for cls in ("same_zone", "cross_zone")
        ),
        *(
            Rule(cls, 0.02, 0, price_class="transit-gateway", bills_far_end=False, source=_TRANSIT)
            for cls in ("same_zone", "cross_zone")
        ),
    ),
)
