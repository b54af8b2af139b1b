"""The screens show the API's numbers, and lead from one to the next."""

import re
from pathlib import Path
from typing import Any

import pytest
from page_world import PAGE_TESTS, FakeServer, Show, World
from playwright.sync_api import expect

SCREENS = {
    "overview": "#/",
    "panel": "#/?w=crm%2Fmailer",
    "flow": "#/?view=flow",
    "workload": "#/w/crm/mailer",
    "pairs": "#/pairs?split=port",
    "nodes": "#/nodes",
    "explain": "#/explain?src=10.1.1.1&dst=10.200.0.1",
    "prices": "#/prices",
}


def _size(bytes_: int) -> str:
    value, unit = float(bytes_), 0
    while value >= 999.5:
        value, unit = value / 1000, unit + 1
    digits = 0 if unit == 0 or value >= 99.95 else 1 if value >= 9.995 else 2
    return f"{value:.{digits}f} {['B', 'kB', 'MB', 'GB', 'TB', 'PB'][unit]}"


@pytest.fixture(scope="module")
def world() -> World:
    return World.of(pairs=60)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", SCREENS)
def test_axe_finds_nothing_serious(show: Show, world: World, screen: str, scheme: str) -> None:
    tab = show(world, SCREENS[screen], scheme=scheme, bypass_csp=True)
    expect(tab.locator("main .card").first).to_be_visible()
    expect(tab.get_by_text("asking the server")).to_have_count(0)
    tab.add_script_tag(path=str(PAGE_TESTS / "node_modules/axe-core/axe.min.js"))
    found = tab.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    serious = [
        (
            one["id"],
            [node["target"] for node in one["nodes"]][:3],
            one["nodes"][0]["failureSummary"],
        )
        for one in found
        if one["impact"] in {"serious", "critical"}
    ]
    assert serious == []


@pytest.mark.parametrize("width", [390, 820, 1440])
@pytest.mark.parametrize("screen", SCREENS)
def test_no_screen_is_wider_than_the_window(
    show: Show, world: World, screen: str, width: int
) -> None:
    tab = show(world, SCREENS[screen], width=width)
    expect(tab.locator("main .card").first).to_be_visible()
    assert tab.evaluate("document.documentElement.scrollWidth") <= width


def _crossing(world: World, **query: str) -> dict[str, Any]:
    wanted = {name: [value] for name, value in query.items()}
    where = ["class:cross_zone", "class:cross_region", *wanted.pop("where", [])]
    return world.traffic({"since": ["24h"], "where": where} | wanted)


def test_the_numbers_of_the_overview_are_those_of_the_api(show: Show, world: World) -> None:
    tab = show(world)
    found = _crossing(world, by="cause_namespace,cause_workload", limit="500")
    expect(tab.locator(".tiles b").first).to_have_text(_size(found["total"]["bytes"]))
    rows = tab.locator(".workloads tbody tr")
    expect(rows).to_have_count(15)
    for i, row in enumerate(found["rows"][:15]):
        expect(rows.nth(i)).to_contain_text(row["cause_workload"])
        expect(rows.nth(i).locator("b")).to_have_text(_size(row["bytes"]))
    zones = world.traffic({"since": ["24h"], "by": ["src_zone,dst_zone"], "limit": ["99"]})
    cells = {(row["src_zone"], row["dst_zone"]): row["bytes"] for row in zones["rows"]}
    shown = tab.locator(".matrix .cell b").all_inner_texts()
    assert shown == [_size(cells[a, b]) for a, b in sorted(cells)]


def test_all_rows_and_the_rest_add_up(show: Show, world: World) -> None:
    tab = show(world)
    found = _crossing(world, by="cause_namespace,cause_workload", limit="500")
    left = found["rows"][15:]
    more = tab.locator(".more")
    expect(more).to_have_text(f"{len(left)} more ({_size(sum(row['bytes'] for row in left))})")
    more.click()
    expect(tab.locator(".workloads tbody tr")).to_have_count(len(found["rows"]))


def test_the_first_minute(show: Show, world: World) -> None:
    """From / to the largest cause, with whom, and the link, in four clicks; back works."""
    tab = show(world)
    top = _crossing(world, by="cause_namespace,cause_workload", limit="500")["rows"][0]
    tab.locator(".workloads tbody a").first.click()
    panel = tab.locator(".panel")
    expect(panel.locator("h2")).to_have_text(top["cause_workload"])
    expect(panel.locator(".facts b").first).to_have_text(_size(top["bytes"]))
    expect(panel.locator(".peers tbody tr").first).to_be_visible()
    panel.get_by_text("pods and ports").click()
    expect(tab.locator("h1")).to_contain_text(top["cause_workload"])
    expect(tab.get_by_text("5432/tcp").first).to_be_visible()
    tab.go_back()
    expect(panel).to_be_visible()
    tab.go_back()
    expect(panel).to_have_count(0)
    tab.go_forward()
    expect(panel).to_be_visible()


def test_a_cell_filters_chart_table_and_sums(show: Show, world: World) -> None:
    tab = show(world)
    tab.locator(".matrix .cell").nth(1).click()
    expect(tab).to_have_url(re.compile("cell="))
    zones = ["src_zone:eu-west-1a", "dst_zone:eu-west-1b"]
    found = world.traffic(
        {
            "since": ["24h"],
            "by": ["cause_namespace,cause_workload"],
            "limit": ["500"],
            "where": ["class:cross_zone", "class:cross_region", *zones],
        }
    )
    expect(tab.locator(".tiles b").first).to_have_text(_size(found["total"]["bytes"]))
    expect(tab.locator(".workloads tbody tr b").first).to_have_text(
        _size(found["rows"][0]["bytes"])
    )
    tab.locator(".matrix .cell").nth(1).click()
    expect(tab).not_to_have_url(re.compile("cell="))


def test_keys_alone(show: Show, world: World) -> None:
    tab = show(world)
    expect(tab.locator(".workloads tbody tr")).to_have_count(15)
    entries = tab.evaluate("history.length")
    tab.keyboard.press("/")
    tab.keyboard.type("shop")
    expect(tab.locator(".workloads tbody .soft").first).to_have_text("shop")
    assert tab.evaluate("history.length") == entries  # typing is not five entries
    tab.keyboard.press("Escape")
    expect(tab.locator(".workloads tbody tr")).to_have_count(15)
    tab.locator(".workloads tbody a").first.focus()
    tab.keyboard.press("Enter")
    expect(tab.locator(".panel")).to_be_visible()
    tab.keyboard.press("Escape")
    expect(tab.locator(".panel")).to_have_count(0)


def test_drag_zooms(show: Show, world: World) -> None:
    tab = show(world)
    box = tab.locator(".chart svg").bounding_box()
    middle = box["y"] + box["height"] / 2
    tab.mouse.move(box["x"] + box["width"] * 0.4, middle)
    tab.mouse.down()
    tab.mouse.move(box["x"] + box["width"] * 0.6, middle, steps=4)
    expect(tab.locator(".tip")).to_be_visible()
    tab.mouse.up()
    expect(tab).to_have_url(re.compile(r"from=\d+&to=\d+"))
    expect(tab.get_by_role("button", name="custom…")).to_have_attribute("aria-pressed", "true")


def test_a_chart_can_be_read_as_a_table(show: Show, world: World) -> None:
    tab = show(world)
    tab.get_by_text("show as table").click()
    expect(tab.locator(".chart tbody tr")).to_have_count(144)
    tab.get_by_text("show as chart").click()
    expect(tab.locator(".chart svg")).to_be_visible()


def test_theme_and_time_zone_are_remembered(show: Show, world: World) -> None:
    tab = show(world)
    tab.get_by_role("button", name="theme: auto").click()
    tab.get_by_role("button", name="theme: light").click()
    tab.get_by_role("button", name="local").click()
    tab.reload()
    expect(tab.locator("html")).to_have_attribute("data-theme", "dark")
    expect(tab.get_by_role("button", name="local")).to_have_attribute("aria-pressed", "true")


def test_copies_say_so(show: Show, world: World) -> None:
    tab = show(world)
    tab.get_by_role("button", name="PromQL").click()
    expect(tab.locator(".workloads [role=status]", has_text="copied")).to_have_count(1)


def test_pairs_group_each_end_by_itself(show: Show, world: World) -> None:
    tab = show(world, "#/pairs?src=zone&dst=namespace")
    found = _crossing(world, by="src_zone,dst_namespace", limit="500")
    rows = tab.locator("tbody tr")
    expect(rows.first).to_contain_text(found["rows"][0]["dst_namespace"])
    expect(rows.first.locator("b")).to_have_text(_size(found["rows"][0]["bytes"]))
    expect(rows.last.locator("b")).to_have_text(_size(found["total"]["bytes"]))


def test_it_works_below_a_path(show: Show, world: World) -> None:
    tab = show(world, prefix="/clusters/a/kzn")
    expect(tab.locator(".workloads tbody tr")).to_have_count(15)
    assert all(path.startswith("/clusters/a/kzn/") for path in world.requests[-9:])


def test_nothing_is_asked_of_other_hosts(browser: Any) -> None:
    with FakeServer(World.of()) as server:
        tab = browser.new_page()
        asked: list[str] = []
        tab.on("request", lambda it: asked.append(it.url))
        tab.goto(server.url)
        expect(tab.locator(".workloads tbody tr").first).to_be_visible()
        assert {url.startswith((server.url, "data:")) for url in asked} == {True}
        tab.close()


def test_print_has_no_controls(show: Show, world: World) -> None:
    tab = show(world)
    expect(tab.locator(".workloads tbody tr").first).to_be_visible()
    tab.emulate_media(media="print")
    expect(tab.locator(".top .tools")).to_be_hidden()
    expect(tab.locator(".chart svg").first).to_be_visible()


def test_csv_has_all_rows_and_the_total(show: Show, world: World) -> None:
    tab = show(world)
    found = _crossing(world, by="cause_namespace,cause_workload", limit="500")
    with tab.expect_download() as waiting:
        tab.get_by_role("button", name="CSV").click()
    lines = Path(waiting.value.path()).read_text().splitlines()
    assert len(lines) == 1 + len(found["rows"]) + 2
    assert lines[-1].split(",")[2] == str(found["total"]["bytes"])
