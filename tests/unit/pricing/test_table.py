"""kzn/pricing/table.py, and kzn/client/prices.py: what applies between the places of a cluster."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import product

import pytest

from kzn.client.prices import MAX_PLACES, PriceTable, price_table
from kzn.pricing import aws, gcp
from kzn.pricing.book import PriceBook
from kzn.pricing.declaration import Conversion
from kzn.pricing.table import OUTSIDE_PLACE, Place, Row, rows
from kzn.pricing.traffic import Quote, Unpriced

BOOK = PriceBook([aws.PRICES, gcp.PRICES])
AT = datetime(2026, 11, 26, 12, tzinfo=UTC)
A, B = Place("aws", "us-east-1", "a"), Place("aws", "us-east-1", "b")
FAR = Place("aws", "eu-west-1", "a")
DATABASE = Place("", "us-east-1", "b", "managed-database", "orders")


def found(*places: Place) -> dict[tuple[Place, Place], Row]:
    return {(row.src, row.dst): row for row in rows(BOOK, places, AT)}


def test_each_place_is_compared_with_each_and_with_the_outside() -> None:
    table = found(A, B, FAR, A)
    inside = set(product((A, B, FAR), repeat=2))
    outside = {(one, OUTSIDE_PLACE) for one in (A, B, FAR)}
    assert table.keys() == inside | outside | {(dst, src) for src, dst in outside}
    assert {ends: row.cls for ends, row in table.items() if ends[0] == A} == {
        (A, A): "same_zone",
        (A, B): "cross_zone",
        (A, FAR): "cross_region",
        (A, OUTSIDE_PLACE): "external",
    }
    answer = table[A, B].answer
    assert isinstance(answer, Quote)
    assert answer.sender == answer.receiver == 0.01 / (1 << 30)


def test_an_entry_with_a_price_class_is_compared_with_zones_alone() -> None:
    other = replace(DATABASE, name="users")
    table = found(A, DATABASE, other)
    assert (DATABASE, other) not in table
    assert (DATABASE, OUTSIDE_PLACE) not in table
    to, back = table[A, DATABASE].answer, table[DATABASE, A].answer
    assert isinstance(to, Quote)
    assert isinstance(back, Quote)
    assert (to.sender > 0, to.receiver) == (True, 0)
    assert (back.sender, back.receiver > 0) == (0, True)


@pytest.mark.parametrize(
    ("src", "dst", "cls"),
    [
        (A, Place("aws", "", "b"), ""),
        (Place("aws", "", "a"), Place("aws", "", "b"), "cross_zone"),
        (A, Place("aws", "", "a"), "same_zone"),
        (A, Place("", "", "", "free", "bucket"), "external"),
        (A, Place("", "eu-west-1", "", "free", "bucket"), "cross_region"),
    ],
)
def test_the_class_is_that_of_the_resolver(src: Place, dst: Place, cls: str) -> None:
    row = found(src, dst).get((src, dst))
    assert (row.cls if row else "") == cls


def test_nodes_of_two_providers_are_unpriced() -> None:
    answer = found(A, Place("gcp", "us-east1", "us-east1-b"))
    reasons = {row.answer.reason for row in answer.values() if isinstance(row.answer, Unpriced)}
    assert "providers_differ" in reasons


def test_the_answer_of_the_api_reads_as_it_was_made() -> None:
    euro = replace(aws.PRICES, conversion=Conversion("EUR", 0.5), valid_until=date(2030, 1, 1))
    table = price_table(PriceBook([euro]), [A, B, FAR, DATABASE, Place("kind", "r", "z")], AT)
    assert PriceTable.from_json(json.loads(json.dumps(table.to_json()))) == table
    [used] = table.lists
    assert (used.currency, used.list_currency, used.rate) == ("EUR", "USD", 0.5)
    assert (used.valid_until, used.gb_bytes, table.time) == (
        "2030-01-01",
        1 << 30,
        "2026-11-26T12:00:00Z",
    )
    assert {price.unpriced for price in table.prices if price.src_provider == "kind"} >= {"no_list"}


def test_without_prices_the_answer_says_so() -> None:
    table = price_table(None, [A], AT)
    assert (table.is_off, table.places, table.lists, table.prices) == (True, 1, (), ())
    assert PriceTable.from_json(table.to_json()) == table


def test_the_number_of_places_is_bounded() -> None:
    places = [Place("aws", "r", f"z{n:04}") for n in range(MAX_PLACES + 5)]
    table = price_table(BOOK, places, AT)
    assert table.places == MAX_PLACES + 5
    assert len(table.prices) == MAX_PLACES**2 + 2 * MAX_PLACES


@pytest.mark.parametrize("broken", [{}, {"prices": [{}]}, {"prices": [{"sender": "much"}]}, []])
def test_another_answer_is_an_error_that_the_client_expects(broken: object) -> None:
    with pytest.raises((KeyError, TypeError, ValueError, AttributeError)):
        PriceTable.from_json(broken)
