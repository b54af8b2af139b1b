"""A cell of a table has a value, or says why it has none."""

from contextlib import suppress

import pytest
from page_world import Show, World
from playwright.sync_api import TimeoutError as TooLong
from playwright.sync_api import expect

BLANK = """() => [...document.querySelectorAll('td')]
  .filter((cell) => ['', '\\u2013', '-', '\\u2026'].includes(
    [...cell.querySelectorAll('.hidden')].reduce(
      (text, one) => text.replace(one.textContent, ''), cell.textContent).trim()))
  .filter((cell) => !cell.title && !cell.querySelector('svg, [title], [aria-label]'))
  .map((cell) => `${cell.closest('tr').textContent}: column ${cell.cellIndex}`)"""
SHORT = """() => [...document.querySelectorAll('table')].flatMap((table) => {
  const width = (row) => [...row.cells].reduce((sum, cell) => sum + cell.colSpan, 0);
  return [...table.rows].filter((row) => width(row) !== width(table.rows[0]))
    .map((row) => row.textContent);
})"""
SCREENS = {
    "overview": "#/",
    "overview-hour": "#/?range=1h",
    "panel": "#/?w=data/postgres&kind=StatefulSet",
    "workload": "#/w/data/postgres",
    "pairs": "#/pairs",
    "pairs-ports": "#/pairs?split=port&scope=all",
    "pairs-zones": "#/pairs?src=zone&dst=zone&split=initiator",
    "nodes": "#/nodes",
    "explain": "#/explain?src=10.1.1.1&dst=10.2.0.7",
    "prices": "#/prices",
    "advice": "#/advice?open=same-zone%3Ashop%2Fcart",
}
WORKLOADS = [f"n{i % 7}/w{i}" for i in range(700)]


PLAIN = {"explain", "prices", "advice", "nodes"}
"""What no flow changes."""
CASES = [
    (world, screen)
    for world in ("full", "large", "young")
    for screen in SCREENS
    if world == "full" or screen not in PLAIN
]


@pytest.mark.parametrize(("world", "screen"), [*CASES, ("young", "prices")])
def test_no_cell_is_blank(show: Show, screen: str, world: str) -> None:
    made = (
        World.of(workloads=WORKLOADS, pairs=1500, crossings=3) if world == "large" else World.of()
    )
    if world == "young":
        made.prices = False
        made.labels = [
            row | {"src_pod": "", "src_node": "", "initiator": ""} for row in made.labels
        ]
    plain = made.traffic
    if world == "large":
        # Rows are cut off, so that there are others.
        made.overrides["traffic"] = lambda query: (
            200,
            plain({**query, "limit": [str(min(100, int(query["limit"][0])))]}),
        )
    tab = show(made, SCREENS[screen], expect_errors=world == "young")
    expect(tab.locator("main table:visible, main .nothing:visible").first).to_be_visible()
    expect(tab.get_by_text("asking the server …")).to_have_count(0)
    if world == "large" and screen in {"overview", "pairs", "pairs-ports"}:
        expect(tab.locator("tr.other").first).to_contain_text("others")
    with suppress(TooLong):  # parts that come when the page is idle
        tab.wait_for_function(f"() => ({BLANK})().length === 0")
    assert tab.evaluate(BLANK) == []
    assert tab.evaluate(SHORT) == []
