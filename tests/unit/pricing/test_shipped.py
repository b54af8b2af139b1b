"""kzn/pricing/aws.py, gcp.py and azure.py: the rules of the three bills."""

from datetime import date

import pytest

from kzn.pricing import aws, azure, gcp
from kzn.pricing.book import PriceBook
from kzn.pricing.declaration import GIB, PriceList
from kzn.pricing.traffic import Quote, Traffic, Unpriced

BOOK = PriceBook([aws.PRICES, azure.PRICES, gcp.PRICES])
TODAY = date(2026, 11, 26)


def ask(provider: str, cls: str, src: str, dst: str, near: str = "", far: str = "") -> object:
    found = BOOK.quote(Traffic(cls, provider, src, provider, dst, near, far), TODAY)
    if isinstance(found, Unpriced):
        return found.reason
    assert found.currency == "USD"
    return round(found.sender * GIB, 10), round(found.receiver * GIB, 10)


@pytest.mark.parametrize(
    ("provider", "wanted"),
    [("aws", (0.01, 0.01)), ("gcp", (0.01, 0.0)), ("azure", (0.0, 0.0))],
)
def test_a_gib_between_two_zones(provider: str, wanted: tuple[float, float]) -> None:
    assert ask(provider, "cross_zone", "r", "r") == wanted
    assert ask(provider, "same_zone", "r", "r") == (0, 0)


@pytest.mark.parametrize(
    ("src", "dst", "sender"),
    [
        ("us-east-1", "us-east-2", 0.01),
        ("us-east-2", "us-east-1", 0.01),
        ("us-east-1", "us-west-2", 0.02),
        ("ca-central-1", "eu-west-1", 0.02),
        ("eu-central-1", "ap-northeast-1", 0.02),
        ("us-gov-west-1", "us-gov-east-1", 0.03),
        ("ap-northeast-2", "us-east-1", 0.08),
        ("il-central-1", "us-east-1", 0.08),
        ("ap-southeast-5", "us-east-1", 0.08),
        ("ap-south-1", "us-east-1", 0.086),
        ("ap-northeast-1", "ap-northeast-3", 0.09),
        ("ap-southeast-1", "us-east-1", 0.09),
        ("ap-east-1", "us-east-1", 0.09),
        ("ap-southeast-2", "us-east-1", 0.098),
        ("me-south-1", "us-east-1", 0.1105),
        ("sa-east-1", "us-east-1", 0.138),
        ("af-south-1", "us-east-1", 0.147),
    ],
)
def test_aws_bills_the_sender_alone_between_regions(src: str, dst: str, sender: float) -> None:
    assert ask("aws", "cross_region", src, dst) == (sender, 0)


def test_an_aws_region_that_the_list_does_not_have_is_unpriced() -> None:
    assert ask("aws", "cross_region", "mx-central-1", "us-east-1") == "no_rule"


@pytest.mark.parametrize(
    ("cls", "near", "far", "wanted"),
    [
        ("cross_zone", "", "managed-database", (0.01, 0)),
        ("cross_zone", "managed-database", "", (0, 0.01)),
        ("same_zone", "", "managed-database", (0, 0)),
        ("same_zone", "", "public-address", (0.01, 0.01)),
        ("cross_zone", "public-address", "", (0.01, 0.01)),
        ("same_zone", "", "peering", (0, 0)),
        ("cross_zone", "", "peering", (0.01, 0.01)),
        ("cross_zone", "", "interface-endpoint", (0.01, 0)),
        ("cross_zone", "interface-endpoint", "", (0, 0.01)),
        ("same_zone", "", "transit-gateway", (0.02, 0)),
        ("same_zone", "transit-gateway", "", (0, 0)),
        ("cross_region", "", "free", (0, 0)),
    ],
)
def test_aws_far_ends(cls: str, near: str, far: str, wanted: tuple[float, float]) -> None:
    assert ask("aws", cls, "eu-west-1", "eu-west-1", near, far) == wanted


@pytest.mark.parametrize(
    ("src", "dst", "wanted"),
    [
        ("us-central1", "northamerica-northeast1", (0.02, 0)),
        ("us-central1", "europe-west1", (0.05, 0)),
        ("us-east1", "asia-east1", (0.08, 0)),
        ("us-east1", "southamerica-east1", (0.14, 0)),
        ("europe-west1", "us-central1", "no_rule"),
    ],
)
def test_gcp_between_regions(src: str, dst: str, wanted: object) -> None:
    assert ask("gcp", "cross_region", src, dst) == wanted


def test_gcp_and_azure_far_ends() -> None:
    assert ask("gcp", "same_zone", "r", "r", "", "public-address") == (0.01, 0)
    assert ask("azure", "cross_zone", "r", "r", "", "public-address") == (0, 0)
    assert ask("azure", "same_zone", "r", "r", "", "peering") == (0.01, 0.01)
    assert ask("azure", "cross_region", "eastus", "westeurope") == "left_unpriced"


@pytest.mark.parametrize("provider", ["aws", "gcp", "azure"])
def test_what_comes_from_outside_is_free(provider: str) -> None:
    found = BOOK.quote(Traffic("external", dst_provider=provider, dst_region="us-east-1"), TODAY)
    assert isinstance(found, Quote)
    assert found.is_free


def test_what_aws_sends_outside_is_the_first_paid_tier() -> None:
    sent = Traffic("external", src_provider="aws", src_region="us-east-1")
    found = BOOK.quote(sent, TODAY)
    assert isinstance(found, Quote)
    assert (round(found.sender * GIB, 10), found.receiver) == (0.09, 0)


@pytest.mark.parametrize("one", BOOK.lists, ids=lambda one: one.name)
def test_every_rule_has_a_source_and_a_date(one: PriceList) -> None:
    assert all((rule.source or one.source).startswith("https://") for rule in one.rules)
    assert all((rule.date or one.date) >= date(2024, 1, 1) for rule in one.rules)


@pytest.mark.parametrize("cls", ["cross_zone", "cross_region", "external"])
def test_aws_in_china_has_another_list(cls: str) -> None:
    assert ask("aws", cls, "cn-north-1", "cn-north-1") == "left_unpriced"


def test_what_leaves_aws_govcloud_has_no_price_and_its_zones_have() -> None:
    found = BOOK.quote(Traffic("external", "aws", "us-gov-west-1"), TODAY)
    assert isinstance(found, Unpriced)
    assert found.reason == "left_unpriced"
    assert ask("aws", "cross_zone", "us-gov-west-1", "us-gov-west-1") == (0.01, 0.01)


def test_peering_between_regions_has_the_prices_between_regions() -> None:
    pair = "us-east-1", "us-east-2"
    assert ask("aws", "cross_region", *pair, far="peering") == (0.01, 0)
    assert ask("aws", "cross_region", "us-east-1", "us-west-2", far="peering") == (0.02, 0)


@pytest.mark.parametrize(
    ("prices", "between"),
    [(aws.PRICES, {"", "peering"}), (azure.PRICES, {"", "peering"}), (gcp.PRICES, {""})],
    ids=["aws", "azure", "gcp"],
)
def test_between_regions_and_to_the_internet_the_classes_are_those_of_the_page(
    prices: PriceList, between: set[str]
) -> None:
    def classes(cls: str) -> set[str]:
        return {rule.price_class for rule in prices.rules if rule.cls == cls}

    assert (classes("cross_region"), classes("external")) == (between, {""})
