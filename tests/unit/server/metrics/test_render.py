"""The metrics text of a scrape, and docs/metrics.md compared with it."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from kzn.agent.maps.buffers import Entries
from kzn.agent.metrics import agent_metrics
from kzn.agent.stats import AgentStats
from kzn.daemon.http.stats import HttpStats
from kzn.daemon.prometheus import MetricCollector, new_registry
from kzn.model.endpoint import Endpoint
from kzn.model.totals import SLOTS, Counts, Totals
from kzn.pricing import aws
from kzn.pricing.book import PriceBook
from kzn.reports.budget import Budget, BudgetState
from kzn.server.advice import AdviceSums
from kzn.server.auth.authenticator import SecurityState
from kzn.server.cost.meter import CostMeter
from kzn.server.flows.queue import LogCounts
from kzn.server.ledger.family import (
    FAMILIES,
    POD,
    WORKLOAD,
    ZONE,
    FamilyName,
    LedgerSnapshot,
    Row,
    SeriesState,
    View,
)
from kzn.server.ledger.ledger import Ledger
from kzn.server.ledger.limits import LedgerLimits
from kzn.server.ledger.node_totals import TotalsByNode
from kzn.server.ledger.places import OTHER
from kzn.server.metrics.render import render
from kzn.server.metrics.text import head, lines, series
from kzn.server.metrics.traffic import FAMILY_METRICS
from kzn.server.pipeline import AccountingSnapshot, Clocks, Pipeline
from kzn.server.receive.stats import ReceiveStats
from kzn.server.resolve.retry import RetryQueue
from kzn.server.resolve.verdict import REASONS
from kzn.server.snapshot import ServerSnapshot, Sources
from kzn.server.state.group_commit import CommitStats
from kzn.server.topology import SourceState
from kzn.sinks.spool import Amount, SinkCounts
from kzn.topology.facts import NodeFacts
from kzn.topology.groups import WorkloadGroups
from kzn.topology.index import AddressIndex
from kzn.topology.source import ResourceStats, TopologyStats

DOCS = Path(__file__).parents[4] / "docs" / "metrics.md"
AGENT = "## The agent\n"
Families = dict[str, tuple[str, tuple[str, ...]]]
ROW = re.compile(r"^\| `([a-z_]+)` \| (counter|gauge|histogram) \|([^|]*)\|", re.MULTILINE)

EPOCH = 1.7e9


@pytest.fixture(scope="module")
def snapshot() -> ServerSnapshot:
    """A server with at least one sample of every family."""
    index = AddressIndex(clock=lambda: 0.0, wall=lambda: 0.0)
    index.put_node(NodeFacts("u", "n1"))
    ledger = Ledger(LedgerLimits({"pair": 1}, priced=True))
    meter = CostMeter(ledger, lambda: PriceBook([aws.PRICES]), lambda: EPOCH)
    pair = ("shop", "web", "a", "shop", "db", "b", "source")
    ledger.load(
        [
            Row("pod", ("shop", "web-1"), 2**53 + 2),
            Row("workload", ("shop", "Deployment", "web", "egress", "cross_zone", "a", "b"), 5),
            Row("pair", pair, 3),
            Row("pair", ("shop", "x", *pair[2:]), 2),
            Row("zone", ("a", "b", "cross_zone"), 5),
        ],
        0.0,
    )
    node_totals = TotalsByNode(10, holds=True, epoch=EPOCH)
    totals = node_totals.of("n1")
    totals.add_batch(
        Totals(Counts(9, 90), {"map_full": Counts(1, 10)}, {"parse": Counts(1, 5)}), Counts()
    )
    totals.add("unresolved", "unknown_source", Counts(1, 7))
    totals.hold(Counts(2, 20))
    node_totals.expose(1.0)
    node_totals.of("n1", 1.0).add("unresolved", "ambiguous", Counts(3, 30))
    resource = ResourceStats("pods", True, 1, 2.5, 1, 1, 7, {"gone": 1})
    sources = Sources(
        pipeline=Pipeline(
            index,
            ledger,
            node_totals,
            RetryQueue(10),
            clocks=Clocks(lambda: 0.0, lambda: 0.0),
            meter=meter,
        ),
        receiver=lambda: ReceiveStats(refusals=Counter(version=2)),
        topology=lambda: (
            SourceState("kubernetes", False, TopologyStats(index.counts(), (resource,))),
        ),
        flow_log=lambda: LogCounts(3, 4),
        security=lambda: SecurityState(
            "token", {"accepted": 1}, 1, 0, "kubernetes", {"allowed": 1}
        ),
        state=lambda: CommitStats(failures=Counter(disk_full=1)),
        http=lambda: HttpStats(1, Counter(evicted=2)),
        groups=WorkloadGroups(["team"]),
        sinks=lambda: (SinkCounts("dir", Amount(3, 30), {}, Amount(1, 10), lag=61.5),),
        budgets=lambda: (BudgetState(Budget("shop", 10.0, "USD"), EPOCH, 2.5, 5.0, reason=""),),
        advice=lambda: AdviceSums({("same-zone", "USD"): 8.5, ("dns", "USD"): 0.5}, 3),
    )
    sources.pipeline.stats.apply_seconds.observe(0.003)
    meter.begin(0.0)
    node = Endpoint("Node", "", "n1", "Node", "n1", "n1", "a", "r", provider="aws")
    codes = ledger.label_codes
    for end in (node, replace(node, zone="b")):
        codes.places.code(end, codes.zones.code(end.region, end.zone))
    zones = ZONE.key(("a", "b", "cross_zone"), codes)
    web = WORKLOAD.key(("shop", "D", "web", "egress", "cross_zone", "a", "b"), codes)
    eight = np.array([8], np.uint64)
    ledger.table("workload").add(np.array([web]), eight, 0.0, eight)
    ledger.table("zone").add(np.array([zones]), eight, 0.0)
    return sources.snapshot(AccountingSnapshot.of(sources.pipeline), 1.0)


NAMES = st.text(st.sampled_from('ab"\\\n,={}é'), max_size=4)


@pytest.mark.slow
@given(st.lists(st.tuples(NAMES, NAMES, st.integers(0, 2**63)), max_size=30), st.integers(1, 5))
def test_series_text_equals_the_text_of_their_rows(
    rows: list[tuple[str, str, int]], room: int
) -> None:
    ledger = Ledger(LedgerLimits({"pod": room, "pair": room}))
    ledger.load([Row("pod", (space, name), size) for space, name, size in rows], 0.0)
    ledger.load(
        [Row("pair", (space, name, "a", name, space, "b", "source"), n) for space, name, n in rows],
        0.0,
    )
    taken = ledger.snapshot()
    families: tuple[FamilyName, ...] = ("pod", "pair")
    for family in families:
        metric = FAMILY_METRICS[family]
        written = b"".join(series(taken, FAMILIES[family], metric)).decode()
        assert written == b"".join(lines(metric, taken.rows(family))).decode()
        text = head(metric, openmetrics=False).decode() + written
        (parsed,) = text_string_to_metric_families(text)
        read = {
            tuple(s.labels[k] for k in FAMILIES[family].labels): s.value for s in parsed.samples
        }
        assert read == dict(taken.rows(family))


def test_a_pod_named_other_is_merged_with_the_series_other() -> None:
    keys, totals = np.array([OTHER, 2]), np.array([2, 1], np.uint64)
    pods = [("", ""), ("other", "other"), ("a", "b")]
    other, exposed = SeriesState(40, True, 0.0), np.ones(2, np.bool_)
    view = View(keys, totals, exposed, np.zeros(2), other, 0, 2)
    taken = LedgerSnapshot({"pod": view}, {"pod": pods})
    found = b"".join(series(taken, POD, FAMILY_METRICS["pod"])).decode().splitlines()
    assert [line.partition("{")[2] for line in found] == [
        'namespace="a",pod="b"} 1',
        'namespace="other",pod="other"} 42',
    ]


def exposed(families: Iterable[Metric]) -> Families:
    found = {}
    for family in families:
        if family.name.startswith(("process_", "kzn_build_")):
            continue
        assert family.samples, f"{family.name} has no sample in this test"
        name = family.name + ("_total" if family.type == "counter" else "")
        names = tuple(name for name in family.samples[0].labels if name != "le")
        found[name] = (family.type, names)
    return found


def documented(text: str) -> Families:
    return {
        name: (kind, tuple(re.findall(r"`([a-z_]+)`", labels)))
        for name, kind, labels in ROW.findall(text)
    }


def test_the_docs_list_every_server_metric_with_type_and_labels(snapshot: ServerSnapshot) -> None:
    server, _, _ = DOCS.read_text().partition(AGENT)
    text = render(snapshot, "")[0].decode()
    assert documented(server) == exposed(text_string_to_metric_families(text))


def test_the_docs_list_every_agent_metric_with_type_and_labels() -> None:
    stats = AgentStats("postrouting", 10.0, attached=("ipv4",), coverage=1.0)
    for kind in ("seen", "missed", "ignored"):
        stats.packets[kind, "why"] = stats.bytes[kind, "why"] = 1
    stats.entries = {0: Entries(1, 1)}
    stats.delivery.failures["connect"] = 1
    stats.http.refused["host"] = 1
    _, _, agent = DOCS.read_text().partition(AGENT)
    assert documented(agent) == exposed(MetricCollector(lambda: agent_metrics(stats)).collect())


@pytest.mark.parametrize("reason", [*REASONS, *(slot.reason for slot in SLOTS if slot.reason)])
def test_the_docs_explain_every_reason(reason: str) -> None:
    assert f"`{reason}`" in DOCS.read_text()


def test_a_scrape_is_valid_and_its_help_defines_a_byte(snapshot: ServerSnapshot) -> None:
    body, content_type = render(snapshot, "text/plain")
    text = body.decode()
    assert content_type.startswith("text/plain")
    families = {family.name: family for family in text_string_to_metric_families(text)}
    for name, family in families.items():
        keys = [(s.name, *sorted(s.labels.items())) for s in family.samples]
        assert len(keys) == len(set(keys)), name
        if name.endswith("_bytes") and "process" not in name:
            assert "bytes" in family.documentation.lower(), name
    traffic = families["kzn_workload_traffic_bytes"].documentation
    assert "L3 bytes on the wire, docs/accuracy.md" in traffic


def test_a_scrape_has_the_lines_that_dashboards_use(snapshot: ServerSnapshot) -> None:
    lines = render(snapshot, "")[0].decode().splitlines()
    for line in (
        "# TYPE pod_cross_zone_network_traffic_bytes_total counter",
        'pod_cross_zone_network_traffic_bytes_total{namespace="shop",pod="web-1"} 9007199254740994',
        'kzn_workload_traffic_bytes_total{namespace="shop",workload_kind="Deployment",'
        'workload="web",direction="egress",class="cross_zone",src_zone="a",dst_zone="b"} 5',
        'kzn_workload_pair_bytes_total{src_namespace="shop",src_workload="web",src_zone="a",'
        'dst_namespace="shop",dst_workload="db",dst_zone="b",initiator="source"} 3',
        'kzn_workload_pair_bytes_total{src_namespace="other",src_workload="other",'
        'src_zone="other",dst_namespace="other",dst_workload="other",dst_zone="other",'
        'initiator="other"} 2',
        'kzn_zone_traffic_bytes_total{src_zone="a",dst_zone="b",class="cross_zone"} 13',
        'kzn_workload_cost_total{namespace="shop",workload_kind="D",workload="web",side="sender",'
        'class="cross_zone",currency="USD"} 7.450580596923828e-11',
        'kzn_zone_cost_total{src_zone="a",dst_zone="b",class="cross_zone",currency="USD"}'
        " 1.4901161193847657e-10",
        'kzn_priced_bytes_total{currency="USD"} 8',
        'kzn_advice_saving_per_month{rule="same-zone",currency="USD"} 8.5',
        "kzn_advice_proposals 3",
        'kzn_unpriced_bytes_total{reason="before_prices"} 5',
        'kzn_traffic_price{src_zone="a",dst_zone="b",class="cross_zone",side="receiver",'
        'currency="USD"} 9.313225746154785e-12',
        'kzn_seen_bytes_total{node="n1"} 90',
        'kzn_missed_bytes_total{node="n1",reason="map_full"} 10',
        'kzn_held_bytes{node="n1"} 20',
        'kzn_server_refused_total{reason="version"} 2',
        'kzn_server_apply_seconds_bucket{le="0.0025"} 0.0',
        'kzn_server_apply_seconds_bucket{le="0.005"} 1.0',
        'kzn_server_apply_seconds_bucket{le="+Inf"} 1.0',
        'kzn_server_topology_ready{source="kubernetes"} 0.0',
        'kzn_server_topology_staleness_seconds{resource="pods"} 2.5',
    ):
        assert line in lines


def test_openmetrics_is_negotiated_by_the_accept_header(snapshot: ServerSnapshot) -> None:
    body, content_type = render(snapshot, "application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")
    families = list(openmetrics.text_string_to_metric_families(body.decode()))  # type: ignore[no-untyped-call]
    assert exposed(families) == exposed(
        text_string_to_metric_families(render(snapshot, "")[0].decode())
    )


def samples(text: str, name: str) -> dict[tuple[str, ...], float]:
    """The samples called ``name`` by label values, from OpenMetrics text."""
    families = openmetrics.text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
    found = [sample for family in families for sample in family.samples if sample.name == name]
    return {tuple(sample.labels.values()): sample.value for sample in found}


def holding(limits: LedgerLimits) -> tuple[Pipeline, Sources]:
    """A server whose new series begin at 0."""
    index = AddressIndex(clock=lambda: 0.0, wall=lambda: 0.0)
    pipeline = Pipeline(
        index,
        Ledger(limits, holds=True, epoch=EPOCH),
        TotalsByNode(10, holds=True, epoch=EPOCH),
        RetryQueue(10),
        clocks=Clocks(lambda: 0.0, lambda: 0.0),
    )
    source = SourceState("kubernetes", True, TopologyStats(index.counts()))
    return pipeline, Sources(
        pipeline=pipeline,
        receiver=ReceiveStats,
        topology=lambda: (source,),
        flow_log=LogCounts,
    )


def scraped(sources: Sources) -> str:
    taken = sources.snapshot(AccountingSnapshot.of(sources.pipeline), 1.0)
    return render(taken, "application/openmetrics-text; version=1.0.0")[0].decode()


def fresh(name: str, size: int) -> Row:
    return Row("pod", ("shop", name), size, exposed=False, created=EPOCH + 5.25)


def test_a_new_series_is_at_zero_with_its_bytes_pending_and_its_time_of_creation() -> None:
    pipeline, sources = holding(LedgerLimits({"pod": 2}))
    pipeline.ledger.load([fresh("a", 5), fresh("b", 6), fresh("c", 7)], 10.0)
    totals = pipeline.node_totals.of("n1", 10.0)
    totals.add_batch(Totals(Counts(9, 90), {"map_full": Counts(1, 10)}), Counts(8, 80))
    totals.add("attributed", "", Counts(8, 80))
    pod = "pod_cross_zone_network_traffic_bytes"
    before = scraped(sources)
    assert samples(before, f"{pod}_total") == {("shop", "a"): 0, ("shop", "b"): 0, OTHERS: 0}
    assert samples(before, f"{pod}_created") == {
        ("shop", "a"): EPOCH + 5.25,
        ("shop", "b"): EPOCH + 5.25,
        OTHERS: EPOCH + 10,
    }
    assert samples(before, "kzn_server_pending_bytes")["pod",] == 18
    assert samples(before, "kzn_server_pending_series")["pod",] == 2
    assert samples(before, "kzn_missed_bytes_total") == {("n1", "map_full"): 0}
    assert samples(before, "kzn_missed_bytes_created") == {("n1", "map_full"): EPOCH + 10}
    pending = {("n1", "seen"): 90, ("n1", "missed"): 10, ("n1", "attributed"): 80}
    assert samples(before, "kzn_pending_bytes") == pending
    assert samples(before, "kzn_pending_packets")["n1", "seen"] == 9
    pipeline.ledger.expose(11.0)
    pipeline.node_totals.expose(11.0)
    after = scraped(sources)
    assert samples(after, f"{pod}_total") == {("shop", "a"): 5, ("shop", "b"): 6, OTHERS: 7}
    assert samples(after, "kzn_server_pending_bytes")["pod",] == 0
    assert samples(after, "kzn_missed_bytes_total") == {("n1", "map_full"): 10}
    assert samples(after, "kzn_pending_bytes") == {}


OTHERS = ("other", "other")


def test_created_lines_are_left_out_where_the_time_is_unknown_and_where_they_are_off() -> None:
    pipeline, sources = holding(LedgerLimits())
    pipeline.ledger.load([fresh("a", 5), Row("pod", ("shop", "of layout 1"), 6)], 10.0)
    name = "pod_cross_zone_network_traffic_bytes_created"
    assert samples(scraped(sources), name) == {("shop", "a"): EPOCH + 5.25}
    assert "_created" not in scraped(replace(sources, created_lines=False))
    taken = sources.snapshot(AccountingSnapshot.of(sources.pipeline), 1.0)
    assert b"_created" not in render(taken, "text/plain")[0]


def test_a_name_that_is_not_unicode_does_not_fail_the_scrape() -> None:
    ledger = Ledger(LedgerLimits())
    ledger.load([Row("pod", ("a", "half-\ud800"), 1)], 0.0)
    metric = FAMILY_METRICS["pod"]
    text = b"".join(series(ledger.snapshot(), FAMILIES["pod"], metric)).decode()
    assert text == f'{metric.name}{{namespace="a",pod="half-?"}} 1\n'
    other = b"".join(lines(metric, [(("a", "half-\ud800"), 1)])).decode()
    assert other == text


def test_a_snapshot_does_not_change_with_the_ledger() -> None:
    ledger = Ledger(LedgerLimits())
    ledger.load([Row("pod", ("a", "b"), 1)], 0.0)
    taken = ledger.snapshot()
    ledger.load([Row("pod", ("a", "b"), 1), Row("pod", ("a", "c"), 1)], 0.0)
    assert dict(taken.rows("pod")) == {("a", "b"): 1}
    assert np.asarray(taken.views["pod"].keys).tolist() == [2]


def test_build_info_has_the_cluster_of_the_server() -> None:
    (family,) = (f for f in new_registry("server", "east").collect() if f.name == "kzn_build_info")
    (sample,) = family.samples
    assert (sample.labels["component"], sample.labels["cluster"]) == ("server", "east")


def test_the_registry_is_separate_from_the_global_one() -> None:
    names = {family.name for family in new_registry("server").collect()}
    assert "kzn_build_info" in names
    assert "process_resident_memory_bytes" in names
    assert not any(name.startswith("python_gc") for name in names)
