"""Advice: what to change, beside the workload that it concerns too."""

import re
from typing import Any

import pytest
from page_answers import ADVICE, advice_of
from page_world import Show, World
from playwright.sync_api import expect

TITLES = [one["title"] for one in ADVICE["proposals"]]


@pytest.fixture
def world() -> World:
    """Advice filtered by workload as the server does."""
    world = World.of(pairs=60)

    def advice(query: Any) -> tuple[int, Any]:
        wanted = query.get("workload", [""])[0]
        found = [one for one in ADVICE["proposals"] if wanted in ("", one["service"])]
        return 200, advice_of(found) if wanted else ADVICE

    world.overrides["advice"] = advice
    return world


def test_the_list_has_savings_in_order_and_what_to_leave_apart(show: Show, world: World) -> None:
    tab = show(world, "#/advice")
    cards = tab.locator(".card")
    expect(cards.nth(0).locator("summary .what b")).to_have_text(TITLES[:2])
    expect(cards.nth(0).locator("summary .number b")).to_have_text(["$8,760", "$40.00"])
    expect(cards.nth(0).locator(".facts b").first).to_have_text("$8,800")
    expect(cards.nth(1).locator("summary .what b")).to_have_text(TITLES[2:])
    expect(cards.nth(1).locator("summary .number b")).to_contain_text(["it saves nothing"])
    expect(tab.locator("main")).to_contain_text("volumes is not known: no right to list")
    expect(tab.locator("main")).to_contain_text("of which 100.0 hours have data")


def test_a_proposal_opens_with_the_keyboard_and_its_link_opens_it(show: Show, world: World) -> None:
    tab = show(world, "#/advice")
    tab.locator("summary").first.focus()
    tab.keyboard.press("Enter")
    expect(tab).to_have_url(re.compile("open=same-zone%3Acrm%2Fmailer"))
    tab.reload()
    detail = tab.locator("details[open] .detail")
    expect(detail).to_have_count(1)
    expect(detail.locator("pre").first).to_have_text(
        ADVICE["proposals"][0]["change"]["commands"][0]
    )
    expect(detail.locator("tbody tr").first).to_contain_text("50 %")
    expect(detail.locator("tbody tr").first).to_contain_text("1.00 → 1.50")
    expect(detail.locator("tbody tr").last).to_contain_text("no endpoint is here → 0.60")
    expect(detail).to_contain_text("$0.02 for a GiB from a to b (aws of 2026-07-01)")
    detail.get_by_role("button", name="copy").first.click()
    expect(detail.get_by_role("status").first).to_have_text("copied")
    detail.get_by_role("link", name="crm/mailer").click()
    expect(tab.locator("h1")).to_contain_text("mailer")
    tab.go_back()
    expect(tab.locator("details[open]")).to_have_count(1)


def test_a_workload_has_its_own_advice(show: Show, world: World) -> None:
    tab = show(world, "#/w/crm/mailer?kind=Deployment")
    expect(tab.locator("summary .what b")).to_have_text(TITLES[:1])
    assert any("advice?since=24h&workload=crm%2Fmailer" in path for path in world.requests)


def test_the_panel_leads_to_the_proposal(show: Show, world: World) -> None:
    tab = show(world, "#/?w=crm%2Fmailer")
    hint = tab.locator(".panel .hints a")
    expect(hint).to_have_text(TITLES[0])
    expect(tab.locator(".panel .hints")).to_contain_text("$8,760")
    hint.click()
    expect(tab.locator("details[open] summary")).to_contain_text(TITLES[0])


def test_without_prices_a_saving_is_in_bytes(show: Show, world: World) -> None:
    first = ADVICE["proposals"][0] | {"saving_per_month": {}}
    plain = advice_of([first]) | {"saving_per_month": {}}
    world.overrides["advice"] = lambda _query: (200, plain)
    tab = show(world, "#/advice")
    expect(tab.locator("summary .number b")).to_have_text("470 TB")
    expect(tab.locator(".facts b").first).to_have_text("472 TB")


def test_no_advice_says_so(show: Show, world: World) -> None:
    world.overrides["advice"] = lambda _query: (200, advice_of([]))
    tab = show(world, "#/advice")
    expect(tab.locator("main")).to_contain_text("None of 2 rules has a proposal here")
    expect(tab.locator("details")).to_have_count(0)


def test_a_filter_finds_rules_services_and_workloads(show: Show, world: World) -> None:
    tab = show(world, "#/advice")
    expect(tab.locator("input.filter")).to_be_visible()
    tab.keyboard.press("/")
    tab.keyboard.type("cart")
    expect(tab.locator("summary .what b")).to_have_text(TITLES[1:2])
    tab.keyboard.press("Control+A")
    tab.keyboard.type("nowhere")
    expect(tab.locator("main")).to_contain_text('No proposal has "nowhere" in it')


def test_a_span_by_name_is_asked_for_and_one_of_ones_own_is_not(show: Show, world: World) -> None:
    tab = show(world, "#/advice?range=24h")
    expect(tab.locator("summary").first).to_be_visible()
    assert any("advice?since=24h" in path for path in world.requests)
    tab.goto(tab.url.split("#")[0] + "#/advice?from=1794990000&to=1794993600")
    expect(tab.locator("main")).to_contain_text("not at a span of one's own")
