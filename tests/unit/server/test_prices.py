"""kzn/server/prices.py: which lists are used, and files that change."""

import asyncio
import os
from datetime import date
from pathlib import Path

import pytest

from kzn.errors import UsageError
from kzn.pricing import aws, gcp
from kzn.pricing.traffic import Quote, Traffic
from kzn.server.prices import PriceReads, Prices, PriceSources, parse_sources

BETWEEN = Traffic("cross_zone", "aws", "r", "aws", "r")
LISTS = [aws.PRICES, gcp.PRICES]


def ours(sender: str) -> str:
    return (
        f"extends: aws\nvalid_from: 2020-01-01\nrules:\n"
        f"- {{class: cross_zone, sender: {sender}, receiver: 0}}\n"
    )


def sender(prices: Prices, traffic: Traffic = BETWEEN) -> float:
    assert prices.book is not None
    found = prices.book.quote(traffic, date(2026, 11, 1))
    assert isinstance(found, Quote), found
    return round(found.sender * (1 << 30), 9)


@pytest.mark.parametrize(
    ("text", "sources"),
    [
        ("auto", PriceSources()),
        ("off", PriceSources(shipped=False)),
        ("a.yaml", PriceSources(shipped=False, files=(Path("a.yaml"),))),
        ("a.yaml,auto,b.yaml", PriceSources(files=(Path("a.yaml"), Path("b.yaml")))),
    ],
)
def test_the_option_names_lists(text: str, sources: PriceSources) -> None:
    assert parse_sources(text) == sources


@pytest.mark.parametrize("text", ["", "a.yaml,", "a.yaml, ", "off,a.yaml", "auto,off", "auto, off"])
def test_an_option_that_contradicts_itself_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--prices"):
        parse_sources(text)


def test_without_files_the_installed_lists_are_used(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    assert sender(Prices(PriceSources(), LISTS)) == 0.01
    assert sender(Prices(PriceSources())) == 0.01
    assert "aws (aws, 2026-07-01)" in caplog.text
    assert Prices(PriceSources(shipped=False), LISTS).book is None


def test_a_file_goes_before_the_installed_list_of_its_provider(tmp_path: Path) -> None:
    path = tmp_path / "ours.yaml"
    path.write_text(ours("0.007"))
    both = Prices(parse_sources(f"auto, {path}"), LISTS)
    alone = Prices(parse_sources(str(path)), LISTS)
    elsewhere = Traffic("cross_zone", "gcp", "r", "gcp", "r")
    assert sender(both) == sender(alone) == 0.007
    assert sender(both, elsewhere) == 0.01
    assert alone.book is not None
    assert not isinstance(alone.book.quote(elsewhere, date(2026, 11, 1)), Quote)


def test_a_changed_file_is_another_book_and_a_mistake_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "ours.yaml"
    path.write_text(ours("0.007"))
    prices = Prices(parse_sources(str(path)), LISTS)
    first = prices.book
    asyncio.run(prices.look())
    assert prices.book is first
    assert prices.reads() == PriceReads(loaded=1)

    path.write_text(ours("0.0085"))
    asyncio.run(prices.look())
    second = prices.book
    assert second is not first
    assert sender(prices) == 0.0085

    path.write_text(ours("cheap"))
    asyncio.run(prices.look())
    asyncio.run(prices.look())
    assert prices.book is second
    assert prices.reads() == PriceReads(loaded=2, failed=1, is_outdated=True)
    assert f"{path}:4" in caplog.text

    path.write_text(ours("0.0085") + "# as before\n")
    asyncio.run(prices.look())
    assert prices.book is second
    assert prices.reads() == PriceReads(loaded=3, failed=1)


def test_a_file_that_is_deleted_leaves_its_prices_in_use(tmp_path: Path) -> None:
    path = tmp_path / "ours.yaml"
    path.write_text(ours("0.007"))
    prices = Prices(parse_sources(str(path)), LISTS)
    path.unlink()
    asyncio.run(prices.look())
    assert sender(prices) == 0.007
    assert prices.reads().is_outdated


def test_an_update_of_a_config_map_is_seen(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    for name, price in (("1", "0.007"), ("2", "0.008")):
        (tmp_path / name / "ours.yaml").write_text(ours(price))
        os.utime(tmp_path / name / "ours.yaml", (0, 0))
    (tmp_path / "data").symlink_to("1")
    path = tmp_path / "ours.yaml"
    path.symlink_to("data/ours.yaml")
    prices = Prices(parse_sources(str(path)), LISTS)
    (tmp_path / "new").symlink_to("2")
    (tmp_path / "new").rename(tmp_path / "data")
    asyncio.run(prices.look())
    assert sender(prices) == 0.008


def test_a_file_that_is_replaced_by_rename_is_seen_and_one_that_vanished_comes_back(
    tmp_path: Path,
) -> None:
    path, other = tmp_path / "ours.yaml", tmp_path / "new"
    path.write_text(ours("0.007"))
    os.utime(path, (0, 0))
    prices = Prices(parse_sources(str(path)), LISTS)
    other.write_text(ours("0.008"))  # of the same size and time
    os.utime(other, (0, 0))
    other.rename(path)
    asyncio.run(prices.look())
    assert sender(prices) == 0.008
    path.unlink()
    asyncio.run(prices.look())
    assert (sender(prices), prices.reads().is_outdated) == (0.008, True)
    path.write_text(ours("0.009"))
    asyncio.run(prices.look())
    assert (sender(prices), prices.reads().is_outdated) == (0.009, False)


def test_of_several_files_one_with_a_mistake_leaves_all_as_they_were(tmp_path: Path) -> None:
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    one.write_text(ours("0.007"))
    two.write_text(ours("0.008").replace("aws", "gcp"))
    prices = Prices(parse_sources(f"{one},{two}"), LISTS)
    elsewhere = Traffic("cross_zone", "gcp", "r", "gcp", "r")
    assert (sender(prices), sender(prices, elsewhere)) == (0.007, 0.008)
    one.write_text(ours("0.001"))
    two.write_text("provider: gcp\nrules: [\n")
    asyncio.run(prices.look())
    assert (sender(prices), sender(prices, elsewhere)) == (0.007, 0.008)
    two.write_text(ours("0.002").replace("aws", "gcp"))
    asyncio.run(prices.look())
    assert (sender(prices), sender(prices, elsewhere)) == (0.001, 0.002)
