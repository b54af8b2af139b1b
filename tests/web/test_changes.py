"""What changed in a day, and budgets of the month, below the workloads."""

import re
from typing import Any
from urllib.parse import quote

from page_answers import ROLLOUTS, rollout
from page_world import NOW, Show, World
from playwright.sync_api import expect

BUDGET = {
    "name": "shop",
    "amount": 500.0,
    "currency": "USD",
    "where": {"cause_namespace": ["shop"]},
    "at": NOW,
    "used": 600.0,
    "used_ratio": 1.2,
    "forecast": 700.0,
    "forecast_ratio": 1.4,
    "unpriced_bytes": 0,
    "complete": True,
    "reason": "",
}
UNKNOWN = BUDGET | {
    "name": "euro",
    "currency": "EUR",
    "used": None,
    "used_ratio": None,
    "forecast_ratio": None,
    "reason": "no traffic is priced in EUR",
}


def card(tab: Any, title: str) -> Any:
    return tab.locator(".card", has=tab.get_by_role("heading", name=title, exact=True))


def test_movers_are_the_answers_largest_changes(show: Show) -> None:
    world = World.of(pairs=60)
    tab = show(world, "")
    rows = card(tab, "What changed").locator("tbody tr")
    expect(rows.first).to_be_visible()
    answer = world.traffic(
        {
            "since": ["24h"],
            "by": ["cause_namespace,cause_workload_kind,cause_workload"],
            "where": ["class:cross_zone", "class:cross_region"],
            "limit": ["2000"],
            "compare": ["previous"],
        }
    )
    most = max(answer["rows"], key=lambda row: abs(row["bytes"] - row["before"]))
    name = f"{most['cause_namespace']}/{most['cause_workload']}"
    expect(rows.first.locator("a")).to_have_text(name)
    rows.first.locator("a").click()
    expect(tab).to_have_url(re.compile(f"w={quote(name, safe='')}"))


def test_rollouts_of_the_day_are_beside_the_movers_and_the_others_below(show: Show) -> None:
    world = World.of(pairs=60)
    tab = show(world, "")
    first = card(tab, "What changed").locator("tbody tr").first
    mover = first.locator("a").inner_text()
    kind = "Deployment"
    rows = [
        rollout(mover, kind, "images", "image web:1 → web:<b>2</b>", NOW - 3600),
        rollout(mover, kind, "replicaset", "new ReplicaSet web-5d8f", NOW - 3601),
        rollout(mover, "StatefulSet", "replicas", "replicas 1 → 9", NOW - 3700),
        rollout("shop/cart", "Service", "service", "trafficDistribution unset → Local", NOW - 9),
        *(rollout(f"x/w{number}", kind, "created", "created", NOW - 9000) for number in range(9)),
    ]
    note = "before 2026-11-18T10:40:00Z, when a server began to watch, only creations are known"
    world.overrides["rollouts"] = lambda _query: (
        200,
        ROLLOUTS | {"rollouts": rows, "of": len(rows) + 5, "notes": [note]},
    )
    tab = show(world, "")
    shown = card(tab, "What changed")
    expect(shown.locator("tbody tr").first.locator(".rollout")).to_have_text(
        ["image web:1 → web:<b>2</b>", "new ReplicaSet web-5d8f"]
    )
    others = shown.locator(".rollouts")
    expect(others.locator("li")).to_have_count(6)
    expect(others.locator("li").first).to_contain_text(f"{mover} StatefulSet replicas 1 → 9")
    expect(others.locator("li").nth(1)).to_contain_text("shop/cart")
    expect(others).to_contain_text("and 10 more")
    expect(others).to_contain_text(f"Rollouts: {note}.")
    others.locator("li a").nth(1).click()
    expect(tab).to_have_url(re.compile("#/advice"))


def test_a_server_without_rollouts_shows_the_movers_alone(show: Show) -> None:
    world = World.of(pairs=60)
    world.overrides["rollouts"] = lambda _query: (404, {"error": "no such page"})
    shown = card(show(world, "", expect_errors=True), "What changed")
    expect(shown.locator("tbody tr").first).to_be_visible()
    expect(shown.locator("thead th")).to_have_count(4)
    expect(shown.locator(".rollouts")).to_have_count(0)


def test_without_a_day_of_history_before_nothing_is_said_to_have_changed(show: Show) -> None:
    world = World.of(pairs=20)
    world.ranges = ("1h",)
    tab = show(world, "")
    expect(card(tab, "Workloads that cause it")).to_be_visible()
    expect(card(tab, "What changed")).to_have_count(0)
    expect(card(tab, "Budgets of the month")).to_have_count(0)


def test_budgets_have_what_is_used_and_why_that_is_not_known(show: Show) -> None:
    world = World.of(pairs=20)
    world.overrides["budgets"] = lambda _query: (200, {"budgets": [BUDGET, UNKNOWN]})
    rows = card(show(world, ""), "Budgets of the month").locator("tbody tr")
    expect(rows).to_have_count(2)
    for text in ("$500", "$600", "120 %", "140 %", "exceeded"):
        expect(rows.nth(0)).to_contain_text(text)
    expect(rows.nth(1)).to_contain_text("no traffic is priced in EUR")
