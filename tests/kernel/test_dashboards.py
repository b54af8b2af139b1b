"""Panels, rules and the cookbook use metrics of real scrapes, and Prometheus answers them."""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import pytest
import yaml
from counting import PREFIX
from manifests import ROOT
from promql import (
    BOARDS,
    RULES,
    Prometheus,
    exposed,
    metrics_in,
    panel_queries,
    prometheus,
    recorded_in,
)

from kzn.demo.relay import relay
from kzn.demo.run import AGENT_PORT, SERVER_PORT, Demo, DemoConfig
from kzn.errors import UnsupportedError
from kzn.lab import jobs
from kzn.lab.daemons import wait_for
from kzn.lab.lab import Lab

COOKBOOK = ROOT / "docs" / "operations.md"
PROCESS = {"process_cpu_seconds_total", "process_resident_memory_bytes"}
NEEDS_OPTION = {"kzn_budget_used_ratio", "kzn_budget_forecast_ratio"}
"""Metrics of a server with an option that the lab's server has not."""
QUIET = {
    "Unresolved by reason",
    "Missed by reason",
    "Failed deliveries",
    "Refused",
    "State file",
    "Age of the topology",
    "Top senders to the outside",
    "Bytes without a price, by reason",
}
"""Panels without data on a healthy lab: static topology, no external traffic."""


@dataclass(frozen=True, slots=True)
class Watched:
    """A Prometheus that has scraped a busy server and agent, and the metrics of both."""

    prometheus: Prometheus
    server: str
    agent: str

    @property
    def names(self) -> set[str]:
        return exposed(self.server) | exposed(self.agent)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with ExitStack() as stack:
        try:
            lab = stack.enter_context(Lab(PREFIX, nodes_per_zone=1, pods_per_node=1))
        except UnsupportedError as error:
            pytest.skip(f"{error}: {error.hint}")
        demo = Demo(lab, DemoConfig(seconds=0, interval="500ms", provider="aws"))
        demo.start_agents()
        server = stack.enter_context(relay(lab.fabric.namespace, SERVER_PORT, 0))
        agent = stack.enter_context(relay(lab.nodes[0].namespace, AGENT_PORT, 0))
        found = stack.enter_context(
            prometheus(tmp_path_factory.mktemp("prometheus"), scrape(server, agent))
        )
        sent = "sum(increase(kzn_workload_pair_bytes_total[5m])) > 0"
        cut = "rate(kzn_agent_batches_total[5m]) > 0"

        def counted() -> bool:
            for route in jobs.routes(lab.plan):
                for exchange in jobs.round_of(route):
                    exchange()
            return all(map(found.answers, (sent, cut, "kzn:nodes_reporting:count == 2")))

        assert wait_for(counted, 60)
        yield Watched(found, page(server), page(agent))
        demo.finish()


def scrape(server: str, agent: str) -> str:
    jobs = [
        {
            "job_name": "kzn-server",
            "honor_labels": True,
            "static_configs": [{"targets": [server.removeprefix("http://")]}],
        },
        {
            "job_name": "kzn-agent",
            "static_configs": [
                {"targets": [agent.removeprefix("http://")], "labels": {"node": "a1"}}
            ],
        },
    ]
    return json.dumps({"scrape_configs": jobs})[1:-1].replace('"scrape_configs"', "scrape_configs")


def page(url: str) -> str:
    with urlopen(f"{url}/metrics", timeout=10) as answer:  # noqa: S310 - our own
        return str(answer.read().decode())


def rules() -> list[dict[str, str]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def recipes() -> list[str]:
    """The queries of the cookbook, one a fenced block."""
    _, found, rest = COOKBOOK.read_text().partition("\n## PromQL cookbook\n")
    assert found
    text = re.split(r"^## ", rest, maxsplit=1, flags=re.MULTILINE)[0]
    return [block.strip() for block in re.findall(r"```promql\n(.*?)```", text, re.DOTALL)]


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.stem)
def test_every_panel_uses_metrics_that_a_scrape_has(board: Path, watched: Watched) -> None:
    asked = {name for _, query in panel_queries(board) for name in metrics_in(query)}
    assert asked - watched.names == set()


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.stem)
def test_prometheus_answers_every_panel(board: Path, watched: Watched) -> None:
    rows = [(title, watched.prometheus.query(query)) for title, query in panel_queries(board)]
    assert {title for title, _ in rows} - {title for title, found in rows if found} <= QUIET


def test_every_rule_uses_metrics_that_a_scrape_or_another_rule_has(watched: Watched) -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    for rule in rules():
        assert metrics_in(rule["expr"]) <= watched.names | NEEDS_OPTION
        assert recorded_in(rule["expr"]) <= recorded


def test_prometheus_evaluates_every_rule(watched: Watched) -> None:
    def evaluated() -> bool:
        return all(rule["health"] != "unknown" for rule in states())

    def states() -> list[dict[str, str]]:
        groups = watched.prometheus.get("/api/v1/rules")["groups"]
        return [rule for group in groups for rule in group["rules"]]

    assert wait_for(evaluated, 30)
    found = states()
    assert [rule for rule in found if rule["health"] != "ok" or rule.get("lastError")] == []
    assert len(found) == len(rules())


def test_no_alert_fires_on_a_healthy_installation(watched: Watched) -> None:
    def alerts() -> list[dict[str, str]]:
        found = watched.prometheus.get("/api/v1/alerts")["alerts"]
        return [alert["labels"] for alert in found]

    assert wait_for(lambda: not alerts(), 10), alerts()  # pending ones end soon


def test_prometheus_answers_the_dozen_queries_of_the_cookbook(watched: Watched) -> None:
    found = recipes()
    assert len(found) >= 12
    for query in found:
        assert metrics_in(query) <= watched.names
        watched.prometheus.query(query)


def test_an_unknown_metric_in_an_expression_is_detected(watched: Watched) -> None:
    assert metrics_in("sum(rate(kzn_no_such_total[5m]))") - watched.names
    with pytest.raises(AssertionError, match="parse error"):
        watched.prometheus.query("sum(")


def test_both_daemons_have_process_metrics(watched: Watched) -> None:
    assert exposed(watched.server) >= PROCESS
    assert exposed(watched.agent) >= PROCESS
