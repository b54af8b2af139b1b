"""Where the ends of past traffic are: zones by name, and static entries with a price class."""

import datetime as dt

import pytest

from kzn.pricing.aws import PRICES
from kzn.pricing.book import PriceBook
from kzn.pricing.places import AMBIGUOUS, Places, price_between
from kzn.pricing.table import Place
from kzn.pricing.traffic import Quote, Unpriced

DAY = dt.date(2026, 11, 1)
DB = Place("", "us-east-1", "b", "managed-database", "db")
PLACES = Places([Place("aws", "us-east-1", "a"), Place("aws", "us-east-1", "b"), DB])
BOOK = PriceBook([PRICES])


def test_an_entry_is_known_by_its_name_and_every_other_end_by_its_zone() -> None:
    assert PLACES.has_entries
    assert PLACES.of("b", "Static", "db") == DB
    assert PLACES.of("b", "Pod", "db") == PLACES.of("b", "Static", "x")
    assert PLACES.of("b", "Pod", "db").price_class == ""
    assert PLACES.of("z", "Pod", "db") == Place("", "", "")


def test_a_zone_of_two_regions_and_entries_added_up_are_ambiguous() -> None:
    places = Places([Place("aws", "q", "b"), Place("aws", "r", "b"), DB])
    assert places.of("b", "Pod", "web") == places.of("a", "Static", "other") == AMBIGUOUS
    found = price_between("same_zone", AMBIGUOUS, DB, BOOK, DAY)
    assert isinstance(found, Unpriced)


@pytest.mark.parametrize(("kind", "both"), [("Static", 0.01), ("Pod", 0.02)])
def test_a_price_is_that_of_the_entrys_class(kind: str, both: float) -> None:
    ends = PLACES.of("a", "Pod", "web"), PLACES.of("b", kind, "db")
    found = price_between("cross_zone", *ends, BOOK, DAY)
    assert isinstance(found, Quote)
    assert found.both * (1 << 30) == pytest.approx(both)
    assert isinstance(price_between("unresolved", *ends, BOOK, DAY), Unpriced)
