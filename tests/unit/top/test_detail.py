"""The page of one workload."""

import io
from dataclasses import replace

import pytest
from readings import look, two_looks, with_costs
from rich.console import Console

from kzn.top.detail import detail_page
from kzn.top.history import History
from kzn.top.reading import Workload
from kzn.top.screen import Size
from kzn.top.trends import Peer, Trends
from kzn.top.view import View

CART = Workload("shop", "Deployment", "cart")
DB = Workload("shop", "StatefulSet", "db")
SIZE = Size(80, 24)
PEERS = [
    (Peer("shop", "cart", "a", "shop", "db", "b", "5432", "source"), 3_000_000),
    (Peer("shop", "db", "b", "shop", "cart", "a", "5432", "destination"), 2_000_000),
]


def shown(
    history: History,
    name: Workload = CART,
    size: Size = SIZE,
    trends: Trends | None = None,
    peers: list[tuple[Peer, int]] | None = None,
) -> list[str]:
    console = Console(file=io.StringIO(), width=size.width, height=60)
    console.print(detail_page(history, name, View(), size, "", trends, peers))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    return [line.rstrip() for line in text.splitlines()]


def test_the_page_of_a_workload() -> None:
    trends = Trends(60.0, (10, 20), {CART: (600_000, 1_200_000)})
    lines = shown(two_looks(), trends=trends, peers=PEERS)
    assert [line for line in lines if line] == [
        "shop/cart  Deployment",
        "                      rate   bytes",
        "to other zones    200 kB/s  3.0 MB",
        "to its own zones  600 kB/s  9.0 MB",
        "to other zones  ▄▇  last 2 min, at most 20.0 kB/s",
        "Across zones, 1 pairs now",
        "from       zone  to       zone      rate   bytes",
        "shop/cart  a     shop/db  b     200 kB/s  3.0 MB",
        "Who opened the connections, last 15 min, 2 rows",
        "from       to         port  zones  opened by   bytes",
        "shop/cart  shop/db    5432  a > b  sender     3.0 MB",
        "shop/db    shop/cart  5432  b > a  receiver   2.0 MB",
        "Escape back  r t c n sort  ? help  q quit",
    ]


def test_in_a_narrow_terminal_the_port_goes_and_words_stay_whole() -> None:
    name = "nightly-report-of-all-shops"
    peers = [(peer._replace(src=name, dst=name), size) for peer, size in PEERS]
    lines = shown(two_looks(), size=Size(60, 24), peers=peers)
    head = next(i for i, line in enumerate(lines) if "opened by" in line)
    assert lines[head].split() == ["from", "to", "zones", "opened", "by", "bytes"]
    assert lines[head + 1].split()[-6:] == ["a", ">", "b", "sender", "3.0", "MB"]
    assert lines[head + 2].split()[-6:] == ["b", ">", "a", "receiver", "2.0", "MB"]


def test_both_ends_of_a_pair_have_it_on_their_page() -> None:
    [row] = [line for line in shown(two_looks(), DB) if line.startswith("shop/cart")]
    assert row == "shop/cart  a     shop/db  b     200 kB/s  3.0 MB"
    assert not any(
        line.startswith("shop/cart") for line in shown(two_looks(), Workload("x", "Job", "db"))
    )


def test_pairs_of_two_kinds_of_one_name_say_so() -> None:
    history = two_looks()
    job = Workload("shop", "Job", "cart")
    history.add(replace(look(20, 4000), workloads={CART: {"sent": 1}, job: {"sent": 1}}))
    assert "Across zones, 1 pairs now, of all kinds of this name" in shown(history)
    assert "Across zones, 1 pairs now" in shown(two_looks())


def test_its_cost_is_in_the_title() -> None:
    assert shown(with_costs())[0] == "shop/cart  Deployment  18,250 USD a month, its side"


def test_without_minutes_the_page_says_so() -> None:
    assert any("the server keeps none" in line for line in shown(two_looks()))


@pytest.mark.parametrize("height", [18, 20, 24, 50])
@pytest.mark.parametrize("width", [60, 120])
def test_the_page_fits_the_terminal(width: int, height: int) -> None:
    lines = shown(two_looks(), size=Size(width, height), peers=PEERS * 30)
    assert len(lines) <= height
    assert all(len(line) <= width for line in lines)
    assert lines[-1].endswith("q quit")
