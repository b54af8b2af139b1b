"""The rules for Prometheus: promtool takes them, and every alert fires when it should."""

import yaml
from manifests import DEPLOY, kustomized, one
from promql import BOARDS, RULES, panel_queries, promtool, recorded_in

CASES = DEPLOY / "prometheus" / "rules_test.yaml"


def test_promtool_finds_nothing_wrong() -> None:
    assert "SUCCESS" in promtool("check", "rules", RULES)


def test_every_case_comes_out_as_written() -> None:
    promtool("test", "rules", CASES)


def test_every_alert_is_seen_to_fire_in_a_case() -> None:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    alerts = {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}
    fired = {
        case["alertname"]
        for test in yaml.safe_load(CASES.read_text())["tests"]
        for case in test.get("alert_rule_test", [])
        if case["exp_alerts"]
    }
    assert fired == alerts


def test_the_operators_rule_has_the_same_groups() -> None:
    rule = one(kustomized("overlays/prometheus-operator"), "PrometheusRule", "kzn")
    assert rule["spec"] == yaml.safe_load(RULES.read_text())


def test_dashboards_need_no_rules() -> None:
    queries = [query for board in BOARDS for _, query in panel_queries(board)]
    assert len(queries) > 40
    assert set().union(*map(recorded_in, queries)) == set()
