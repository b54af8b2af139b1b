"""docs/money.md: its figures are those of the shipped lists, and its list can be loaded."""

import re
from datetime import date
from pathlib import Path

import pytest

from kzn.model.endpoint import INTERNET_CLASS
from kzn.pricing import aws, azure, file, gcp
from kzn.pricing.book import PriceBook
from kzn.pricing.declaration import GIB
from kzn.pricing.file import parse_list
from kzn.pricing.traffic import FREE_CLASS, REASONS, Quote, Traffic, Unpriced

PAGE = (Path(__file__).parents[3] / "docs" / "money.md").read_text()
BOOK = PriceBook([aws.PRICES, azure.PRICES, gcp.PRICES])
NAMES = {"AWS": "aws", "Google Cloud": "gcp", "Azure": "azure"}
TODAY = date(2026, 11, 26)


def table(first: str) -> dict[str, list[str]]:
    """The rows below the header that begins with ``first``, by their first cell."""
    lines = iter(PAGE.splitlines())
    next(line for line in lines if line.startswith(f"| {first} |"))
    next(lines)
    rows: dict[str, list[str]] = {}
    for line in lines:
        if not line.startswith("|"):
            break
        name, *cells = [cell.strip() for cell in line.strip("|").split("|")]
        rows[name] = cells
    return rows


def between_zones(provider: str, near: str = "", far: str = "", cls: str = "cross_zone") -> Quote:
    region = {"aws": "us-east-1", "gcp": "us-central1", "azure": "eastus"}[provider]
    found = BOOK.quote(Traffic(cls, provider, region, provider, region, near, far), TODAY)
    assert isinstance(found, Quote), found
    return found


@pytest.mark.parametrize(
    ("first", "size", "form"),
    [
        ("a GiB between two zones of a region, by private addresses", GIB, ".2g"),
        ("1,500 bytes from zone a to zone b", 1500, ".4g"),
    ],
)
def test_the_figures_are_those_of_the_lists(first: str, size: int, form: str) -> None:
    rows = table(first)
    assert rows.keys() == NAMES.keys()
    for name, cells in rows.items():
        found = between_zones(NAMES[name])
        prices = found.sender, found.receiver, found.both
        assert cells == [f"{price * size:{form}} USD" for price in prices]


def test_the_reasons_are_those_of_the_book() -> None:
    assert tuple(name.strip("`") for name in table("reason")) == REASONS


def test_the_price_classes_are_those_of_the_lists() -> None:
    listed = {rule.price_class for one in BOOK.lists for rule in one.rules} - {""}
    listed |= {FREE_CLASS, INTERNET_CLASS}
    rows = table("`price`")
    assert {name.strip("`") for name in rows} == listed
    for name, (_, *cells) in rows.items():
        for provider, cell in zip(("aws", "gcp", "azure"), cells, strict=True):
            asked = Traffic("cross_zone", provider, "r", provider, "r", "", name.strip("`"))
            found = BOOK.quote(asked, TODAY)
            if isinstance(found, Unpriced):
                assert not cell
            elif not found.sender:
                assert cell == "free"
            elif cell != "as between zones" and "as between" not in cell:
                assert f"{found.sender * GIB:.2g} at" in cell


def test_the_list_of_the_page_can_be_loaded() -> None:
    [example] = re.findall(r"```yaml\n# prices.yaml\n(.*?)```", PAGE, re.DOTALL)
    found = parse_list("prices.yaml", example, [aws.PRICES])
    assert (found.provider, found.discount, found.shown_currency) == ("aws", 0.1, "EUR")
    assert (found.valid_from, found.valid_until) == (date(2026, 1, 1), date(2027, 1, 1))
    assert len(found.rules) == 5 + len(aws.PRICES.rules)
    book = PriceBook([found])
    sent = Traffic("cross_zone", "aws", "r", "aws", "r", "", "managed-database")
    quote = book.quote(sent, date(2026, 5, 1))
    assert isinstance(quote, Quote)
    assert quote.sender == pytest.approx(0.01 / GIB * 0.9 * 0.92, rel=1e-12)
    assert (quote.receiver, quote.currency) == (0, "EUR")


def test_the_list_in_the_modules_own_words_can_be_loaded() -> None:
    assert file.__doc__ is not None
    indented = file.__doc__.partition("::\n")[2].partition("\nWith ``extends``")[0]
    text = "\n".join(line[4:] for line in indented.splitlines())
    found = parse_list("prices.yaml", text, [aws.PRICES])
    assert found.name == "ours"
    assert len(found.rules) == 3 + len(aws.PRICES.rules)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("read at the provider", ["0.01 at each end", "GovCloud", "Elastic IPv4", "per GiB"]),
        (
            "read elsewhere, not at the provider",
            [
                "IPv6",
                "transit gateways",
                "PrivateLink",
                "Client VPN",
                "ALB",
                "ElastiCache",
                "newer",
            ],
        ),
        ("commonly known, looked up nowhere", ["RDS", "VNet peering", "between regions"]),
        ("unknown", ["10^9 or 2^30", "header bytes", "China", "Oracle", "Alibaba", "unpriced"]),
    ],
)
def test_what_is_not_sure_is_said_to_be(how: str, words: list[str]) -> None:
    [row] = [line for line in PAGE.splitlines() if line.startswith(f"| {how} |")]
    assert [word for word in words if word not in row] == []
