"""What a screen can be asked for beyond its first rows: all peers, all ports, pictures, kinds."""

import re
import struct
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from page_world import Show, World
from playwright.sync_api import expect

SVG = "{http://www.w3.org/2000/svg}"
MANY = [f"shop/app-{i:03}" for i in range(150)]


@pytest.fixture(scope="module")
def wide() -> World:
    """shop/app-000 talks to 149 others, each from zone to zone."""
    world = World.of(workloads=MANY, pairs=0)
    for name in MANY[1:]:
        world.add(MANY[0], name, 10**9)
    return world


def _downloaded(tab: Any, button: str) -> Path:
    with tab.expect_download() as waiting:
        tab.get_by_role("button", name=button).first.press("Enter")  # the pointer stays
    return Path(waiting.value.path())


def _svg(tab: Any, title: str) -> ElementTree.Element:
    return ElementTree.fromstring(  # noqa: S314 - the page made it
        _downloaded(tab, f"save as SVG: {title}").read_text()
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_chart_as_svg_needs_nothing_of_the_page(show: Show, scheme: str) -> None:
    tab = show(World.of(pairs=20), scheme=scheme)
    root = _svg(tab, "Bytes a second")
    layers = tab.locator(".chart .legend").all_inner_texts()
    texts = ["".join(one.itertext()) for one in root.iter(f"{SVG}text")]
    assert texts[0] == "Bytes a second across zones, by the workload that caused them"
    assert texts[-len(layers) :] == layers
    assert any(text.endswith("B/s") for text in texts)
    everything = list(root.iter())
    assert not [one for one in everything if "class" in one.attrib]
    colours = {one.get("fill") for one in everything if one.tag == f"{SVG}path"}
    assert len(colours) == len(layers)
    assert "none" not in colours
    card = "#fff" if scheme == "light" else "#161b22"
    assert next(root.iter(f"{SVG}rect")).get("fill") == card


def test_a_chart_as_png_is_a_picture_in_twice_the_pixels(show: Show) -> None:
    tab = show(World.of(pairs=20), "#/?view=flow")
    for title in ("Bytes a second", "Traffic from zone to zone"):
        svg = _svg(tab, title)
        png = _downloaded(tab, f"save as PNG: {title}").read_bytes()
        assert png.startswith(b"\x89PNG\r\n\x1a\n")
        size = struct.unpack(">II", png[16:24])
        assert size == (2 * int(svg.attrib["width"]), 2 * int(svg.attrib["height"]))
        # Drawn, not empty: a surface of one colour compresses to a few kB.
        assert len(png) > 15_000


def test_what_follows_the_pointer_is_not_in_the_picture(show: Show) -> None:
    tab = show(World.of(pairs=20))
    lines = len(list(_svg(tab, "Bytes a second").iter(f"{SVG}line")))
    tab.locator(".chart svg").first.hover()
    expect(tab.locator(".chart .cross")).to_have_count(1)
    assert len(list(_svg(tab, "Bytes a second").iter(f"{SVG}line"))) == lines


def test_two_kinds_of_one_name_are_two_rows_with_numbers_of_their_own(show: Show) -> None:
    world = World.of(pairs=0)
    world.add("shop/web", "shop/db", 3 * 10**9, kinds={"web": "Deployment"})
    world.add("shop/web", "shop/db", 2 * 10**9, kinds={"web": "StatefulSet"})
    tab = show(world)
    rows = tab.locator(".workloads tbody tr")
    expect(rows).to_have_count(2)
    for i, (kind, size) in enumerate((("Deployment", "3.00 GB"), ("StatefulSet", "2.00 GB"))):
        expect(rows.nth(i).locator(".kind")).to_have_text(kind)
        expect(rows.nth(i).locator("b")).to_have_text(size)
        rows.nth(i).locator("a").click()
        expect(tab.locator(".panel .facts b").first).to_have_text(size)
        expect(rows.nth(i)).to_have_class("chosen")
        expect(rows.nth(1 - i)).not_to_have_class("chosen")
    tab.get_by_text("pods and ports").click()
    expect(tab.locator("h1 .kind")).to_have_text("StatefulSet")
    expect(tab.locator(".facts b").first).to_have_text("2.00 GB")


def test_a_filter_finds_a_kind(show: Show) -> None:
    tab = show(World.of(pairs=60), "#/?q=statefulset")
    expect(tab.locator(".workloads tbody .kind").first).to_have_text("StatefulSet")
    assert set(tab.locator(".workloads tbody .kind").all_inner_texts()) == {"StatefulSet"}


def test_all_peers_are_a_click_away_and_add_up(show: Show, wide: World) -> None:
    tab = show(wide, "#/w/shop/app-000?kind=Deployment")
    peers = tab.locator(".peers tbody tr")
    expect(peers).to_have_count(13)
    expect(peers.last).to_contain_text("137 others")
    expect(peers.last).to_contain_text("137 GB")
    tab.get_by_role("button", name="show all peers").click()
    expect(peers).to_have_count(149)
    expect(tab).to_have_url(re.compile("peers=all"))
    expect(tab.get_by_role("button", name="show all peers")).to_have_count(0)


def test_pods_peers_and_ports_go_on_until_all_are_shown(show: Show, wide: World) -> None:
    tab = show(wide, "#/w/shop/app-000?kind=Deployment")
    sent = tab.get_by_role("region", name="What its pods send")
    expect(sent.locator("tbody tr")).to_have_count(101)
    expect(sent.locator("tbody tr").last).to_contain_text("49 others")
    tab.get_by_role("button", name="show 49 more").click()
    expect(sent.locator("tbody tr")).to_have_count(149)
    tab.go_back()
    expect(sent.locator("tbody tr")).to_have_count(101)


def test_without_a_history_pods_say_why_they_are_empty(show: Show, wide: World) -> None:
    plain = wide.traffic

    def in_memory(query: Any) -> tuple[int, Any]:
        return 200, plain(query) | {"source": "memory"}

    world = World(wide.labels, wide.sizes, {"traffic": in_memory}, ranges=("1h",))
    tab = show(world, "#/w/shop/app-000")
    expect(tab.get_by_text("kzn server --history DIR").first).to_be_visible()


def test_pods_of_a_span_that_is_not_kept_say_from_when_they_are_known(
    show: Show, wide: World
) -> None:
    world = World(wide.labels, wide.sizes, complete_from=1_794_990_000)
    tab = show(world, "#/w/shop/app-000")
    expect(tab.get_by_text("pods are known since").first).to_be_visible()
    expect(tab.locator(".chart .tick").first).to_be_attached()
