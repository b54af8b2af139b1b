"""The page as a terminal of eighty columns shows it."""

import io
import re
from dataclasses import replace

import pytest
from readings import STATUS, look, two_looks, with_costs
from rich.console import Console

from kzn.top.history import Amount, History, MonthlyCost, SortKey
from kzn.top.reading import Pair, Reading, Workload, ZonePair
from kzn.top.screen import Size, page
from kzn.top.text import human, month, short_zones, sparkline
from kzn.top.trends import Trends
from kzn.top.view import View

URL = "http://kzn:8080"
BY_RATE = View()


def shown(
    history: History,
    height: int | None = None,
    note: str = "",
    width: int = 80,
    view: View = BY_RATE,
    trends: Trends | None = None,
) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=60)
    console.print(page(history, view, Size(width, height), URL, note, trends))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    return [line.rstrip() for line in text.splitlines()]


def test_a_page_of_rates() -> None:
    assert shown(two_looks(), width=100) == [
        "kzn 1.0 at http://kzn:8080  3 agents, 3 nodes  seen 4.0 MB, unresolved 1 %, missed 0 %",
        "across zones 200 kB/s, 25 % of all",
        "by rate; rates over 10 s; totals since the server began",
        "",
        "from zone / to         a         b    (none)",
        "a               600 kB/s  200 kB/s         ·",
        "b                      ·         ·  2.0 kB/s",
        "",
        "Across zones: 2 workloads",
        "workload   kind           sent/s    sent  received/s  received  crosses  last 10 s",
        "shop/cart  Deployment   200 kB/s  3.0 MB           -       0 B     25 %                ▇",
        "shop/db    StatefulSet     0 B/s     0 B    200 kB/s    3.0 MB        -                ▁",
        "",
        "Across zones: 1 pairs",
        "from       zone  to       zone      rate   bytes",
        "shop/cart  a     shop/db  b     200 kB/s  3.0 MB",
    ]


@pytest.mark.parametrize("width", [60, 70, 80, 100, 140])
def test_a_page_is_never_wider_than_the_terminal_and_keeps_what_matters(width: int) -> None:
    """Names of workloads, their rates and costs stay; totals, kinds and shares go."""
    lines = shown(with_costs(), 24, width=width)
    assert len(lines) <= 24
    assert all(len(line) <= width for line in lines)
    text = "\n".join(lines)
    assert "shop/cart" in text
    assert "sent/s" in text
    assert "USD/month" in text
    assert "18,250" in text
    assert ("received/s" in text) == (width >= 70)
    assert ("Deployment" in text) == (width >= 100)
    assert lines[-1].endswith("q quit")


def test_zones_whose_matrix_does_not_fit_are_a_list_of_pairs() -> None:
    names = [f"europe-west-{n}" for n in range(9)]
    zones = {
        ZonePair(a, b, "same_zone" if a == b else "cross_zone"): 10 * i + j
        for i, a in enumerate(names)
        for j, b in enumerate(names)
    }
    history = History(60)
    history.add(replace(look(0, 1), zones=zones))
    lines = shown(history, 40, width=60)
    assert "from zone      to zone        66 pairs more" in lines
    assert "europe-west-8  europe-west-7           87 B" in lines
    assert sum("europe-west-" in line for line in lines) == 6
    assert "from zone / to" in "\n".join(shown(history, 40, width=200))


def many() -> History:
    history = History(60)
    workloads = {Workload("ns", "Deployment", f"w{n:03}"): {"sent": 200 - n} for n in range(200)}
    history.add(replace(look(0, 1), workloads=workloads))
    return history


def test_the_list_scrolls_with_the_cursor() -> None:
    last = Workload("ns", "Deployment", "w199")
    lines = shown(many(), 24, view=View(selected=last))
    assert any(line.startswith("ns/w199") for line in lines)
    assert not any(line.startswith("ns/w000") for line in lines)
    assert any(line.startswith("ns/w000") for line in shown(many(), 24))


def test_a_filter_leaves_workloads_and_pairs_that_match_and_says_so() -> None:
    lines = shown(many(), 40, view=View(filter="W01"))
    assert "Across zones: 200 workloads, 10 match 'W01'" in lines
    assert sum(line.startswith("ns/w01") for line in lines) == 10
    assert "Across zones: 1 pairs, 0 match" not in lines
    assert "filter: W01█  (Enter keeps it, Escape removes it)" in shown(
        many(), 40, view=View(filter="W01", editing=True)
    )


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("height", [16, 24, 40])
@pytest.mark.parametrize(
    ("sort", "filter_", "note"),
    [
        ("cost", "", ""),
        ("rate", "a-name-as-long-as-a-terminal-is-wide-" * 3, ""),
        ("rate", "", "https://kzn.example/prefix: Connection refused; trying again, " * 2),
    ],
)
def test_the_keys_stay_on_the_last_line_beside_long_texts(
    width: int, height: int, sort: SortKey, filter_: str, note: str
) -> None:
    history = with_costs()
    history.add(replace(history.last, cut=1_234_567))
    view = View(sort, filter=filter_, editing=bool(filter_))
    lines = shown(history, height, note, width, view)
    assert len(lines) <= height
    assert lines[-1].startswith("filter: a-name" if filter_ else ("Enter open", "up/down"))


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_star_is_explained_where_there_is_one(width: int) -> None:
    text = "\n".join(shown(with_costs(), 24, width=width))
    assert (" *\n" in text, "* some unpriced" in text) == (True, True)


def test_minutes_of_the_servers_history_are_in_place_of_own_readings() -> None:
    cart = Workload("shop", "Deployment", "cart")
    trends = Trends(60.0, (10, 20, 40, 80), {cart: (0, 40, 80, 80)})
    lines = shown(two_looks(), 24, width=100, trends=trends)
    assert "across zones 200 kB/s, 25 % of all  ▁▂▄▇ 4 min" in lines
    [row] = [line for line in lines if line.startswith("shop/cart  D")]
    assert row.endswith("           ▁▄▇▇")
    [db] = [line for line in lines if line.startswith("shop/db")]
    assert db.endswith("           ▁▁▁▁")


def test_costs_stand_beside_bytes_with_their_currency_and_the_date_of_the_prices() -> None:
    text = "\n".join(shown(with_costs(), width=120))
    assert "aws prices of 2026-07-01, USD" in text
    narrow = "\n".join(shown(with_costs(), width=60))
    assert "; aws prices of 2026-07-01, USD" in narrow
    assert "  18,250 USD a month" in text
    assert "USD/month" in text
    assert re.search(r"^shop/cart .* 18,250$", text, re.MULTILINE)
    assert "free here (aws) *" in text


@pytest.mark.parametrize(
    ("number", "saving", "text"),
    [
        (3, {"USD": 8760.0}, "3 proposals: 8,760 USD a month (kzn advise)"),
        (1, {"USD": 5.0, "EUR": 2.5}, "1 proposal: 5.00 USD + 2.50 EUR a month (kzn advise)"),
        (2, {}, "2 proposals (kzn advise)"),
        (0, {}, ""),
        (None, {}, ""),
    ],
)
def test_the_number_of_proposals_and_their_saving_are_there_if_there_is_room(
    number: int | None, saving: dict[str, float], text: str
) -> None:
    history = two_looks()
    status = replace(STATUS, proposals=number, saving_per_month=saving)
    history.add(replace(look(20, 4000), status=status))
    line = shown(history, width=140)[1]
    assert ("proposal" in line) == bool(text)
    assert text in line
    narrow = shown(history, width=60)
    assert all(len(one) <= 60 for one in narrow)
    assert ("proposal" in narrow[1]) == (number == 2)


def test_short_names_of_zones_stay_different() -> None:
    assert short_zones(["zone-a", "zone-b", ""]) == {"zone-a": "a", "zone-b": "b", "": ""}
    assert short_zones(["eu-west-1a", "eu-west-1b"]) == {
        "eu-west-1a": "1a",
        "eu-west-1b": "1b",
        "": "",
    }
    assert short_zones(["a", "ab"]) == {"a": "a", "ab": "ab", "": ""}
    assert short_zones(["only"]) == {"only": "only", "": ""}


def test_a_sparkline_shows_the_last_values_against_their_largest() -> None:
    assert sparkline([5, 0, 1, 4, 8], 4).plain == "▁▁▄▇"
    assert sparkline([0, 0], 3).plain == " ▁▁"
    assert sparkline([], 3).plain == "   "


@pytest.mark.parametrize(
    ("cost", "text"),
    [
        (None, "-"),
        (MonthlyCost({}, {}, True), "unpriced"),
        (MonthlyCost({"USD": 0.0}, {"USD": 0.0}, False), "free"),
        (MonthlyCost({"USD": 0.0}, {"USD": 1.0}, False), "0.00 USD"),
        (
            MonthlyCost({"USD": 12.345, "EUR": 0.001}, {"USD": 1.0}, True),
            "12.35 USD + 0.001 EUR *",
        ),
        (MonthlyCost(None, {"USD": 1.5}, False), "1.50 USD so far"),
    ],
)
def test_a_cost_says_free_or_unpriced_rather_than_0(cost: MonthlyCost | None, text: str) -> None:
    assert month(Amount(1, 1.0, cost)) == text


def test_a_title_that_names_the_currency_saves_it_in_each_row() -> None:
    amount = Amount(1, 1.0, MonthlyCost({"USD": 12.345}, {"USD": 1.0}, False))
    assert month(amount, currency="USD") == "12.35"


def test_what_went_wrong_is_on_the_page_with_the_last_numbers() -> None:
    lines = shown(two_looks(), note="http://kzn:8080: Connection refused; trying again")
    assert lines[2] == "http://kzn:8080: Connection refused; trying again"
    assert "shop/cart  a     shop/db  b     200 kB/s  3.0 MB" in lines


@pytest.mark.parametrize("height", [20, 24, 36])
def test_the_page_fits_the_terminal(height: int) -> None:
    many = {Workload("ns", "Deployment", f"w{n:03}"): {"sent": n} for n in range(200)}
    pairs = {Pair("ns", f"w{n:03}", "a", "ns", "db", "b"): n for n in range(200)}
    history = History(60)
    history.add(Reading(0, STATUS, {ZonePair("a", "b", "cross_zone"): 1}, many, pairs))
    assert len(shown(history, height)) == height


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
