"""docs/advice.md: a row for each rule, whose arithmetic on the page's example the code has."""

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from advice_examples import CART, CARTS, EVEN, EXAMPLES, TWO, WEB
from advice_world import (
    BOTH,
    CLUSTER,
    GIB,
    of_rule,
    party,
    rules,
    service,
    talk,
    workload,
    world,
)
from manifests import ROOT

from kzn.advisor.world import World

PAGE = (ROOT / "docs" / "advice.md").read_text()
ROWS = {
    cells[0].strip("` "): cells
    for line in PAGE.partition("\n## The rules\n")[2].partition("\n## ")[0].splitlines()
    if line.startswith("| `")
    for cells in [[cell.strip() for cell in line.strip("|").split(" | ")]]
}
HOURS = 730
DB = party("data/db", "StatefulSet")


def gib(**sizes: int) -> dict[tuple[str, str], int]:
    """By zones of client and server: ``ab=3``."""
    return {(name[0], name[1]): size * GIB for name, size in sizes.items()}


def spread() -> World:
    sizes = gib(ca=150, cb=150, aa=150, ab=150, ba=150, bb=150)
    cart = service("shop/cart", CART, {"a": 2, "b": 2})
    return world(talk(WEB, CART, sizes), [cart], [replace(CARTS, pods={"a": 2, "b": 2})])


def node_port() -> World:
    flows = talk(party("n1", "Node"), CART, dict.fromkeys(EVEN, 10 * GIB))
    return world(flows, [service("shop/cart", CART, TWO, type="NodePort")], [CARTS])


def volume() -> World:
    server = workload(DB, {"b": 2}, has_claims=True, volume_zones=("b",))
    clients = workload(WEB, {"a": 1, "b": 1, "c": 1})
    return world(talk(WEB, DB, gib(ab=300, bb=300, cb=300)), workloads=[server, clients])


def batch() -> World:
    job = party("shop/report", "Job")
    return world(talk(job, DB, gib(ab=600)) + talk(job, CART, gib(aa=200, ac=100)))


def apart() -> World:
    pods = workload(WEB, {"a": 2}), workload(CART, {"b": 2})
    return world(talk(WEB, CART, gib(ab=900)), workloads=pods)


def kafka() -> World:
    brokers = party("data/kafka", "StatefulSet")
    sizes = {("a", "b"): (50 * GIB, 550 * GIB), ("a", "a"): (GIB, 299 * GIB)}
    one = service("data/kafka", brokers, TWO, 9092, is_headless=True)
    return world(talk(WEB, brokers, sizes, 9092), [one], [workload(brokers, TWO)])


def reads() -> World:
    return world(talk(WEB, DB, {("a", "b"): (100 * GIB, 500 * GIB)}, 5432))


def no_effect() -> World:
    cart = service("shop/cart", CART, TWO, hints=True, distribution="PreferClose")
    cluster = replace(CLUSTER, proxy="cilium", cilium={})
    return world(talk(WEB, CART, EVEN), [cart], [CARTS], cluster)


MADE: dict[str, tuple[Callable[[], World], int]] = {
    **{
        rule: (EXAMPLES[rule], 600)
        for rule in ("same-zone", "same-node", "dns", "hints-annotation", "unlabelled-node")
    },
    "no-effect": (no_effect, 600),
    "spread-first": (spread, 600),
    "node-port": (node_port, 60),
    "single-zone-volume": (volume, 600),
    "batch": (batch, 400),
    "apart": (apart, 900),
    "kafka-consumers": (kafka, 550),
    "database-reads": (reads, 500),
    "proxy-chain": (EXAMPLES["proxy-chain"], 1200),
    "replication": (EXAMPLES["replication"], 0),
}
"""Each rule's example, and how many GiB of an hour it saves by the page."""


def test_every_rule_has_a_row_with_signature_arithmetic_risks_and_silence() -> None:
    assert ROWS.keys() == {rule.name for rule in rules()}
    assert all(len(cells) == 5 for cells in ROWS.values())
    empty = {name for name, cells in ROWS.items() if not all(cells[1:3]) or not cells[4]}
    assert empty == set()


@pytest.mark.parametrize("rule", MADE)
def test_the_arithmetic_of_a_row_is_what_the_rule_says(rule: str) -> None:
    made, saved = MADE[rule]
    (one,) = of_rule(made(), rule)
    assert one.saved_bytes == pytest.approx(saved * GIB)
    dollars = [float(text.replace(",", "")) for text in re.findall(r"([\d,]+) USD", ROWS[rule][2])]
    assert dollars in ([], [pytest.approx(saved * GIB * BOTH * HOURS)])
    if saved:
        assert one.saving_per_month == {"USD": pytest.approx(saved * GIB * BOTH * HOURS)}
    numbers = [int(text) for text in re.findall(r"(?<![\d,])(\d{2,4})(?![\d,])", ROWS[rule][2])]
    assert saved in numbers or not numbers or saved == 2 * 600


def test_the_example_of_the_page_is_that_of_its_first_rule() -> None:
    assert "730 = 8,760 USD a month" in PAGE
    assert pytest.approx(8760) == 600 * GIB * BOTH * HOURS
