"""The metrics: what a scrape looks like, and that docs/metrics.md says the same."""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from kzn.agent.stats import AgentCollector, AgentStats
from kzn.daemon.registry import new_registry
from kzn.model.totals import SLOTS, Counts, Totals
from kzn.server.commit import CommitStats
from kzn.server.desk import ReceiveStats
from kzn.server.families import Row
from kzn.server.flowlog import LogCounts
from kzn.server.hold import Hold
from kzn.server.identity import Books
from kzn.server.ledger import Ledger, LedgerLimits
from kzn.server.metrics import SnapshotCollector, render
from kzn.server.pipeline import Clocks, Pipeline
from kzn.server.security import SecurityState
from kzn.server.snapshot import Counted, ServerSnapshot, Sources, SourceState
from kzn.server.verdict import REASONS
from kzn.topology.index import AddressIndex
from kzn.topology.source import ResourceStats, TopologyStats

DOCS = Path(__file__).parents[3] / "docs" / "metrics.md"
AGENT = "## The agent\n"
Families = dict[str, tuple[str, tuple[str, ...]]]
ROW = re.compile(r"^\| `([a-z_]+)` \| (counter|gauge|histogram) \|([^|]*)\|", re.MULTILINE)


@pytest.fixture(scope="module")
def snapshot() -> ServerSnapshot:
    """A server with at least one sample of every family."""
    index = AddressIndex(clock=lambda: 0.0, wall=lambda: 0.0)
    ledger = Ledger(LedgerLimits(pairs=1))
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
    books = Books(10)
    book = books.of("n1")
    book.take(Totals(Counts(9, 90), {"map_full": Counts(1, 10)}, {"parse": Counts(1, 5)}), Counts())
    book.add("unresolved", "unknown_source", Counts(1, 7))
    book.hold(Counts(2, 20))
    resource = ResourceStats("pods", True, 1, 2.5, 1, 1, 7, {"gone": 1})
    sources = Sources(
        pipeline=Pipeline(index, ledger, books, Hold(10), clocks=Clocks(lambda: 0.0, lambda: 0.0)),
        receiver=lambda: ReceiveStats(refusals=Counter(version=2)),
        topology=lambda: (
            SourceState("kubernetes", False, TopologyStats(index.counts(), (resource,))),
        ),
        flow_log=lambda: LogCounts(3, 4),
        security=lambda: SecurityState("token", {"accepted": 1}, 1, 0),
        state=lambda: CommitStats(failures=Counter(disk_full=1)),
    )
    sources.pipeline.stats.resolve_seconds.observe(0.003)
    return sources.snapshot(Counted.of(sources.pipeline), 1.0)


def exposed(collector: Collector) -> Families:
    found = {}
    for family in collector.collect():
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


def test_the_docs_have_every_family_with_its_type_and_labels(snapshot: ServerSnapshot) -> None:
    server, _, _ = DOCS.read_text().partition(AGENT)
    assert documented(server) == exposed(SnapshotCollector(snapshot))


def test_the_docs_have_every_family_of_the_agent() -> None:
    stats = AgentStats("postrouting", 10.0, attached=("ipv4",))
    for kind in ("seen", "missed", "ignored"):
        stats.packets[kind, "why"] = stats.bytes[kind, "why"] = 1
    stats.delivery.failures["connect"] = 1
    _, _, agent = DOCS.read_text().partition(AGENT)
    assert documented(agent) == exposed(AgentCollector(stats))


@pytest.mark.parametrize("reason", [*REASONS, *(slot.reason for slot in SLOTS if slot.reason)])
def test_the_docs_explain_every_reason(reason: str) -> None:
    assert f"`{reason}`" in DOCS.read_text()


def test_a_scrape_is_valid_and_says_what_a_byte_is(snapshot: ServerSnapshot) -> None:
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


def test_the_lines_that_dashboards_rely_on(snapshot: ServerSnapshot) -> None:
    lines = render(snapshot, "")[0].decode().splitlines()
    for line in (
        "# TYPE pod_cross_zone_network_traffic_bytes_total counter",
        'pod_cross_zone_network_traffic_bytes_total{namespace="shop",pod="web-1"}'
        " 9.007199254740994e+015",
        'kzn_workload_traffic_bytes_total{class="cross_zone",direction="egress",dst_zone="b",'
        'namespace="shop",src_zone="a",workload="web",workload_kind="Deployment"} 5.0',
        'kzn_workload_pair_bytes_total{dst_namespace="other",dst_workload="other",'
        'dst_zone="other",initiator="other",src_namespace="other",src_workload="other",'
        'src_zone="other"} 2.0',
        'kzn_zone_traffic_bytes_total{class="cross_zone",dst_zone="b",src_zone="a"} 5.0',
        'kzn_seen_bytes_total{node="n1"} 90.0',
        'kzn_missed_bytes_total{node="n1",reason="map_full"} 10.0',
        'kzn_held_bytes{node="n1"} 20.0',
        'kzn_server_refused_total{reason="version"} 2.0',
        'kzn_server_resolve_seconds_bucket{le="0.0025"} 0.0',
        'kzn_server_resolve_seconds_bucket{le="0.005"} 1.0',
        'kzn_server_resolve_seconds_bucket{le="+Inf"} 1.0',
        'kzn_server_topology_ready{source="kubernetes"} 0.0',
        'kzn_server_topology_staleness_seconds{resource="pods"} 2.5',
    ):
        assert line.replace("e+015", "e+15") in lines


def test_openmetrics_is_answered_to_who_asks_for_it(snapshot: ServerSnapshot) -> None:
    body, content_type = render(snapshot, "application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")


def test_a_snapshot_does_not_change_with_what_it_was_taken_from() -> None:
    ledger = Ledger(LedgerLimits())
    ledger.load([Row("pod", ("a", "b"), 1)], 0.0)
    taken = ledger.snapshot()
    ledger.load([Row("pod", ("a", "b"), 1), Row("pod", ("a", "c"), 1)], 0.0)
    assert dict(taken.rows("pod")) == {("a", "b"): 1}
    assert np.asarray(taken.views["pod"].keys).tolist() == [2]


def test_the_registry_is_one_of_its_own() -> None:
    names = {family.name for family in new_registry("server").collect()}
    assert "kzn_build_info" in names
    assert "process_resident_memory_bytes" in names
    assert not any(name.startswith("python_gc") for name in names)
