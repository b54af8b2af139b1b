"""What the three clouds bill, fact by fact, as the shipped lists answer it.

A row is a sentence of a bill: class, regions and price classes of both ends, and what the sender
and the receiver pay for a GB of 2^30 bytes in USD. docs/money.md says how sure each is.
"""

from datetime import date

import pytest

from kzn.pricing import aws, azure, gcp
from kzn.pricing.book import PriceBook
from kzn.pricing.declaration import GIB, PriceList
from kzn.pricing.traffic import Quote, Reason, Traffic

LISTS = {"aws": aws.PRICES, "azure": azure.PRICES, "gcp": gcp.PRICES}
BOOK = PriceBook(LISTS.values())
TODAY = date(2026, 11, 26)
Price = tuple[float, float] | Reason

AWS_BETWEEN_REGIONS = {
    0.02: (
        "us-east-1", "us-east-2", "us-west-1", "us-west-2", "ca-central-1", "ca-west-1",
        "eu-west-1", "eu-west-2", "eu-west-3", "eu-central-1", "eu-central-2", "eu-north-1",
        "eu-south-1",
    ),
    0.03: ("us-gov-west-1", "us-gov-east-1"),
    0.08: ("ap-northeast-2", "il-central-1", "ap-southeast-5"),
    0.086: ("ap-south-1", "ap-south-2"),
    0.09: ("ap-northeast-1", "ap-northeast-3", "ap-southeast-1", "ap-east-1"),
    0.098: ("ap-southeast-2",),
    0.1105: ("me-south-1",),
    0.138: ("sa-east-1",),
    0.147: ("af-south-1",),
}  # fmt: skip
AWS_REGIONS = [
    (region, price) for price, regions in AWS_BETWEEN_REGIONS.items() for region in regions
]


def ask(provider: str, cls: str, src: str, dst: str, classes: tuple[str, str] = ("", "")) -> Price:
    """``src`` or ``dst`` "outside" is an end that is not the provider's."""
    of = {end: "" if end == "outside" else provider for end in (src, dst)}
    regions = ("" if end == "outside" else end for end in (src, dst))
    near, far = regions
    found = BOOK.quote(Traffic(cls, of[src], near, of[dst], far, *classes), TODAY)
    if not isinstance(found, Quote):
        return found.reason
    assert found.currency == "USD"
    return round(found.sender * GIB, 10), round(found.receiver * GIB, 10)


def both_ways(cls: str, price_class: str, out: Price, back: Price) -> list[tuple[object, ...]]:
    """In AWS, to an end of a price class, and from it."""
    home = "eu-west-1"
    return [
        ("aws", cls, home, home, ("", price_class), out),
        ("aws", cls, home, home, (price_class, ""), back),
    ]


@pytest.mark.parametrize("region", [region for region, _ in AWS_REGIONS] + ["mx-central-1"])
def test_aws_bills_both_ends_between_zones_of_any_region_and_nothing_inside(region: str) -> None:
    assert ask("aws", "cross_zone", region, region) == (0.01, 0.01)
    assert ask("aws", "same_zone", region, region) == (0, 0)


@pytest.mark.parametrize(("region", "price"), AWS_REGIONS)
def test_aws_bills_the_sending_region_alone(region: str, price: float) -> None:
    far = "eu-west-1" if region != "eu-west-1" else "us-east-1"
    assert ask("aws", "cross_region", region, far) == (price, 0)
    assert ask("aws", "cross_region", region, far, ("", "peering")) == (price, 0)


def test_aws_has_a_lower_price_between_virginia_and_ohio_in_both_directions() -> None:
    assert ask("aws", "cross_region", "us-east-1", "us-east-2") == (0.01, 0)
    assert ask("aws", "cross_region", "us-east-2", "us-east-1") == (0.01, 0)
    assert ask("aws", "cross_region", "us-east-1", "us-west-2") == (0.02, 0)


@pytest.mark.parametrize("region", ["cn-north-1", "cn-northwest-1"])
def test_aws_in_china_has_no_price_but_in_a_zone(region: str) -> None:
    assert ask("aws", "cross_zone", region, region) == "left_unpriced"
    assert ask("aws", "cross_region", region, "cn-north-2") == "left_unpriced"
    assert ask("aws", "external", region, "outside") == "left_unpriced"
    assert ask("aws", "same_zone", region, region) == (0, 0)


@pytest.mark.parametrize(
    ("provider", "cls", "src", "dst", "classes", "wanted"),
    [
        # AWS, public or Elastic IPv4, and IPv6 to another VPC: as between zones, inside one too.
        *both_ways("cross_zone", "public-address", (0.01, 0.01), (0.01, 0.01)),
        *both_ways("same_zone", "public-address", (0.01, 0.01), (0.01, 0.01)),
        # VPC peering: free inside a zone, both ends across zones.
        *both_ways("cross_zone", "peering", (0.01, 0.01), (0.01, 0.01)),
        *both_ways("same_zone", "peering", (0, 0), (0, 0)),
        # RDS, ElastiCache, MSK: the client's side alone, each way.
        *both_ways("cross_zone", "managed-database", (0.01, 0), (0, 0.01)),
        *both_ways("same_zone", "managed-database", (0, 0), (0, 0)),
        # PrivateLink: processing at the client, the crossing is free.
        *both_ways("cross_zone", "interface-endpoint", (0.01, 0), (0, 0.01)),
        *both_ways("same_zone", "interface-endpoint", (0.01, 0), (0, 0.01)),
        # Transit gateway: processing of what is sent to it, the crossing is free.
        *both_ways("cross_zone", "transit-gateway", (0.02, 0), (0, 0)),
        *both_ways("same_zone", "transit-gateway", (0.02, 0), (0, 0)),
        # An ALB's way to its targets, gateway endpoints, a service's own replication.
        *both_ways("cross_zone", "free", (0, 0), (0, 0)),
        *both_ways("same_zone", "free", (0, 0), (0, 0)),
        # The internet: the first tier that costs something; what comes in is free.
        ("aws", "external", "us-east-1", "outside", ("", ""), (0.09, 0)),
        ("aws", "external", "ca-central-1", "outside", ("", ""), (0.09, 0)),
        ("aws", "external", "eu-north-1", "outside", ("", ""), (0.09, 0)),
        ("aws", "external", "us-gov-west-1", "outside", ("", ""), "left_unpriced"),
        ("aws", "external", "sa-east-1", "outside", ("", ""), "no_rule"),
        ("aws", "external", "outside", "sa-east-1", ("", ""), (0, 0)),
        ("aws", "external", "outside", "us-gov-west-1", ("", ""), (0, 0)),
        # Google Cloud: the sender, per GiB; an external address in a zone as between zones.
        ("gcp", "same_zone", "us-east1", "us-east1", ("", ""), (0, 0)),
        ("gcp", "cross_zone", "us-east1", "us-east1", ("", ""), (0.01, 0)),
        ("gcp", "cross_zone", "me-central2", "me-central2", ("", ""), (0.01, 0)),
        ("gcp", "same_zone", "us-east1", "us-east1", ("", "public-address"), (0.01, 0)),
        ("gcp", "same_zone", "us-east1", "us-east1", ("public-address", ""), (0.01, 0)),
        ("gcp", "cross_region", "us-east1", "us-west1", ("", ""), (0.02, 0)),
        ("gcp", "cross_region", "northamerica-south1", "us-west1", ("", ""), (0.02, 0)),
        ("gcp", "cross_region", "us-east1", "europe-west4", ("", ""), (0.05, 0)),
        ("gcp", "cross_region", "us-east1", "asia-south1", ("", ""), (0.08, 0)),
        ("gcp", "cross_region", "us-east1", "southamerica-west1", ("", ""), (0.14, 0)),
        ("gcp", "cross_region", "europe-west1", "europe-west4", ("", ""), "no_rule"),
        ("gcp", "external", "us-east1", "outside", ("", ""), "left_unpriced"),
        ("gcp", "external", "outside", "us-east1", ("", ""), (0, 0)),
        # Azure: nothing between zones, by private or public addresses; peering at both ends.
        ("azure", "same_zone", "eastus", "eastus", ("", ""), (0, 0)),
        ("azure", "cross_zone", "eastus", "eastus", ("", ""), (0, 0)),
        ("azure", "same_zone", "eastus", "eastus", ("", "public-address"), (0, 0)),
        ("azure", "cross_zone", "eastus", "eastus", ("public-address", ""), (0, 0)),
        ("azure", "same_zone", "eastus", "eastus", ("", "peering"), (0.01, 0.01)),
        ("azure", "cross_zone", "eastus", "eastus", ("peering", ""), (0.01, 0.01)),
        ("azure", "cross_region", "eastus", "westus", ("", "peering"), "left_unpriced"),
        ("azure", "cross_region", "eastus", "westeurope", ("", ""), "left_unpriced"),
        ("azure", "external", "eastus", "outside", ("", ""), "left_unpriced"),
        ("azure", "external", "outside", "eastus", ("", ""), (0, 0)),
        # Providers whose bills are not known here have no price, which is not 0.
        ("oracle", "cross_zone", "eu-frankfurt-1", "eu-frankfurt-1", ("", ""), "no_list"),
        ("hetzner", "same_zone", "fsn1", "fsn1", ("", ""), "no_list"),
        ("digitalocean", "external", "fra1", "outside", ("", ""), "no_list"),
    ],
)  # fmt: skip
def test_a_fact(
    provider: str, cls: str, src: str, dst: str, classes: tuple[str, str], wanted: Price
) -> None:
    assert ask(provider, cls, src, dst, classes) == wanted


@pytest.mark.parametrize("one", LISTS.values(), ids=LISTS)
def test_a_shipped_list_is_of_2_to_the_30_bytes_in_usd_without_a_discount(one: PriceList) -> None:
    assert (one.gb_bytes, one.currency, one.discount, one.conversion) == (GIB, "USD", 0, None)
    assert one.valid_until is None
