"""What is pressed once a screen is there is not lost; what is drawn later moves nothing."""

import re
from typing import Any

import pytest
from page_world import Show, World
from playwright.sync_api import expect

WHEN_INSERTED = """
new MutationObserver((_, watch) => {
  if (!document.querySelector(%r)) return;
  watch.disconnect();
  %s
}).observe(document, {childList: true, subtree: true});
"""
"""Runs as a microtask of the insertion: before a frame, a timer and other tasks."""
PRESS = "document.body.dispatchEvent(new KeyboardEvent('keydown', {key: %r, bubbles: true}));"
MOVE = "history.replaceState(null, '', %r); dispatchEvent(new HashChangeEvent('hashchange'));"

COUNT_ADDRESSES = """
window.addresses = [];
const replace = history.replaceState;
history.replaceState = function (...all) {
  window.addresses.push(all[2]);
  return replace.apply(this, all);
};
"""
SHIFTS = """
window.shifts = [];
let since = Infinity;
new MutationObserver((_, watch) => {
  if (!document.querySelector(".workloads tbody tr")) return;
  watch.disconnect();
  requestAnimationFrame(() => setTimeout(() => (since = performance.now()), 0));
}).observe(document, {childList: true, subtree: true});
new PerformanceObserver((list) => {
  for (const one of list.getEntries())
    if (one.startTime > since)
      window.shifts.push(one.sources.map(
        ({node, previousRect: a, currentRect: b}) =>
          `${(node?.outerHTML ?? "").slice(0, 80)}: ${a.x} ${a.y} -> ${b.x} ${b.y}`
      ));
}).observe({type: "layout-shift", buffered: true});
"""
"""What moved, by three pixels at least, after the first frame with numbers."""


@pytest.fixture
def world() -> World:
    return World.of(pairs=60)


@pytest.mark.parametrize("address", ["#/", "#/advice", "#/nodes", "#/pairs"])
def test_a_filter_is_found_by_its_key_at_once(show: Show, world: World, address: str) -> None:
    tab = show(world, address, first=WHEN_INSERTED % ("input.filter", PRESS % "/"))
    expect(tab.locator("input.filter").first).to_be_focused()


def test_a_panel_closes_at_once(show: Show, world: World) -> None:
    tab = show(world)
    tab.evaluate(WHEN_INSERTED % (".panel", PRESS % "Escape"))
    tab.locator(".workloads tbody a").first.click()
    expect(tab).to_have_url(re.compile(r"#/$"))
    expect(tab.locator(".panel")).to_have_count(0)


def test_another_address_is_followed_at_once(show: Show, world: World) -> None:
    tab = show(world, first=WHEN_INSERTED % ("#page .top", MOVE % "#/nodes"))
    expect(tab.locator("h2", has_text="Not attributed")).to_be_visible()


def test_what_follows_a_choice_keeps_it(show: Show, world: World) -> None:
    """A letter in the filter before the browser has told of the new address."""
    tab = show(world)
    expect(tab.locator(".matrix .cell").first).to_be_visible()
    tab.evaluate(
        """async () => {
          document.querySelectorAll(".matrix .cell")[1].click();
          await Promise.resolve().then(() => undefined);
          const field = document.querySelector("input.filter");
          field.value = "shop";
          field.dispatchEvent(new InputEvent("input", {bubbles: true}));
        }"""
    )
    expect(tab).to_have_url(re.compile(r"cell=.*q=shop"))


def _stop_clock(tab: Any) -> None:
    """From now on typing pauses, and the page asks again, only when the test says so."""
    expect(tab.locator(".workloads tbody tr").first).to_be_visible()
    tab.clock.pause_at(tab.evaluate("Date.now()") / 1000 + 3)


def test_the_address_follows_when_typing_pauses(show: Show, world: World) -> None:
    """Once: a browser asks for the page's icon at each change, and allows few of them a second."""
    tab = show(world, first=COUNT_ADDRESSES, own_clock=True)
    _stop_clock(tab)
    tab.locator("input.filter").press_sequentially("shop")
    expect(tab.locator(".workloads tbody tr th").first).to_contain_text("shop")
    assert tab.evaluate("window.addresses") == []
    tab.clock.run_for(300)
    expect(tab).to_have_url(re.compile(r"\?q=shop$"))
    assert tab.evaluate("window.addresses") == ["#/?q=shop"]


def test_what_follows_typing_at_once_keeps_the_filter(show: Show, world: World) -> None:
    tab = show(world, own_clock=True)
    _stop_clock(tab)
    tab.locator("input.filter").fill("shop")
    row = tab.locator(".workloads tbody a").first
    expect(tab.locator(".workloads tbody tr th").first).to_contain_text("shop")
    expect(tab).to_have_url(re.compile(r"#?/?$"))
    row.click()
    expect(tab).to_have_url(re.compile(r"q=shop&w=shop%2F"))
    expect(tab.locator(".panel")).to_be_visible()
    tab.go_back()
    expect(tab).to_have_url(re.compile(r"\?q=shop$"))
    expect(tab.locator("input.filter")).to_have_value("shop")


def test_the_way_back_is_not_undone_by_what_was_typed(show: Show, world: World) -> None:
    tab = show(world, "#/nodes", own_clock=True)
    expect(tab.locator("h2", has_text="Not attributed")).to_be_visible()
    tab.get_by_role("link", name="Overview").click()
    _stop_clock(tab)
    tab.locator("input.filter").fill("shop")
    tab.evaluate("history.back()")
    expect(tab.locator("h2", has_text="Not attributed")).to_be_visible()
    tab.clock.run_for(2000)
    expect(tab).to_have_url(re.compile("#/nodes$"))


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("names", [20, 300])
def test_what_is_drawn_later_moves_nothing(show: Show, width: int, names: int) -> None:
    """The first frame has the numbers; curves, and rows below it, come after."""
    workloads = [f"ns-{i % 7}/app-{i:03}-{'x' * (i % 23)}" for i in range(names)]
    zones = tuple(f"eu-{i:02}" for i in range(3 if names < 100 else 14))
    world = World.of(workloads=workloads, zones=zones, pairs=4 * names, crossings=2)
    tab = show(world, "#/?rows=all", width=width, first=SHIFTS)
    expect(tab.locator(".spark .line").first).to_be_attached()
    expect(tab.locator(".chart .tick").first).to_be_attached()
    found = world.traffic(
        {
            "by": ["cause_namespace,cause_workload_kind,cause_workload"],
            "where": ["class:cross_zone"],
            "limit": ["500"],
        }
    )
    expect(tab.locator(".workloads tbody tr")).to_have_count(len(found["rows"]))
    expect(tab.locator(".matrix tbody tr")).to_have_count(len(zones) + 1)
    expect(tab.locator(".spark .line")).to_have_count(len(found["rows"]))
    tab.wait_for_load_state("networkidle")
    assert tab.evaluate("window.shifts") == []
