"""Every state of a cluster or a server has its words in place of numbers."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from page_answers import STATUS
from page_world import NOW, Show, World
from playwright.sync_api import Page, expect


def _status(**changed: Any) -> Any:
    return lambda _query: (200, STATUS | changed)


def _notice(kind: str, text: str, names: list[str], hint: str = "kzn doctor") -> Any:
    found = {"kind": kind, "text": text, "names": names, "hint": hint}
    return lambda _query: (200, {"notices": [found]})


QUICK = 250
"""Milliseconds for a check of `_run_until`."""


def _run_until(tab: Page, seconds: int, check: Callable[[], object], step: int = 1) -> None:
    """Run the page's clock until ``check`` holds, at most ``seconds``.

    In steps, for answers come in real time: what fails after the clock has run asks again later.
    """
    for _ in range(0, seconds, step):
        try:
            check()
        except AssertionError:
            tab.clock.run_for(step * 1000)
        else:
            return
    check()


@pytest.fixture
def world() -> World:
    return World.of(pairs=20)


def test_not_ready(show: Show, world: World) -> None:
    world.overrides["status"] = _status(ready=False, why_not_ready="pods were not listed yet")
    tab = show(world)
    expect(tab.locator("main")).to_contain_text("pods were not listed yet")
    expect(tab.locator(".tiles")).to_have_count(0)


def test_no_agents(show: Show, world: World) -> None:
    world.overrides["status"] = _status(agents=0, batches=0)
    world.ranges = ("1h",)
    expect(show(world).locator("main")).to_contain_text("No agent has reported")


def test_agents_and_no_bytes_yet(show: Show, world: World) -> None:
    world.overrides["status"] = _status(agents=3, batches=0)
    world.ranges = ("1h",)
    expect(show(world).locator("main")).to_contain_text("3 agents are connected")


def test_the_first_interval_has_its_end(show: Show, world: World) -> None:
    world.overrides["status"] = _status(
        agents=3, batches=0, connected_seconds=2.6, first_batch_seconds=6.4
    )
    world.ranges = ("1h",)
    tab = show(world)
    expect(tab.locator("main")).to_contain_text("The first interval ends in 7 s")
    expect(tab.locator("main")).to_contain_text(
        re.compile(r"3 agents are connected since \d\d:\d\d:\d\d UTC")
    )
    # The page asks again soon, until there are numbers.
    world.overrides["status"] = _status(
        agents=3, batches=0, connected_seconds=10.6, first_batch_seconds=0.0
    )
    expect(tab.locator("main")).to_contain_text("its numbers are on the way", timeout=8000)
    world.overrides["status"] = _status()
    expect(tab.locator(".tiles")).to_be_visible(timeout=8000)


def test_without_agents_the_history_is_still_there(show: Show, world: World) -> None:
    world.overrides["status"] = _status(agents=0, batches=0)
    tab = show(world)
    expect(tab.locator("main")).to_contain_text("No agent has reported")
    expect(tab.locator(".workloads tbody tr").first).to_be_visible()


def test_a_history_that_begins_is_not_a_cluster_of_one_zone(show: Show, world: World) -> None:
    """Nodes have zones before the first minute is over."""
    world.overrides["status"] = _status(agents=3, batches=0, first_batch_seconds=6.4)
    plain, world.sizes[:] = world.traffic, 0
    world.overrides["traffic"] = lambda query: (200, plain(query) | {"rows": []})
    tab = show(world)
    expect(tab.locator("main")).to_contain_text("The first interval ends in 7 s")
    expect(tab.locator("main")).to_contain_text("Nothing was counted in this span")
    expect(tab.locator("main")).not_to_contain_text("one zone")
    expect(tab.locator("main")).not_to_contain_text("no price")
    expect(tab.locator("main")).not_to_contain_text("top 0")


def test_a_single_step_is_drawn_as_wide_as_it_is(show: Show, world: World) -> None:
    """The only minute of an hour: it does not fall to 0 at its end."""
    world.ranges, plain = ("1h",), world.traffic

    def one_step(query: Any) -> tuple[int, Any]:
        found = plain(query)
        middle = found["from"] + (found["to"] - found["from"]) // 2
        return 200, found | {"complete_from": middle, "complete_to": middle + found["step"]}

    world.overrides["traffic"] = one_step
    tab = show(world)
    chart = tab.locator(".chart").first
    expect(chart.locator("svg path").first).to_be_attached()
    area, frame = (
        chart.locator(one).first.bounding_box() for one in ("svg > path", "svg > .grid, .grid")
    )
    assert abs(area["width"] - frame["width"]) < 2
    for line in tab.locator(".spark .line").all():
        assert line.get_attribute("d").endswith("H1100")


def test_one_zone(show: Show) -> None:
    world = World.of(zones=("eu-west-1a",), pairs=5)
    world.prices = False
    tab = show(world)
    expect(tab.locator("main")).to_contain_text("All nodes are in one zone")
    expect(tab.locator(".matrix")).to_have_count(0)


def test_no_price(show: Show, world: World) -> None:
    world.prices = False
    tab = show(world)
    expect(tab.locator(".tiles")).to_contain_text("no prices")
    expect(tab.get_by_role("columnheader", name="A month")).to_have_count(0)
    tab.get_by_role("link", name="no prices").click()
    expect(tab.locator("main")).to_contain_text("--prices FILE")


def test_free(show: Show, world: World) -> None:
    plain = world.traffic

    def free(query: Any) -> tuple[int, Any]:
        found = plain(query)
        for sums in [*found["rows"], found["total"], found["other"]]:
            sums["cost"] = {"USD": 0.0}
        return 200, found

    world.overrides["traffic"] = free
    tab = show(world)
    expect(tab.locator(".tiles")).to_contain_text("free here (aws of 2026-07-01)")


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("node_without_zone", "3 of 42 nodes have no zone: their bytes are unresolved"),
        ("unresolved", "0.9 % of the bytes have no known endpoint or zone"),
        ("missed", "0.2 % of the bytes were seen and are in no flow"),
        ("node_silent", "1 of 42 nodes does not report"),
        ("other_servers", "14 of 42 nodes report to this server"),
    ],
)
def test_the_strip_leads_to_the_reason(show: Show, world: World, kind: str, text: str) -> None:
    world.overrides["notices"] = _notice(kind, text, ["ip-1", "ip-2", "ip-3", "ip-4"])
    tab = show(world)
    strip = tab.locator(f"[data-kind={kind}]")
    expect(strip).to_contain_text(f"{text}: ip-1, ip-2, ip-3")
    strip.get_by_text("why").click()
    expect(tab.locator("h2", has_text="Not attributed")).to_be_visible()


@pytest.mark.parametrize(
    ("kind", "text", "names", "hint", "said"),
    [
        (
            *("limit_reached", "A limit of series was reached.", ["pair"], "raise --max-series"),
            "A limit of series was reached: pair (raise --max-series)",
        ),
        (
            *("history_dropped", "Some traffic is not in the history.", ["io"], "see the log"),
            "Some traffic is not in the history: io (see the log)",
        ),
        (
            *("restarted", "The server was killed once.", [], "charts hatch that time"),
            "The server was killed once (charts hatch that time)",
        ),
        ("of_a_newer_server", "Something else.", [], "", "Something else"),
    ],
)
def test_where_no_screen_has_the_reason_the_strip_has_the_hint(
    show: Show, world: World, kind: str, text: str, names: list[str], hint: str, said: str
) -> None:
    world.overrides["notices"] = _notice(kind, text, names, hint)
    found = show(world).locator(f"[data-kind={kind}]")
    expect(found).to_have_text(f"▲ {said}")
    expect(found.locator("a")).to_have_count(0)


@pytest.mark.parametrize("screen", ["#/", "#/w/data/postgres"])
def test_what_a_killed_server_lost_is_hatched_and_said(
    show: Show, world: World, screen: str
) -> None:
    world.overrides["notices"] = _notice("restarted", "The server was killed once.", [], "")
    world.gaps = ({"from": NOW - 9000, "to": NOW - 6000, "reason": "restart"},)
    tab = show(world, screen)
    expect(tab.locator("[data-kind=restarted]")).to_be_visible()
    gap = tab.locator(".chart .gap[data-reason=restart]").first
    expect(gap).to_have_attribute("fill", re.compile(r"url\(#"))
    expect(gap.locator("title")).to_contain_text("The server was restarted: no numbers until")


def test_a_gap_is_hatched(show: Show, world: World) -> None:
    world.gaps = ({"from": NOW - 9000, "to": NOW - 6000, "reason": "restart"},)
    gap = show(world).locator(".gap[data-reason=restart]")
    expect(gap).to_have_count(1)
    assert float(gap.get_attribute("width")) > 5


def test_no_history(show: Show, world: World) -> None:
    world.ranges = ("1h",)
    tab = show(world)
    expect(tab.get_by_role("button", name="1h")).to_have_attribute("aria-pressed", "true")
    day = tab.get_by_role("button", name="24h")
    expect(day).to_have_attribute("aria-disabled", "true")
    assert "--history" in day.get_attribute("title")
    day.click(force=True)
    expect(tab.get_by_role("button", name="1h")).to_have_attribute("aria-pressed", "true")


def test_older_than_what_is_kept(show: Show, world: World) -> None:
    world.complete_from = NOW - 40_000
    tab = show(world)
    expect(tab.locator("main")).to_contain_text("counted since")
    expect(tab.locator(".gap")).to_have_count(0)
    # The curve begins there, at a whole step of the 144 of a day.
    tab.get_by_text("show as table").click()
    begin = NOW - 86_400
    first = begin + (world.complete_from - begin) // 600 * 600
    at = datetime.fromtimestamp(first, UTC).strftime("%Y-%m-%d %H:%M UTC")
    expect(tab.locator(".scroll tbody th").first).to_have_text(at)


@pytest.mark.parametrize("screen", ["#/", "#/w/data/postgres"])
def test_a_span_older_than_the_minutes_is_by_the_hour(
    show: Show, world: World, screen: str
) -> None:
    said = "minutes are kept for 3 d: this is by the hour"
    tab = show(world, f"{screen}?range=7d")
    expect(tab.get_by_text(said).first).to_be_visible()
    tab.get_by_role("button", name="24h").click()
    expect(tab.get_by_text(said)).to_have_count(0)


def test_a_span_older_than_the_hours_is_by_the_day(show: Show, world: World) -> None:
    plain = world.traffic
    world.overrides["traffic"] = lambda query: (200, plain(query) | {"source": "days"})
    end = NOW - 40 * 86_400
    tab = show(world, f"#/?from={end - 864_000}&to={end}")
    expect(tab.get_by_text("hours are kept for 35 d: this is by the day")).to_be_visible()


def test_what_is_not_kept_has_no_column(show: Show, world: World) -> None:
    world.complete_from = NOW - 40_000
    tab = show(world)
    expect(tab.locator(".workloads tbody tr").first).to_be_visible()
    expect(tab.get_by_text("not kept")).to_be_visible()
    expect(tab.get_by_text("vs. before")).to_have_count(0)


def test_nothing_crossed(show: Show, world: World) -> None:
    world.sizes[:] = 0
    tab = show(world)
    expect(tab.locator("main")).to_contain_text("Nothing crossed zones in this span")


def test_server_away(show: Show, world: World) -> None:
    tab = show(world, expect_errors=True, own_clock=True)
    expect(tab.locator(".workloads tbody tr").first).to_be_visible()
    world.overrides |= {"status": lambda _query: (503, {"error": "the server is stopping"})}
    said, away = "the server is stopping", tab.locator(".away")
    _run_until(tab, 60, lambda: expect(away).to_contain_text(said, timeout=QUICK))
    expect(tab.locator(".workloads tbody tr").first).to_be_visible()


def test_the_page_goes_on_when_the_server_answers_again(show: Show, world: World) -> None:
    """All of it at once, without a reload: not when each question would be asked again."""
    tab = show(world, expect_errors=True, own_clock=True)
    total, stale = tab.locator(".tiles b").first, tab.locator(".stale")
    expect(total).to_be_visible()
    before = total.inner_text()
    tab.clock.pause_at(tab.evaluate("Date.now()") / 1000 + 3)
    away = (503, {"error": "the server is stopping"})
    world.overrides["traffic"] = lambda _query: away
    said = re.compile(r"2 min old")  # from 120 s on; asked at some 30, 32, 36, 44, 60, 92, 152 s
    _run_until(tab, 160, lambda: expect(stale).to_have_text(said, timeout=QUICK), step=4)
    world.overrides["status"] = world.overrides["traffic"]
    _run_until(tab, 12, lambda: expect(tab.locator(".away")).to_be_visible(timeout=QUICK))
    expect(total).to_have_text(before)
    world.sizes //= 3
    del world.overrides["status"], world.overrides["traffic"]
    _run_until(tab, 10, lambda: expect(tab.locator(".away")).to_have_count(0, timeout=QUICK))
    _run_until(tab, 5, lambda: expect(stale).to_have_count(0, timeout=QUICK))
    expect(total).not_to_have_text(before)


def test_a_page_of_a_server_that_is_away_begins_when_it_answers(show: Show, world: World) -> None:
    world.overrides["status"] = lambda _query: (503, {"error": "the server is stopping"})
    tab = show(world, expect_errors=True, own_clock=True)
    expect(tab.locator("main")).to_contain_text("the server is stopping")
    del world.overrides["status"]
    _run_until(tab, 60, lambda: expect(tab.locator(".tiles")).to_be_visible(timeout=QUICK))


def test_a_server_that_becomes_ready_is_shown(show: Show, world: World) -> None:
    world.overrides["status"] = _status(ready=False, why_not_ready="pods were not listed yet")
    tab = show(world, own_clock=True)
    expect(tab.locator("main")).to_contain_text("pods were not listed yet")
    del world.overrides["status"]
    _run_until(tab, 20, lambda: expect(tab.locator(".tiles")).to_be_visible(timeout=QUICK))


@pytest.mark.parametrize("screen", ["#/", "#/w/data/postgres", "#/pairs", "#/nodes"])
def test_numbers_that_are_not_renewed_have_their_age(show: Show, world: World, screen: str) -> None:
    """The server answers, but not this question."""
    tab = show(world, screen, expect_errors=True, own_clock=True)
    expect(tab.locator(".list tbody tr").first).to_be_visible()
    tab.wait_for_load_state("networkidle")
    late = (503, {"error": "the history did not answer in time"})
    world.overrides |= {"traffic": lambda _query: late, "nodes": lambda _query: late}
    said = re.compile(r"the history did not answer in time\. These numbers are \d+ s old")
    stale = tab.locator(".stale")
    _run_until(tab, 120, lambda: expect(stale).to_have_text(said, timeout=QUICK))
    expect(tab.locator(".list tbody tr").first).to_be_visible()
    expect(tab.locator(".away")).to_have_count(0)
    del world.overrides["traffic"], world.overrides["nodes"]
    _run_until(tab, 120, lambda: expect(stale).to_have_count(0, timeout=QUICK))


def test_servers_that_answer_in_turn_are_told_from_a_restart(show: Show, world: World) -> None:
    tab = show(world, own_clock=True)
    said = tab.locator("[data-kind=servers_in_turn]")
    expect(tab.locator(".workloads tbody tr").first).to_be_visible()
    for instance, count in ((2, 0), (1, 1)):
        world.overrides["status"] = _status(instance=instance)
        with tab.expect_response("**/status"):
            tab.clock.fast_forward(11_000)
        expect(said).to_have_count(count)
    expect(said).to_contain_text("2 servers answer here in turn")


def test_a_wrong_question(show: Show, world: World) -> None:
    world.overrides["traffic"] = lambda _query: (
        400,
        {"error": "unknown dimension 'x'", "hint": "known: port"},
    )
    tab = show(world, expect_errors=True)
    expect(tab.locator(".problem")).to_contain_text("unknown dimension 'x': known: port")
