"""One sample a workload with series, so that a join multiplies nothing and loses nothing."""

from dataclasses import replace

from smallserver import snapshot

from kzn.server.ledger.family import Row
from kzn.server.ledger.ledger import Ledger
from kzn.server.ledger.limits import LedgerLimits
from kzn.server.metrics.groups import group_metrics
from kzn.server.metrics.render import render
from kzn.server.snapshot import ServerSnapshot

WEB = ("shop", "Deployment", "web", "egress", "cross_zone", "a", "b")


def with_rows(*rows: Row, limit: int = 10, off: tuple[str, ...] = ()) -> ServerSnapshot:
    limits = LedgerLimits({"workload": limit}, priced=True, off=frozenset(off))
    ledger = Ledger(limits)
    ledger.load(rows, 0.0)
    return replace(snapshot(), ledger=ledger.snapshot(), groups={WEB[:3]: "blue"})


def samples(found: ServerSnapshot) -> list[tuple[tuple[str, ...], float]]:
    (one,) = group_metrics(found.ledger, found.groups)
    assert one is not None
    assert one.metric.name == "kzn_workload_group_info"
    return [(labels, float(value)) for labels, value in one.samples]


def test_every_workload_with_series_has_one_group_which_may_be_empty() -> None:
    found = with_rows(
        Row("workload", WEB, 5),
        Row("workload", (*WEB[:3], "ingress", "external", "", "a"), 5),
        Row("workload", ("", "Node", "n1", "egress", "cross_zone", "a", "b"), 5),
        Row("workload_cost", ("", "External", "external", "receiver", "external", "USD"), 1),
        Row("caused_cost", ("shop", "Job", "load", "external", "USD"), 1),
    )
    assert samples(found) == [
        ((*WEB[:3], "blue"), 1.0),
        (("", "Node", "n1", ""), 1.0),
        (("", "External", "external", ""), 1.0),
        (("shop", "Job", "load", ""), 1.0),
    ]


def test_what_is_beyond_the_limit_has_a_sample_too() -> None:
    rows = [Row("workload", ("shop", "Job", name, *WEB[3:]), 5) for name in ("one", "two")]
    assert samples(with_rows(*rows, limit=1)) == [
        (("other", "other", "other", ""), 1.0),
        (("shop", "Job", "one", ""), 1.0),
    ]


def test_without_groups_or_families_of_workloads_there_is_no_such_metric() -> None:
    assert not list(group_metrics(with_rows(Row("workload", WEB, 5)).ledger, None))
    off = ("workload", "workload_cost", "caused_cost")
    assert not list(group_metrics(with_rows(off=off).ledger, {}))


def test_a_group_is_a_label_value_like_any_other() -> None:
    found = replace(with_rows(Row("workload", WEB, 5)), groups={WEB[:3]: 'a "b" \\ é'})
    text, _ = render(found, "")
    line = r'workload="web",group="a \"b\" \\ é"} 1'
    assert line in text.decode()
