"""The page as a terminal of eighty columns shows it."""

import io
from collections import Counter
from dataclasses import replace

import pytest
from rich.console import Console
from smallserver import status

from kzn.client.api import PriceListRow
from kzn.top.history import Amount, History, MonthlyCost
from kzn.top.reading import Cost, Pair, Reading, Workload, ZonePair
from kzn.top.screen import human, month, page

STATUS = status(agents=3, batches=9, seen=4_000_000, unresolved=40_000)
URL = "http://kzn:8080"


def look(at: float, scale: int) -> Reading:
    cart, db = Workload("shop", "Deployment", "cart"), Workload("shop", "StatefulSet", "db")
    return Reading(
        at,
        STATUS,
        {
            ZonePair("a", "a", "same_zone"): 3000 * scale,
            ZonePair("a", "b", "cross_zone"): 1000 * scale,
            ZonePair("b", "", "external"): 10 * scale,
        },
        {
            cart: {"sent": 1000 * scale, "egress_same_zone": 3000 * scale},
            db: {"sent": 0, "received": 1000 * scale},
        },
        {Pair("shop", "cart", "a", "shop", "db", "b"): 1000 * scale},
    )


def shown(
    history: History, height: int | None = None, note: str = "", width: int = 80
) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=60)
    console.print(page(history, "rate", height, URL, note))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    return [line.rstrip() for line in text.splitlines()]


def two_looks() -> History:
    history = History(60)
    history.add(look(0, 1000))
    history.add(look(10, 3000))
    return history


def test_a_page_of_rates() -> None:
    assert shown(two_looks()) == [
        "kzn 1.0 at http://kzn:8080  3 agents, 3 nodes  seen 4.0 MB, unresolved 1 %, mis…",
        "by rate; rates over 10 s; totals since the server began",
        "",
        "from zone / to         a         b    (none)",
        "a               600 kB/s  200 kB/s         ·",
        "b                      ·         ·  2.0 kB/s",
        "",
        "Across zones: 2 workloads",
        "workload   kind           sent/s    sent  received/s  received  crosses",
        "shop/cart  Deployment   200 kB/s  3.0 MB           -       0 B     25 %",
        "shop/db    StatefulSet     0 B/s     0 B    200 kB/s    3.0 MB        -",
        "",
        "Across zones: 1 pairs",
        "from       zone  to       zone      rate   bytes",
        "shop/cart  a     shop/db  b     200 kB/s  3.0 MB",
    ]


def test_costs_stand_beside_bytes_with_their_currency_and_the_date_of_the_prices() -> None:
    prices = (PriceListRow("aws", "aws", "USD", "2022-04-01", "2026-07-01"),)
    history = History(60)
    pair, cart = (
        Pair("shop", "cart", "a", "shop", "db", "b"),
        Workload("shop", "Deployment", "cart"),
    )
    for at, cost in ((0, 0.0), (36, 0.25)):
        money = Cost(Counter({"USD": cost}))
        free = Cost(Counter({"USD": 0.0}), 5)
        history.add(
            replace(
                look(at, 1000 + at),
                status=replace(STATUS, prices=prices),
                pair_costs={pair: free},
                workload_costs={cart: money},
            )
        )
    text = "\n".join(shown(history, width=120))
    assert "aws prices of 2026-07-01, USD" in text
    assert "18,250 USD" in text
    assert "free here (aws) + unpriced" in text


@pytest.mark.parametrize(
    ("cost", "text"),
    [
        (None, "-"),
        (MonthlyCost({}, {}, True), "unpriced"),
        (MonthlyCost({"USD": 0.0}, {"USD": 0.0}, False), "free"),
        (MonthlyCost({"USD": 0.0}, {"USD": 1.0}, False), "0.00 USD"),
        (
            MonthlyCost({"USD": 12.345, "EUR": 0.001}, {"USD": 1.0}, True),
            "12.35 USD + 0.001 EUR + unpriced",
        ),
        (MonthlyCost(None, {"USD": 1.5}, False), "1.50 USD so far"),
    ],
)
def test_a_cost_says_free_or_unpriced_rather_than_0(cost: MonthlyCost | None, text: str) -> None:
    assert month(Amount(1, 1.0, cost)) == text


def test_what_went_wrong_is_on_the_page_with_the_last_numbers() -> None:
    lines = shown(two_looks(), note="http://kzn:8080: Connection refused; trying again")
    assert lines[1] == "http://kzn:8080: Connection refused; trying again"
    assert "shop/cart  a     shop/db  b     200 kB/s  3.0 MB" in lines


@pytest.mark.parametrize("height", [20, 24, 36])
def test_the_page_fits_the_terminal(height: int) -> None:
    many = {Workload("ns", "Deployment", f"w{n:03}"): {"sent": n} for n in range(200)}
    pairs = {Pair("ns", f"w{n:03}", "a", "ns", "db", "b"): n for n in range(200)}
    history = History(60)
    history.add(Reading(0, STATUS, {ZonePair("a", "b", "cross_zone"): 1}, many, pairs))
    assert len(shown(history, height)) <= height


def test_markup_in_names_is_shown_as_it_is() -> None:
    odd = Pair("ns", "[red]x", "a", "ns", "[/]", "b")
    history = History(60)
    history.add(Reading(0, STATUS, {ZonePair("[b]", "b", "cross_zone"): 1}, {}, {odd: 1}))
    text = "\n".join(shown(history))
    assert "ns/[red]x" in text
    assert "ns/[/]" in text
    assert "[b]" in text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (99_940, "99.9 kB"),
        (99_960, "100 kB"),
        (999_499, "999 kB"),
        (999_501, "1.0 MB"),
        (5e12, "5.0 TB"),
        (2.5e21, "2500 EB"),
    ],
)
def test_numbers_have_three_figures_and_a_unit(count: float, text: str) -> None:
    assert human(count) == text
