"""kzn/pricing/offers/aws.py and imported.py, by files that are made here after AWS' format."""

import gzip
import json
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from kzn.errors import UsageError
from kzn.pricing.aws import PRICES
from kzn.pricing.book import PriceBook
from kzn.pricing.declaration import GIB
from kzn.pricing.file import parse_list
from kzn.pricing.offers import imported
from kzn.pricing.offers.aws import import_aws
from kzn.pricing.offers.imported import Imported
from kzn.pricing.text import yaml_of
from kzn.pricing.traffic import Quote, Traffic

READ = date(2026, 11, 26)
REGION = {"fromLocationType": "AWS Region", "toLocationType": "AWS Region"}


def transfer(kind: str, src: str, dst: str, **more: str) -> dict[str, str]:
    ends = {"fromRegionCode": src, "toRegionCode": dst, "fromLocation": src, "toLocation": dst}
    return REGION | ends | {"transferType": kind, "servicecode": "AWSDataTransfer"} | more


def tiers(*prices: tuple[str, str], unit: str = "GB") -> dict[str, Any]:
    return {
        f"d{number}": {
            "rateCode": f"x.{number}",
            "description": "a tier",
            "unit": unit,
            "beginRange": begin,
            "endRange": "Inf",
            "pricePerUnit": {"USD": usd},
            "appliesTo": [],
        }
        for number, (begin, usd) in enumerate(prices)
    }


def offer(
    products: Sequence[tuple[dict[str, str], Mapping[str, Any]]], **changes: object
) -> dict[str, Any]:
    return {
        "formatVersion": "v1.0",
        "disclaimer": "made for a test",
        "offerCode": "AWSDataTransfer",
        "version": "20260701000000",
        "publicationDate": "2026-07-01T12:00:00Z",
        "products": {
            f"S{n}": {"sku": f"S{n}", "productFamily": "Data Transfer", "attributes": attributes}
            for n, (attributes, _) in enumerate(products)
        },
        "terms": {
            "OnDemand": {
                f"S{n}": {f"S{n}.T": {"sku": f"S{n}", "priceDimensions": dimensions}}
                for n, (_, dimensions) in enumerate(products)
            }
        },
    } | changes


def made(tmp_path: Path, *offers: dict[str, Any]) -> Imported:
    paths = []
    for number, content in enumerate(offers):
        paths.append(tmp_path / f"{number}.json")
        paths[-1].write_text(json.dumps(content))
    return import_aws(paths, READ)


def ask(found: Imported, cls: str, src: str, dst: str, far: str = "") -> tuple[float, float]:
    """By the text that the command prints."""
    text = yaml_of(found.prices, (), found.extends)
    book = PriceBook([parse_list("made.yaml", text, [PRICES])])
    ends = "" if src == "outside" else "aws", "" if dst == "outside" else "aws"
    answer = book.quote(Traffic(cls, ends[0], src, ends[1], dst, "", far), READ)
    assert isinstance(answer, Quote), answer
    return round(answer.sender * GIB, 9), round(answer.receiver * GIB, 9)


EXTERNAL = {"toLocation": "External", "toLocationType": "Other", "toRegionCode": ""}
FRANKFURT = offer(
    [
        (transfer("IntraRegion", "eu-central-1", "eu-central-1"), tiers(("0", "0.0100000000"))),
        (
            transfer("IntraRegion-VPCpeering-Out", "eu-central-1", "eu-central-1"),
            tiers(("0", "0.011")),
        ),
        (
            transfer("IntraRegion-VPCpeering-In", "eu-central-1", "eu-central-1"),
            tiers(("0", "0.012")),
        ),
        (transfer("IntraRegion-xAZ-Out", "eu-central-1", "eu-central-1"), tiers(("0", "0"))),
        (transfer("InterRegion Outbound", "eu-central-1", "us-east-1"), tiers(("0", "0.02"))),
        (transfer("InterRegion Outbound", "eu-central-1", "eu-west-1"), tiers(("0", "0.02"))),
        (transfer("InterRegion Inbound", "us-east-1", "eu-central-1"), tiers(("0", "0"))),
        (
            transfer("AWS Outbound", "eu-central-1", "", **EXTERNAL),
            tiers(("10240", "0.085"), ("0", "0"), ("100", "0.09"), ("51200", "0.07")),
        ),
        (
            transfer("InterRegion Outbound", "eu-central-1", "eu-central-1-ham-1")
            | {"toLocationType": "AWS Local Zone"},
            tiers(("0", "0.5")),
        ),
        (transfer("IntraRegion", "eu-central-1", "eu-central-1"), tiers(("0", "9"), unit="Hrs")),
    ]
)
TOKYO = offer(
    [
        (transfer("IntraRegion", "ap-northeast-1", "ap-northeast-1"), tiers(("0", "0.01"))),
        (transfer("InterRegion Outbound", "ap-northeast-1", "us-east-1"), tiers(("0", "0.09"))),
    ],
    version="20260815000000",
    publicationDate="2026-08-15T00:00:00Z",
)


def test_an_offer_becomes_the_prices_of_both_ends(tmp_path: Path) -> None:
    found = made(tmp_path, FRANKFURT, TOKYO)
    assert (found.used, found.ignored) == (9, 3)
    assert ask(found, "cross_zone", "eu-central-1", "eu-central-1") == (0.01, 0.01)
    assert ask(found, "cross_zone", "ap-northeast-1", "ap-northeast-1") == (0.01, 0.01)
    peered = ask(found, "cross_zone", "eu-central-1", "eu-central-1", "peering")
    assert peered == (0.011, 0.012)
    public = ask(found, "same_zone", "eu-central-1", "eu-central-1", "public-address")
    assert public == (0.01, 0.01)
    assert ask(found, "cross_region", "eu-central-1", "us-east-1") == (0.02, 0)
    assert ask(found, "cross_region", "ap-northeast-1", "us-east-1") == (0.09, 0)
    assert ask(found, "external", "eu-central-1", "outside") == (0.09, 0)


def test_what_the_offer_does_not_have_is_as_in_the_shipped_list(tmp_path: Path) -> None:
    found = made(tmp_path, FRANKFURT)
    assert found.extends == "aws"
    database = ask(found, "cross_zone", "eu-central-1", "eu-central-1", "managed-database")
    assert database == (0.01, 0)
    assert ask(found, "external", "outside", "eu-central-1") == (0, 0)
    assert ask(found, "same_zone", "eu-central-1", "eu-central-1") == (0, 0)


def test_the_list_has_the_date_and_version_of_the_latest_offer(tmp_path: Path) -> None:
    found = made(tmp_path, TOKYO, FRANKFURT).prices
    assert (found.valid_from, found.date) == (date(2026, 8, 15), READ)
    assert "20260815000000" in found.source


def test_pairs_of_one_price_share_a_rule(tmp_path: Path) -> None:
    rules = made(tmp_path, FRANKFURT).prices.rules
    [between] = [rule for rule in rules if rule.cls == "cross_region"]
    assert between.src_regions == ("eu-central-1",)
    assert between.dst_regions == ("eu-west-1", "us-east-1")


def test_the_general_product_counts_and_else_the_dearest(tmp_path: Path) -> None:
    one = transfer("InterRegion Outbound", "us-east-1", "us-west-2")
    special = [
        (one | {"operation": name}, tiers(("0", usd))) for name, usd in (("A", "0.5"), ("B", "0.7"))
    ]
    both = made(tmp_path, offer([special[0], (one, tiers(("0", "0.02"))), special[1]]))
    assert ask(both, "cross_region", "us-east-1", "us-west-2") == (0.02, 0)
    assert ask(made(tmp_path, offer(special)), "cross_region", "us-east-1", "us-west-2") == (0.7, 0)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "not an offer"),
        ('{"offerCode": "AWSDataTransfer"}', "not an offer"),
        (json.dumps(offer([], offerCode="AmazonEC2")), "'AmazonEC2'"),
        (json.dumps(FRANKFURT | {"publicationDate": "July"}), "'July'"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, content: str, problem: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(UsageError, match=problem):
        import_aws([path], READ)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_file_with_a_byte_order_mark_is_read(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "0.json"
    path.write_bytes(json.dumps(FRANKFURT).encode(encoding))
    assert import_aws([path], READ).prices == made(tmp_path, FRANKFURT).prices


def test_a_file_by_gzip_is_read_and_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "0.json.gz"
    packed = gzip.compress(json.dumps(FRANKFURT | {"disclaimer": "x" * 100_000}).encode())
    path.write_bytes(packed)
    assert import_aws([path], READ).prices == made(tmp_path, FRANKFURT).prices
    path.write_bytes(packed[:-100])
    with pytest.raises(UsageError, match=r"0\.json\.gz: not an offer"):
        import_aws([path], READ)
    path.write_bytes(packed)
    monkeypatch.setattr(imported, "MAX_OFFER_BYTES", 50_000)
    with pytest.raises(UsageError, match="more than 50000 bytes"):
        import_aws([path], READ)


ODD_ROWS: list[Any] = [
    None,
    [],
    {},
    {"attributes": None},
    {"attributes": transfer("IntraRegion", "eu-central-1", "eu-central-1") | {"operation": None}},
]


@pytest.mark.parametrize("odd", ODD_ROWS)
def test_a_product_of_another_shape_is_ignored_and_counted(tmp_path: Path, odd: Any) -> None:
    changed = FRANKFURT | {"products": FRANKFURT["products"] | {"S0x": odd}}
    changed["terms"] = {"OnDemand": FRANKFURT["terms"]["OnDemand"] | {"S0x": None}}
    found = made(tmp_path, changed)
    assert found.prices == made(tmp_path, FRANKFURT).prices
    assert (found.used, found.ignored) == (7, 4)


@pytest.mark.parametrize("price", [None, 0.5, {}])
def test_a_price_of_another_shape_is_ignored_and_counted(tmp_path: Path, price: Any) -> None:
    first = transfer("IntraRegion", "eu-central-1", "eu-central-1")
    odd = tiers(("0", "1"))
    odd["d0"]["pricePerUnit"] = {"USD": price}
    found = made(tmp_path, offer([(first, tiers(("0", "0.01"))), (first, odd)]))
    assert (found.used, found.ignored) == (1, 1)
    assert ask(found, "cross_zone", "eu-central-1", "eu-central-1") == (0.01, 0.01)


def test_of_several_terms_the_latest_counts(tmp_path: Path) -> None:
    one = offer([(transfer("IntraRegion", "r", "r"), {})])
    one["terms"]["OnDemand"]["S0"] = {
        day: {"effectiveDate": day, "priceDimensions": tiers(("0", usd))}
        for day, usd in (("2026-07-01T00:00:00Z", "0.02"), ("2025-01-01T00:00:00Z", "0.01"))
    }
    assert ask(made(tmp_path, one), "cross_zone", "r", "r") == (0.02, 0.02)


def test_peering_of_which_one_end_is_missing_is_as_in_the_shipped_list(tmp_path: Path) -> None:
    between = transfer("IntraRegion", "r", "r"), tiers(("0", "0.02"))
    sent = transfer("IntraRegion-VPCpeering-Out", "r", "r"), tiers(("0", "0.02"))
    found = made(tmp_path, offer([between, sent]))
    assert ask(found, "cross_zone", "r", "r", "peering") == (0.01, 0.01)


@pytest.mark.parametrize(
    "dimensions",
    [
        tiers(("0", "0.01"), unit="Hrs"),
        tiers(("0", "")),
        {"d0": tiers(("0", "1"))["d0"] | {"pricePerUnit": {"CNY": "0.06"}}},
    ],
)
def test_an_offer_without_any_price_in_usd_is_refused(
    tmp_path: Path, dimensions: dict[str, Any]
) -> None:
    product = transfer("IntraRegion", "cn-north-1", "cn-north-1")
    with pytest.raises(UsageError, match=r"0\.json: no price in USD"):
        made(tmp_path, offer([(product, dimensions)]))


def test_a_file_that_is_too_large_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imported, "MAX_OFFER_BYTES", 10)
    with pytest.raises(UsageError, match="at most 10"):
        made(tmp_path, FRANKFURT)
    with pytest.raises(UsageError, match=r"absent\.json"):
        import_aws([tmp_path / "absent.json"], READ)


@pytest.mark.parametrize("time", ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00"])
def test_a_time_beyond_the_calendar_is_not_a_time(tmp_path: Path, time: str) -> None:
    one = offer([(transfer("IntraRegion", "r", "r"), tiers(("0", "0.01")))], publicationDate=time)
    path = tmp_path / "offer.json"
    path.write_text(json.dumps(one))
    with pytest.raises(UsageError, match=r"publicationDate .* not a time"):
        import_aws([path], READ)


@pytest.mark.parametrize("usd", ["1000000000000", "nan", "inf", "-0.01", "1e-20"])
def test_a_price_that_no_list_can_have_is_refused(tmp_path: Path, usd: str) -> None:
    path = tmp_path / "offer.json"
    path.write_text(json.dumps(offer([(transfer("IntraRegion", "r", "r"), tiers(("0", usd)))])))
    with pytest.raises(UsageError, match=r"product S0: .* per GB"):
        import_aws([path], READ)
