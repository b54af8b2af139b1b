"""A real server: what the screens show is its API's, its ledger's and what was sent; and the PromQL
that a screen copies has the same numbers in a real Prometheus that scrapes it.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
from page_world import Show, size_text
from playwright.sync_api import expect
from promql import Prometheus, prometheus
from site_process import SECONDS, Site, free_port

from kzn.lab.daemons import wait_for
from kzn.model.flows import INITIATOR_DESTINATION as ANSWER
from kzn.model.flows import INITIATOR_SOURCE as ASKED
from kzn.model.flows import INITIATOR_UNKNOWN as UNKNOWN

NODES = {"n1": "a", "n2": "b", "n3": "c"}
WORKLOADS = {
    "10.1.0.1": ("shop", "Deployment", "web", "n1"),
    "10.2.0.1": ("shop", "Deployment", "web", "n2"),
    "10.2.0.2": ("shop", "Deployment", "cart", "n2"),
    "10.3.0.1": ("shop", "Deployment", "checkout", "n3"),
    "10.1.0.2": ("data", "StatefulSet", "postgres", "n1"),
    "10.3.0.2": ("data", "StatefulSet", "kafka", "n3"),
    "10.1.0.3": ("monitoring", "StatefulSet", "prometheus", "n1"),
    "10.0.0.3": ("", "Node", "n3", "n3"),
}
FLOWS = [
    ("n2", "10.2.0.2", "10.1.0.2", 900_000_007, ASKED),
    ("n1", "10.1.0.2", "10.2.0.2", 41_000_000_011, ANSWER),
    ("n1", "10.1.0.2", "10.3.0.1", 7_000_000_013, ANSWER),
    ("n1", "10.1.0.1", "10.2.0.2", 2_000_000_003, ASKED),
    ("n1", "10.1.0.1", "10.2.0.1", 77, UNKNOWN),
    ("n2", "10.2.0.1", "10.2.0.2", 5_000_000_017, ASKED),
    ("n3", "10.3.0.1", "10.1.0.2", 300_000_019, ASKED),
    ("n3", "10.3.0.2", "10.2.0.1", 6_000_000_023, ANSWER),
    ("n3", "10.0.0.3", "10.1.0.3", 1_000_000_029, ANSWER),
    ("n3", "10.3.0.1", "8.8.8.8", 4_000_000_031, ASKED),
    ("n2", "10.2.0.2", "10.200.0.9", 12_345, ASKED),  # of no owner: unresolved
]
"""Node, source, destination, bytes, opener."""
KNOWN = [row for row in FLOWS if row[2] in WORKLOADS]
GROUPS = {
    "workload": ("namespace", "workload_kind", "workload"),
    "namespace": ("namespace",),
    "zone": ("zone",),
}
TOPOLOGY = "\n".join(
    [
        "nodes:",
        *(
            f"- {{name: {node}, zone: {zone}, region: eu-west-1, provider: aws,"
            f" addresses: [10.0.0.{node[1]}]}}"
            for node, zone in NODES.items()
        ),
        "pods:",
        *(
            f"- {{namespace: {namespace}, name: {name}-{address[3]}, node: {node},"
            f" addresses: [{address}], workload: {name}, workload_kind: {kind}}}"
            for address, (namespace, kind, name, node) in WORKLOADS.items()
            if kind != "Node"
        ),
    ]
)
Sums = dict[tuple[str, ...], float]


def zone_of(address: str) -> str:
    return NODES[WORKLOADS[address][3]]


CROSSING = [row for row in KNOWN if zone_of(row[1]) != zone_of(row[2])]


@dataclass
class Live:
    """A server that has counted `FLOWS`, and a Prometheus that has scraped all of it."""

    site: Site
    prometheus: Prometheus
    at: float
    before: float
    """While the server that the traffic came to still ran."""

    def get(self, topic: str, *parameters: tuple[str, str]) -> Any:
        """An answer of the API."""
        url = f"{self.site.url}api/v1/{topic}?{urlencode(parameters)}"
        with urlopen(url) as answer:  # noqa: S310 - our own
            return json.load(answer)

    def traffic(self, by: str, *where: str, span: str = "24h", key: str = "bytes") -> Sums:
        """The rows of /api/v1/traffic by their labels, without kinds of workloads."""
        parameters = [("since", span), ("by", by), ("limit", "1000")]
        found = self.get("traffic", *parameters, *(("where", one) for one in where))
        names = [name for name in found["by"] if not name.endswith("_workload_kind")]
        assert not found["other"]["bytes"]
        return {
            tuple(str(row[name]) for name in names): row[key]
            if key == "bytes"
            else row["cost"]["USD"]
            for row in found["rows"]
        }

    def asked(self, query: str, *names: str, at: float | None = None) -> Sums:
        """What Prometheus answers, by these labels; without what is 0."""
        rows = self.prometheus.query(query, at or self.at)
        found = {
            tuple(row["metric"].get(name, "") for name in names): float(row["value"][1])
            for row in rows
        }
        assert len(found) == len(rows)
        return {key: value for key, value in found.items() if value}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("live")
    (folder / "topology.yaml").write_text(TOPOLOGY)
    options = ["--topology", "topology.yaml", "--state", "state", "--history", "history"]
    paths = [one if one.startswith("--") else str(folder / one) for one in options]
    site = Site(free_port(), free_port(), tuple(paths))
    crossing, known = (sum(size for _, _, _, size, _ in rows) for rows in (CROSSING, KNOWN))
    placed = known + 4_000_000_031
    counted = [
        f"sum(kzn_workload_pair_bytes_total) == {crossing}",
        f"sum(kzn_zone_traffic_bytes_total) == {placed}",
        f"sum(kzn_priced_bytes_total) + (sum(kzn_unpriced_bytes_total) or vector(0)) == {placed}",
        "sum(kzn_unresolved_bytes_total) == 12345",
    ]
    with prometheus(folder, site.scrape_configs) as found:
        with site.serving():
            for node in NODES:
                rows = [row for row in FLOWS if row[0] == node]
                site.deliver(
                    node,
                    *((src, dst, size) for _, src, dst, size, _ in rows),
                    openers=tuple(opener for *_, opener in rows),
                )
            assert wait_for(lambda: all(map(found.answers, counted[:3])), SECONDS)
            before = last_sample(found)
        with site.serving():  # the first has written its open minute to the history as it ended
            begun = f"timestamp(kzn_build_info) > {found_now(found)}"
            assert wait_for(lambda: found.answers(begun), SECONDS)
            assert wait_for(lambda: all(map(found.answers, counted)), SECONDS)
            yield Live(site, found, last_sample(found), before)


def found_now(found: Prometheus) -> float:
    """The time of Prometheus."""
    return found.sum("time()")


def last_sample(found: Prometheus) -> float:
    """The time of the newest scrape."""
    rows = found.query("timestamp(kzn_workload_pair_bytes_total)")
    return max(float(row["value"][1]) for row in rows)


def copied(scope: Any, name: str = "PromQL") -> str:
    """What a button of the page copies."""
    button = scope.get_by_role("button", name=name, exact=True).first
    expect(button).to_be_visible()
    return str(button.get_attribute("title"))


def card(tab: Any, title: str) -> Any:
    """The card with a title."""
    return tab.locator(".card", has=tab.locator("h2", has_text=re.compile(f"^{title}$")))


def caused() -> dict[tuple[str, ...], int]:
    """What was sent across zones, by the workload that caused it."""
    sums: dict[tuple[str, ...], int] = defaultdict(int)
    for _, src, dst, size, opener in CROSSING:
        namespace, _, name, _ = WORKLOADS[dst if opener == ANSWER else src]
        sums[namespace, name] += size
    return sums


CAUSE = "cause_namespace,cause_workload_kind,cause_workload"
CROSS = ("class:cross_zone", "class:cross_region")


def test_the_screens_show_what_was_sent(show: Show, live: Live) -> None:
    tab = show(url=live.site.url)
    rows = tab.locator(".workloads tbody tr")
    expected = sorted(caused().items(), key=lambda item: -item[1])
    assert live.traffic(CAUSE, *CROSS) == dict(expected)
    expect(rows).to_have_count(len(expected))
    for i, ((namespace, name), size) in enumerate(expected):
        expect(rows.nth(i).locator("th")).to_contain_text(f"{name} {namespace}".strip())
        expect(rows.nth(i).locator("b")).to_have_text(size_text(size))
    total = sum(size for *_, size, _ in CROSSING)
    expect(tab.locator(".tiles b").first).to_have_text(size_text(total))
    with urlopen(f"{live.site.url}metrics") as answer:  # noqa: S310 - our own
        ledger = re.findall(
            r'kzn_zone_traffic_bytes_total{.*class="cross_zone"} (\d+)', answer.read().decode()
        )
    assert sum(map(int, ledger)) == total
    cells: dict[tuple[str, str], int] = defaultdict(int)
    for _, src, dst, size, _ in KNOWN:
        cells[zone_of(src), zone_of(dst)] += size
    for (src, dst), size in cells.items():
        cell = tab.locator(".matrix tbody tr").nth("abc".index(src)).locator("td")
        expect(cell.nth("abc".index(dst)).locator("b")).to_have_text(size_text(size))
    rows.first.locator("a").click()
    expect(tab.locator(".panel .facts b").first).to_have_text(size_text(expected[0][1]))
    expect(tab.locator(".panel .peers tbody th").first).to_contain_text("data/postgres")


def test_the_advice_of_a_server_is_shown(show: Show, live: Live) -> None:
    found = live.get("advice")
    tab = show(url=live.site.url, address="#/advice")
    if not found["proposals"]:  # a topology file has no Services
        expect(tab.locator("main")).to_contain_text(f"None of {len(found['rules'])} rules")
    titles = tab.locator("summary .what b")
    expect(titles).to_have_count(len(found["proposals"]))
    assert set(titles.all_inner_texts()) == {one["title"] for one in found["proposals"]}
    for i in range(len(found["proposals"])):
        tab.locator("summary").nth(i).click()
        expect(tab.locator("details[open] .detail")).to_have_count(1)


def test_promql_of_the_overview(show: Show, live: Live) -> None:
    tab = show(url=live.site.url)
    own = ("namespace", "workload")
    workloads = card(tab, "Workloads that cause it")
    assert live.asked(copied(workloads), *own) == pytest.approx(caused(), rel=1e-12)
    cost = live.asked(copied(workloads, "PromQL of cost"), *own)
    assert cost == pytest.approx(live.traffic(CAUSE, *CROSS, key="cost"), rel=1e-9)
    zones = live.asked(copied(card(tab, "Between which zones")), "src_zone", "dst_zone")
    placed = (*CROSS, "class:same_zone", "class:external")
    assert zones == pytest.approx(live.traffic("src_zone,dst_zone", *placed), rel=1e-12)
    curves = live.asked(copied(card(tab, "When")), *own)
    top = dict(sorted(caused().items(), key=lambda item: -item[1])[:5])
    assert {key: value * 300 for key, value in curves.items()} == pytest.approx(top, rel=1e-9)


def test_promql_follows_the_filters(show: Show, live: Live) -> None:
    tab = show(url=live.site.url, address="#/?ns=shop&cell=a%3Eb")
    where = (*CROSS, "cause_namespace:shop", "src_zone:a", "dst_zone:b")
    expected = live.traffic(CAUSE, *where)
    assert len(expected) == 2
    workloads = card(tab, "Workloads that cause it")
    found = live.asked(copied(workloads), "namespace", "workload")
    assert found == pytest.approx(expected, rel=1e-12)
    button = workloads.get_by_role("button", name="PromQL of cost")
    expect(button).to_have_attribute("aria-disabled", "true")
    # The card has what stays within a zone and what goes outside, the metric of pairs has not.
    button = card(tab, "Between which zones").get_by_role("button", name="PromQL")
    expect(button).to_have_attribute("aria-disabled", "true")


def test_promql_of_a_span_of_ones_own(show: Show, live: Live) -> None:
    begin, end = int(live.at) // 60 * 60 - 600, int(live.at) + 1
    tab = show(url=live.site.url, address=f"#/?from={begin}&to={end}")
    query = copied(card(tab, "Workloads that cause it"))
    assert f"[{end - begin}s] @ {end}" in query
    found = live.asked(query, "namespace", "workload", at=live.at + 900)
    expected = caused()
    assert found.keys() == expected.keys()
    # Prometheus extrapolates to the end of the window: by a second at most of a few.
    assert all(1 - 1e-9 <= found[key] / expected[key] < 1.5 for key in expected)


def test_promql_of_a_workload(show: Show, live: Live) -> None:
    tab = show(url=live.site.url, address="#/w/shop/web?kind=Deployment")
    own = ("_namespace:shop", "_workload:web")
    summary = card(tab, "Across zones")
    zones = live.asked(copied(summary.locator("h3").first), "src_zone", "dst_zone")
    by_zone = live.traffic("src_zone,dst_zone", *CROSS, *(f"cause{one}" for one in own))
    assert zones == pytest.approx(by_zone, rel=1e-12)
    assert len(zones) == 2
    for name, side, peer in (("sent", "src", "dst"), ("received", "dst", "src")):
        labels = (f"{peer}_namespace", f"{peer}_workload", "initiator")
        found = live.asked(copied(summary, f"PromQL of {name}"), *labels)
        expected = live.traffic(",".join(labels), *CROSS, *(f"{side}{one}" for one in own))
        assert found == pytest.approx(expected, rel=1e-12)
        assert found
    curve = live.asked(copied(summary.locator(".chart")), "namespace", "workload")
    assert curve["shop", "web"] * 300 == pytest.approx(caused()["shop", "web"], rel=1e-9)


@pytest.mark.parametrize(
    ("src", "dst", "split"),
    [
        ("workload", "workload", ""),
        ("zone", "zone", "class"),
        ("namespace", "zone", "initiator"),
    ],
)
def test_promql_of_pairs(show: Show, live: Live, src: str, dst: str, split: str) -> None:
    tab = show(url=live.site.url, address=f"#/pairs?src={src}&dst={dst}&split={split}")
    by = [f"{end}_{name}" for end, of in (("src", src), ("dst", dst)) for name in GROUPS[of]]
    by += [split] if split else []
    labels = [name for name in by if not name.endswith("_kind")]
    found = live.asked(copied(tab.locator(".card")), *labels)
    assert found == pytest.approx(live.traffic(",".join(by), *CROSS), rel=1e-12)
    assert len(found) > 2


def test_pairs_without_a_metric_say_so(show: Show, live: Live) -> None:
    tab = show(url=live.site.url, address="#/pairs?src=pod")
    button = tab.get_by_role("button", name="PromQL")
    expect(button).to_have_attribute("title", re.compile("src_pod"))
    expect(button).to_have_attribute("aria-disabled", "true")


def test_promql_of_nodes_and_reasons(show: Show, live: Live) -> None:
    tab = show(url=live.site.url, address="#/nodes")
    answer = live.get("nodes")["nodes"]
    terms = [("seen", "total"), ("attributed", "total"), ("unresolved", "total"), ("held", "")]
    names = {f"kzn_{term}_bytes{end and '_' + end}": f"{term}_bytes" for term, end in terms}
    found = live.asked(copied(card(tab, "Nodes")), "node", "__name__")
    chosen = {key: value for key, value in found.items() if key[1] in names}
    assert chosen == {
        (row["node"], metric): row[key]
        for row in answer
        for metric, key in names.items()
        if row[key]
    }
    reasons = live.asked(copied(card(tab, "Not attributed")), "reason")
    assert reasons == {("unknown_destination",): 12_345}
    expect(tab.locator(".reasons dt").first).to_contain_text(
        f"unknown_destination {size_text(12_345)}"
    )


def test_promql_of_prices(show: Show, live: Live) -> None:
    tab = show(url=live.site.url, address="#/prices")
    labels = ("src_zone", "dst_zone", "side")
    found = live.asked(copied(card(tab, "Prices")), *labels, at=live.before)
    table = live.get("prices")
    gb = table["lists"][0]["gb_bytes"]
    expected: Sums = {
        (row["src_zone"], row["dst_zone"], side): row[side] * gb
        for row in table["prices"]
        for side in ("sender", "receiver")
        if row[side] and row["class"] == "cross_zone"
    }
    crossing = {key: value for key, value in found.items() if "" not in key and key[0] != key[1]}
    assert crossing
    assert crossing == pytest.approx({key: expected[key] for key in crossing}, rel=1e-12)
