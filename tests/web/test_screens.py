"""The screens show the API's numbers, and lead from one to the next."""

import gzip
import re
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from page_world import NOW, PAGE_TESTS, FakeServer, Show, World, size_text
from playwright.sync_api import expect

from kzn.server.http import page

SCREENS = {
    "overview": "#/",
    "panel": "#/?w=crm%2Fmailer",
    "flow": "#/?view=flow",
    "workload": "#/w/crm/mailer",
    "advice": "#/advice?open=same-zone%3Acrm%2Fmailer",
    "pairs": "#/pairs?split=port",
    "nodes": "#/nodes",
    "explain": "#/explain?src=10.1.1.1&dst=10.200.0.1",
    "prices": "#/prices",
}

LONG = [
    *("crm/mailer", "data/postgres", "platform/cert-manager"),
    "team-payments-production/payment-authorization-gateway-v2",
    "observability/opentelemetry-collector-daemonset-agent",
]
CAUSE = "cause_namespace,cause_workload_kind,cause_workload"


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
def test_no_screen_is_wider_than_the_window(show: Show, screen: str, width: int) -> None:
    tab = show(World.of(workloads=LONG, pairs=60), SCREENS[screen], width=width)
    expect(tab.locator("main .card").first).to_be_visible()
    tab.wait_for_load_state("networkidle")
    assert tab.evaluate("document.documentElement.scrollWidth") <= width


def _crossing(world: World, **query: str) -> dict[str, Any]:
    wanted = {name: [value] for name, value in query.items()}
    where = ["class:cross_zone", "class:cross_region", *wanted.pop("where", [])]
    return world.traffic({"since": ["24h"], "where": where} | wanted)


def test_the_numbers_of_the_overview_are_those_of_the_api(show: Show, world: World) -> None:
    tab = show(world)
    found = _crossing(world, by=CAUSE, limit="500")
    expect(tab.locator(".tiles b").first).to_have_text(size_text(found["total"]["bytes"]))
    rows = tab.locator(".workloads tbody tr")
    expect(rows).to_have_count(15)
    for i, row in enumerate(found["rows"][:15]):
        expect(rows.nth(i)).to_contain_text(row["cause_workload"])
        expect(rows.nth(i).locator(".kind")).to_have_text(row["cause_workload_kind"])
        expect(rows.nth(i).locator("b")).to_have_text(size_text(row["bytes"]))
    zones = world.traffic({"since": ["24h"], "by": ["src_zone,dst_zone"], "limit": ["99"]})
    cells = {(row["src_zone"], row["dst_zone"]): row["bytes"] for row in zones["rows"]}
    shown = tab.locator(".matrix .cell b").all_inner_texts()
    assert shown == [size_text(cells[a, b]) for a, b in sorted(cells)]


def test_all_rows_and_the_rest_add_up(show: Show, world: World) -> None:
    tab = show(world)
    found = _crossing(world, by=CAUSE, limit="500")
    left = found["rows"][15:]
    more = tab.locator(".more")
    expect(more).to_have_text(f"{len(left)} more ({size_text(sum(row['bytes'] for row in left))})")
    more.click()
    expect(tab.locator(".workloads tbody tr")).to_have_count(len(found["rows"]))


def test_the_first_minute(show: Show, world: World) -> None:
    """From / to the largest cause, with whom, and the link, in four clicks; back works."""
    tab = show(world)
    top = _crossing(world, by=CAUSE, limit="500")["rows"][0]
    tab.locator(".workloads tbody a").first.click()
    panel = tab.locator(".panel")
    expect(panel.locator("h2")).to_have_text(top["cause_workload"])
    expect(panel.locator(".facts b").first).to_have_text(size_text(top["bytes"]))
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
            "by": [CAUSE],
            "limit": ["500"],
            "where": ["class:cross_zone", "class:cross_region", *zones],
        }
    )
    expect(tab.locator(".tiles b").first).to_have_text(size_text(found["total"]["bytes"]))
    expect(tab.locator(".workloads tbody tr b").first).to_have_text(
        size_text(found["rows"][0]["bytes"])
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
    tab.locator(".workloads").get_by_role("button", name="PromQL", exact=True).click()
    expect(tab.locator(".workloads [role=status]", has_text="copied")).to_have_count(1)


def test_pairs_group_each_end_by_itself(show: Show, world: World) -> None:
    tab = show(world, "#/pairs?src=zone&dst=namespace")
    found = _crossing(world, by="src_zone,dst_namespace", limit="500")
    rows = tab.locator("tbody tr")
    expect(rows.first).to_contain_text(found["rows"][0]["dst_namespace"])
    expect(rows.first.locator("b")).to_have_text(size_text(found["rows"][0]["bytes"]))
    expect(rows.last.locator("b")).to_have_text(size_text(found["total"]["bytes"]))


def test_it_works_below_a_path(show: Show, world: World) -> None:
    tab = show(world, prefix="/clusters/a/kzn")
    expect(tab.locator(".workloads tbody tr")).to_have_count(15)
    assert all(path.startswith("/clusters/a/kzn/") for path in world.requests[-9:])


def test_all_of_the_page_is_small() -> None:
    files = [one for one in page.FOLDER.iterdir() if one.suffix in {".css", ".html", ".js", ".svg"}]
    assert len(files) == 4
    assert sum(len(gzip.compress(one.read_bytes())) for one in files) < 40_000


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


@pytest.mark.parametrize("screen", ["#/", "#/pairs", "#/nodes", "#/w/data/postgres"])
def test_print_begins_a_long_table_on_the_page_of_its_title(
    show: Show, world: World, screen: str
) -> None:
    tab = show(world, screen)
    card = tab.locator(".card", has=tab.locator(".list")).last
    expect(card.locator("tbody tr").first).to_be_visible()
    tab.emulate_media(media="print")
    expect(card).to_have_css("break-inside", "auto")
    expect(card.locator("tbody tr").first).to_have_css("break-inside", "avoid")
    expect(card.locator("thead")).to_have_css("break-after", "avoid")
    expect(tab.locator(".tools:visible")).to_have_count(0)


def test_print_says_of_when_it_is_and_what_it_leaves_out(show: Show, world: World) -> None:
    begin = NOW - 7200
    tab = show(world, f"#/?from={begin}&to={NOW}")
    expect(tab.locator(".workloads tbody tr").first).to_be_visible()
    expect(tab.locator(".paper")).to_be_hidden()
    tab.emulate_media(media="print")
    times = [datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC") for at in (begin, NOW)]
    expect(tab.locator(".paper")).to_be_visible()
    expect(tab.locator(".paper")).to_have_text(f"{' to '.join(times)} · {tab.url}")
    expect(tab.locator(".more").first).to_be_visible()
    tab.goto(tab.url.split("#")[0] + "#/pairs?range=6h")
    expect(tab.locator(".paper")).to_contain_text("6h until ")
    expect(tab.locator(".paper")).to_contain_text("#/pairs?range=6h")


def test_csv_has_all_rows_and_the_total(show: Show, world: World) -> None:
    tab = show(world)
    found = _crossing(world, by=CAUSE, limit="500")
    with tab.expect_download() as waiting:
        tab.get_by_role("button", name="CSV").click()
    lines = Path(waiting.value.path()).read_text().splitlines()
    assert len(lines) == 1 + len(found["rows"]) + 2
    assert lines[-1].split(",")[3] == str(found["total"]["bytes"])


def _asked(world: World) -> list[str]:
    """The API's requests by topic, and dimensions of traffic; without that of each ten seconds."""
    found = []
    for request in world.requests:
        path, _, query = request.partition("?")
        if path.startswith("/api/v1/") and path != "/api/v1/status":
            by = re.search(r"by=([a-z]+_[a-z]+)", query)
            found.append(path.removeprefix("/api/v1/") + (f" {by[1]}" if by else ""))
    return sorted(found)


FIRST = ["meta", "notices"]
OVERVIEW = [f"traffic {by}" for by in ("cause_namespace", "dst_namespace", "src_namespace")]


def test_the_overview_asks_each_question_once(show: Show) -> None:
    world = World.of(pairs=60)
    tab = show(world)
    expect(tab.locator(".workloads tbody tr")).to_have_count(15)
    # It asks of causes, too, once the numbers are there.
    expect(tab.get_by_role("heading", name="What changed")).to_be_visible()
    tab.wait_for_load_state("networkidle")
    changed = "traffic cause_namespace"
    asked = [*FIRST, *OVERVIEW, changed, "budgets", "rollouts", "traffic src_zone"]
    assert _asked(world) == sorted(asked)


def test_another_screen_asks_nothing_of_the_overview(show: Show) -> None:
    world = World.of(pairs=60)
    tab = show(world, "#/nodes")
    expect(tab.locator(".list tbody tr")).to_have_count(42)
    tab.wait_for_load_state("networkidle")
    assert _asked(world) == sorted([*FIRST, "nodes"])


def test_answers_that_are_late_are_asked_for_once(show: Show) -> None:
    """The page is drawn without them after a while, and takes what it asked for before."""
    world = World.of(pairs=60)
    late = threading.Event()

    def traffic(query: Mapping[str, list[str]]) -> tuple[int, Any]:
        late.wait(30)
        return 200, world.traffic(query)

    world.overrides["traffic"] = traffic
    tab = show(world)
    expect(tab.get_by_text("asking the server")).to_be_visible()
    expect(tab.locator("nav a")).to_have_count(6)
    late.set()
    expect(tab.locator(".workloads tbody tr")).to_have_count(15)
    tab.wait_for_load_state("networkidle")
    asked = [one for one in _asked(world) if one in OVERVIEW[1:]]
    assert asked == OVERVIEW[1:]


NUMBERS = {
    "#/": ".matrix .cell, .workloads .number:visible",
    "#/w/crm/mailer": ".matrix .cell, .list .number:visible",
    "#/pairs": ".list .number:visible",
}


@pytest.mark.parametrize("address", NUMBERS)
def test_a_narrow_window_shows_the_numbers_without_scrolling(show: Show, address: str) -> None:
    """With names as long as clusters have them, and the column of what is outside."""
    world = World.of(
        workloads=["crm/mailer", "observability/mimir-distributor-zone-aware"], pairs=30
    )
    world.labels[0] |= {"dst_zone": "", "class": "external"}
    tab = show(world, address, width=390)
    expect(tab.locator(NUMBERS[address]).first).to_be_visible()
    ends = tab.locator(NUMBERS[address]).evaluate_all(
        "all => all.map(one => [one.textContent, one.getBoundingClientRect().right])"
    )
    assert [end for end in ends if end[1] > 390 - 8 - 14] == []


def test_a_pair_in_a_narrow_window_has_one_end_below_the_other(show: Show) -> None:
    tab = show(World.of(workloads=LONG, pairs=30), "#/pairs", width=390)
    row = tab.locator(".pairs tbody tr").first
    boxes = [row.locator(one).first.bounding_box() for one in ("th", ".to", ".number")]
    source, destination, number = boxes
    assert destination["y"] >= source["y"] + source["height"]
    assert min(source["width"], destination["width"]) > 150
    assert number["x"] >= source["x"] + source["width"]


def test_the_flow_says_which_side_sends(show: Show, world: World) -> None:
    flow = show(world, "#/?view=flow").locator(".flow")
    expect(flow.get_by_text("sent from")).to_be_visible()
    expect(flow.get_by_text("received in")).to_be_visible()


def test_the_terms_of_a_node_are_explained(show: Show, world: World) -> None:
    tab = show(world, "#/nodes")
    terms = tab.locator(".terms dt")
    expect(terms.first).to_be_visible()
    assert "seen = " + " + ".join(terms.all_inner_texts()) in tab.locator("main").inner_text()


@pytest.mark.parametrize("width", [390, 1440])
def test_no_time_of_an_axis_is_cut_off(show: Show, width: int) -> None:
    end = NOW // 3600 * 3600  # a round time at the very end
    tab = show(World.of(pairs=30), f"#/?from={end - 6 * 3600}&to={end}", width=width)
    expect(tab.locator(".chart .tick").first).to_be_visible()
    frame = tab.locator(".chart svg").first.bounding_box()
    ticks = tab.locator(".chart").first.locator(".tick").all()
    assert len(ticks) > 4
    for tick in ticks:
        box = tick.bounding_box()
        assert box["x"] >= frame["x"] - 1, tick.text_content()
        assert box["x"] + box["width"] <= frame["x"] + frame["width"] + 1, tick.text_content()


def test_a_name_of_a_pair_leads_to_its_workload(show: Show, world: World) -> None:
    tab = show(world, "#/pairs")
    link = tab.locator(".list tbody a").first
    name = link.inner_text()
    link.click()
    expect(tab.locator("h1")).to_contain_text(name.split("/")[1])
