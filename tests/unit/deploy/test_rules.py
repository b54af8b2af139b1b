"""The Prometheus rules are valid, and each alert fires as its cases require."""

from pathlib import Path

import pytest
import yaml
from manifests import DEPLOY, kustomized, one
from promql import BOARDS, RULES, panel_queries, promtool, recorded_in

pytestmark = pytest.mark.slow

CASES = [DEPLOY / "prometheus" / f"{name}_test.yaml" for name in ("rules", "rules_days")]


def test_the_rules_pass_promtool_check() -> None:
    assert "SUCCESS" in promtool("check", "rules", RULES)


@pytest.mark.parametrize("cases", CASES, ids=lambda path: path.stem)
def test_the_rules_pass_their_test_cases(cases: Path) -> None:
    promtool("test", "rules", cases)


def test_every_alert_fires_in_a_test_case() -> None:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    alerts = {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}
    fired = {
        case["alertname"]
        for cases in CASES
        for test in yaml.safe_load(cases.read_text())["tests"]
        for case in test.get("alert_rule_test", [])
        if case["exp_alerts"]
    }
    assert fired == alerts


def test_the_prometheus_operator_rule_has_the_same_groups() -> None:
    rule = one(kustomized("overlays/prometheus-operator"), "PrometheusRule", "kzn")
    assert rule["spec"] == yaml.safe_load(RULES.read_text())


def test_dashboards_need_no_rules() -> None:
    queries = [query for board in BOARDS for _, query in panel_queries(board)]
    assert len(queries) > 40
    assert set().union(*map(recorded_in, queries)) == set()
