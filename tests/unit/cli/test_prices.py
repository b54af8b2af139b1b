"""kzn/cli/prices.py: the table for people, export and import."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kzn.cli import main
from kzn.cli.prices import text_of
from kzn.client.prices import PriceTable, price_table
from kzn.errors import EXIT_USAGE
from kzn.pricing import aws, azure, gcp
from kzn.pricing.book import PriceBook
from kzn.pricing.file import load_list, parse_list
from kzn.pricing.table import Place

AT = datetime(2026, 11, 26, 12, tzinfo=UTC)


def test_the_table_shows_both_sides_and_a_terabyte() -> None:
    book = PriceBook([aws.PRICES, azure.PRICES, gcp.PRICES])
    places = [
        Place("aws", "us-east-1", "us-east-1a"),
        Place("aws", "us-east-1", "us-east-1b"),
        Place("aws", "eu-west-1", "eu-west-1a"),
        Place("aws", "eu-west-1", "b"),
        Place("", "eu-west-1", "b", "managed-database", "orders"),
        Place("gcp", "us-east1", "us-east1-b"),
        Place("metal", "r", "z"),
    ]
    lines = list(text_of(price_table(book, places, AT)))
    columns = [line.split("  ") for line in lines]
    cells = [[cell.strip() for cell in line if cell.strip()] for line in columns]
    head = ["from", "to", "class", "sender/GB", "receiver/GB", "both/GB", "1 TB", "by"]
    assert cells[0] == head
    shown = {tuple(row[:4]): row[4:] for row in cells if len(row) == 9}
    date = "aws, 2026-07-01"
    zones = shown["eu-west-1/b", "↔", "eu-west-1a", "cross_zone"]
    assert zones == ["0.01", "0.01", "0.02", "18.63 USD", date]
    database = shown["eu-west-1a", "→", "orders (managed-database)", "cross_zone"]
    assert database == ["0.01", "0", "0.01", "9.31 USD", date]
    back = shown["orders (managed-database)", "→", "eu-west-1a", "cross_zone"]
    assert back == ["0", "0.01", "0.01", "9.31 USD", date]
    regions = shown["eu-west-1", "↔", "us-east-1", "cross_region"]
    assert regions == ["0.02", "0", "0.02", "18.63 USD", "aws, 2024-12-31"]
    assert ["a zone of eu-west-1", "=", "same_zone", "0", "0", "0", "free", date] in cells
    assert ["a zone of r", "=", "same_zone", "unpriced", "no_list"] in cells
    assert any(row[-2:] == ["unpriced", "providers_differ"] for row in cells)
    text = "\n".join(lines)
    assert "as of 2026-11-26T12:00:00Z; 1 TB is 10^12 bytes" in text
    assert "a GB is 2^30 bytes, valid from 2022-04-01, read 2026-07-01: https://" in text
    assert "unpriced, no_list: no price list of provider metal is in use" in text


def test_prices_that_are_off_are_said_to_be() -> None:
    [line] = text_of(PriceTable("now", is_off=True, places=1, lists=(), prices=()))
    assert "--prices off" in line


def test_a_provider_can_be_asked_without_a_server(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = tmp_path / "ours.yaml"
    ours.write_text("extends: aws\ndiscount: 50%\nunit: GiB\n")
    options = ["--provider", "aws", "--region", "us-east-1", "--price-list", str(ours)]
    assert main.run(["prices", *options, "--json"]) == 0
    table = PriceTable.from_json(json.loads(capsys.readouterr().out))
    [zones] = [p for p in table.prices if (p.src_zone, p.dst_zone) == ("a", "b")]
    assert (zones.sender, zones.list) == (0.005 / (1 << 30), "ours")
    assert main.run(["prices", "--region", "us-east-1"]) == 2


@pytest.mark.parametrize(
    ("spelled", "name"), [("AWS", "aws"), ("gce", "gcp"), (" Azure ", "azure")]
)
def test_a_provider_may_be_spelled_as_in_a_static_file(
    spelled: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(["prices", "--provider", spelled, "--region", "r", "--json"]) == 0
    found = PriceTable.from_json(json.loads(capsys.readouterr().out))
    assert [one.name for one in found.lists] == [name]
    assert main.run(["prices", "--provider", " "]) == EXIT_USAGE


def test_an_exported_list_is_the_installed_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(["prices", "export", "aws"]) == 0
    path = tmp_path / "copy.yaml"
    path.write_text(capsys.readouterr().out)
    assert load_list(path) == aws.PRICES
    assert main.run(["prices", "export", "oxide"]) == 2
    assert "oxide" in capsys.readouterr().err


def test_an_imported_list_is_printed_with_what_was_ignored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    money = {"currencyCode": "USD", "units": "0", "nanos": 10000000}
    expression = {"usageUnit": "GiBy", "tieredRates": [{"unitPrice": money}]}
    skus = [
        {
            "skuId": "X",
            "description": "Network Inter Zone Egress",
            "pricingInfo": [{"pricingExpression": expression}],
        },
        {"skuId": "Y", "description": "N1 Core"},
    ]
    path = tmp_path / "page.json"
    path.write_text(json.dumps({"skus": skus}))
    assert main.run(["prices", "import", "gcp", str(path)]) == 0
    captured = capsys.readouterr()
    assert parse_list("f", captured.out, [gcp.PRICES]).rules[1].sender == 0.01
    assert "1 prices" in captured.err
    assert "1 of other" in captured.err
    path.write_text("{}")
    assert main.run(["prices", "import", "gcp", str(path)]) == 2


@pytest.mark.parametrize("columns", [40, 60, 80, 100])
def test_no_line_is_longer_than_the_terminal_and_nothing_is_left_out(columns: int) -> None:
    places = [
        *(
            Place("aws", region, region + zone)
            for region in ("us-east-1", "eu-west-1")
            for zone in "ab"
        ),
        Place("metal", "r", "z"),
    ]
    table = price_table(PriceBook([aws.PRICES]), places, AT)
    wide, narrow = list(text_of(table)), list(text_of(table, columns))
    assert max(map(len, wide)) > 100
    assert all(len(line) <= columns or " " not in line.strip() for line in narrow)
    text = " ".join(line.strip() for line in narrow)
    assert (
        "eu-west-1a ↔ eu-west-1b: cross_zone per GB 0.01 sender, 0.01 receiver;"
        " 1 TB 18.63 USD; aws, 2026-07-01"
    ) in text
    assert "a zone of eu-west-1: same_zone free; aws, 2026-07-01" in text
    assert "a zone of r: same_zone unpriced: no_list" in text
    assert "unpriced, no_list: no price list of provider metal is in use" in text
    assert list(text_of(table, 200))[:-1] == wide[:-1]
