"""Costs of past traffic: both ends, the prices of their time, and what has none."""

import asyncio
import datetime as dt
from dataclasses import replace

import pytest
from hypothesis import given
from questions import ENDS, FLOWS, T0, VERDICTS, settled

from kzn.history.memory import answer
from kzn.history.query import Answer, TrafficQuery
from kzn.pricing.book import PriceBook
from kzn.pricing.declaration import PriceList, Rule
from kzn.pricing.table import Place
from kzn.server.http.past_places import Entry, PastEnd, PastPlaces
from kzn.server.http.traffic_costs import Cost, costs_of, rest

DAY = dt.date(2026, 1, 1)
CHANGE = dt.datetime.fromtimestamp(T0, dt.UTC).date()
LIST = PriceList(
    name="aws",
    provider="aws",
    currency="USD",
    valid_from=DAY,
    source="a test",
    date=DAY,
    gb_bytes=1,
    rules=(Rule("cross_zone", 2.0, 3.0), Rule("same_zone")),
)
PLACES = [Place("aws", "r", "a"), Place("aws", "r", "b")]
DATABASE = Entry(PastEnd("r", "b", "Static", "", "db"), "managed-database")
CROSSING: list[tuple[int, ...]] = [
    (0, 0, 1, 443, 6, 1, 1, 700),
    (1, 1, 0, 443, 6, 0, 2, 30),
    (1, 0, 1, 1, 6, 2, 0, 5),
]


def costs(
    flows: list[tuple[int, ...]],
    query: TrafficQuery,
    book: PriceBook,
    places: list[Place] | None = None,
    entries: list[Entry] | None = None,
) -> tuple[Answer, dict[tuple[str | int, ...], Cost], Cost]:
    rows = settled(flows)

    async def ask(asked: TrafficQuery) -> Answer:
        return answer(asked, rows, ENDS, VERDICTS, T0 - 7200)

    found = answer(query, rows, ENDS, VERDICTS, T0 - 7200)
    priced = asyncio.run(costs_of(found, ask, book, PastPlaces(places or PLACES, entries or ())))
    return found, *priced


def usd(sender: float, receiver: float, unpriced: int = 0) -> Cost:
    return Cost({"USD": sender}, {"USD": receiver}, unpriced)


def test_both_ends_pay_and_what_has_no_price_is_said() -> None:
    query = TrafficQuery(T0, T0 + 300, ("src_zone",))
    _, rows, total = costs(CROSSING, query, PriceBook([LIST]))
    assert rows[("a",)] == usd(2 * 700.0, 3 * 700.0, unpriced=5)
    assert rows[("b",)] == usd(0.0, 0.0)
    assert total == usd(2 * 700.0, 3 * 700.0, unpriced=5)


def test_each_byte_has_the_price_of_its_day() -> None:
    midnight = int(dt.datetime.combine(CHANGE, dt.time(), dt.UTC).timestamp())
    first = replace(LIST, valid_until=CHANGE)
    then = replace(LIST, valid_from=CHANGE, rules=(Rule("cross_zone", 10.0, 0.0),))
    minutes = (midnight - T0) // 60
    flows: list[tuple[int, ...]] = [
        (minutes - 1, 0, 1, 443, 6, 1, 1, 7),
        (minutes, 0, 1, 443, 6, 1, 1, 100),
    ]
    query = TrafficQuery(midnight - 120, midnight + 120, ("port",))
    _, rows, total = costs(flows, query, PriceBook([first, then]))
    assert rows == {(443,): usd(7 * 2.0 + 100 * 10.0, 7 * 3.0)}
    assert total == usd(1014.0, 21.0)


def test_with_a_list_for_each_day_no_byte_has_the_price_of_another_day() -> None:
    midnight = int(dt.datetime.combine(CHANGE, dt.time(), dt.UTC).timestamp())
    lists = [
        replace(LIST, valid_from=day, rules=(Rule("cross_zone", 1.0 + number, 0.0),))
        for number in range(70)
        for day in (CHANGE + dt.timedelta(days=number),)
    ]
    minutes = (midnight - T0) // 60
    flows: list[tuple[int, ...]] = [
        (minutes + 1440 * number, 0, 1, 443, 6, 1, 1, 100) for number in range(70)
    ]

    def ask(days: int) -> Cost:
        query = TrafficQuery(midnight, midnight + days * 86_400, ("port",))
        _, rows, total = costs(flows, query, PriceBook(lists))
        assert rows == {(443,): total}
        return total

    assert ask(30) == usd(100 * sum(range(1, 31)), 0.0)
    assert ask(60) == usd(100 * sum(range(1, 61)), 0.0)
    assert ask(70) == usd(100 * sum(range(1, 61)), 0.0, unpriced=1000)


def test_without_a_list_nothing_has_a_price() -> None:
    query = TrafficQuery(T0, T0 + 300, ("src_zone",))
    _, rows, total = costs(CROSSING, query, PriceBook([]))
    assert total == Cost(unpriced=735)
    assert rows[("a",)] == Cost(unpriced=705)


def test_an_entry_has_its_price_class() -> None:
    rule = Rule("cross_zone", 0.5, 0.5, price_class="managed-database")
    book = PriceBook([replace(LIST, rules=(*LIST.rules, rule))])
    query = TrafficQuery(T0, T0 + 300, ("src_zone",))
    _, _, total = costs(CROSSING, query, book, entries=[DATABASE])
    assert total == usd(1400.0, 2100.0, unpriced=5)  # no end is the entry
    found = PastPlaces(PLACES, [DATABASE]).of(DATABASE.end)
    assert found == Place("aws", "r", "b", "managed-database")
    assert PastPlaces(PLACES, [DATABASE]).of(DATABASE.end._replace(kind="Pod")).price_class == ""


def test_a_query_with_all_its_dimensions_is_priced_too() -> None:
    by = ("src_pod", "dst_pod", "src_node", "dst_node", "port", "protocol", "src_zone", "dst_zone")
    ends = (PastEnd("r", "b", "Pod", name, "web") for name in ("bank", "shop"))
    bank, shop = (Entry(end, "peering") for end in ends)
    found, rows, total = costs(
        CROSSING, TrafficQuery(T0, T0 + 300, by), PriceBook([LIST]), entries=[DATABASE]
    )
    assert len(rows) == len(found.rows) == 3
    assert total == usd(1400.0, 2100.0, unpriced=5)
    query, book = TrafficQuery(T0, T0 + 300, by), PriceBook([LIST])
    _, _, total = costs(CROSSING, query, book, entries=[DATABASE, bank])
    assert total == usd(1400.0, 2100.0, unpriced=5)
    _, _, total = costs(CROSSING, query, book, entries=[DATABASE, shop])
    assert total == Cost(unpriced=735)  # no rule is for peering


def test_a_zone_of_two_providers_has_no_price() -> None:
    query = TrafficQuery(T0, T0 + 300, ("src_zone",))
    for other, price in (("aws", Cost({"USD": 1400.0}, {"USD": 2100.0}, 5)), ("gcp", None)):
        _, _, total = costs(CROSSING, query, PriceBook([LIST]), [*PLACES, Place(other, "r", "b")])
        assert total == (price or Cost(unpriced=735))
    _, _, total = costs(CROSSING, query, PriceBook([LIST]), [*PLACES, Place("gcp", "q", "b")])
    assert total == usd(1400.0, 2100.0, unpriced=5)  # a zone of that name in another region


@given(FLOWS)
def test_priced_and_unpriced_are_all_bytes_and_rows_and_rest_the_total(
    flows: list[tuple[int, ...]],
) -> None:
    query = TrafficQuery(T0 - 7200, T0 + 7200, ("src_namespace", "dst_workload"), limit=2)
    one = PriceBook([replace(LIST, rules=tuple(Rule(c, 1.0) for c in ("same_zone", "cross_zone")))])
    found, rows, total = costs(flows, query, one)
    for row in found.rows:
        cost = rows[row.values]
        assert cost.both.get("USD", 0.0) + cost.unpriced == pytest.approx(row.measure.bytes)
    left = rest(total, rows.values())
    assert left.unpriced + sum(row.unpriced for row in rows.values()) == total.unpriced
    assert total.both.get("USD", 0.0) + total.unpriced == pytest.approx(found.total.bytes)
