"""Budgets are what the history has of the month, and nothing is shown of what is not known."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest
from asking import asking
from questions import T0
from smallserver import snapshot

from kzn.client.past_traffic import Missing, PastTraffic
from kzn.daemon.http.body import Body
from kzn.daemon.http.messages import BusyError
from kzn.errors import UsageError
from kzn.history.query import TrafficQuery
from kzn.pricing.book import PriceBook
from kzn.server.budgets import Budgets
from kzn.server.config import ServerConfig
from kzn.server.http.budgets import answer
from kzn.server.metrics.budgets import budget_metrics

DAY = 86_400
BEGIN = T0 - 25 * DAY  # of November
NOW = T0 + DAY // 2
FILE = """\
budgets:
  - {name: shop, amount: 10000, currency: USD, namespace: shop}
  - {name: web, amount: 10000, currency: USD, workload: bank/web}
  - {name: euro, amount: 1, currency: EUR}
"""
FLOWS: list[tuple[int, ...]] = [
    (0, 0, 2, 443, 6, 1, 1, 1000),
    (1, 2, 0, 443, 6, 1, 2, 500),
    (2, 2, 0, 443, 6, 1, 1, 40),
    (-26 * 1440, 0, 2, 443, 6, 1, 1, 7_000_000),
]


class World:
    def __init__(self, path: Path, *, since: int = BEGIN, text: str = FILE) -> None:
        self.path = path / "budgets.yaml"
        self.path.write_text(text)
        self.find = asking(FLOWS, since)
        self.fails = False
        self.now = NOW
        self.budgets = Budgets(self.path, self.ask, lambda: float(self.now))

    async def ask(self, query: TrafficQuery) -> PastTraffic:
        if self.fails:
            raise BusyError("too many questions")
        return await asyncio.to_thread(self.find, query)

    def metrics(self) -> dict[tuple[str, ...], float]:
        asyncio.run(self.budgets.update())
        return {
            (metric.name, *labels): value
            for metric, samples, _ in budget_metrics(self.budgets.states())
            for labels, value in samples
        }


def test_what_a_scope_caused_this_month_is_used_of_its_budget(tmp_path: Path) -> None:
    found = World(tmp_path).metrics()
    assert found["kzn_budget_used_ratio", "shop"] == 1500 * 5 / 10_000
    assert found["kzn_budget_used_ratio", "web"] == 40 * 5 / 10_000
    assert found["kzn_budget_amount", "shop", "USD"] == 10_000
    expected = (7500 + 7500 * 4.5 / 7) / 10_000
    assert found["kzn_budget_forecast_ratio", "shop"] == pytest.approx(expected)
    assert found["kzn_budget_updated_timestamp_seconds", "shop"] == NOW


def test_without_prices_in_its_currency_a_budget_has_no_ratio_and_a_reason(tmp_path: Path) -> None:
    world = World(tmp_path)
    found = world.metrics()
    assert ("kzn_budget_used_ratio", "euro") not in found
    assert found["kzn_budget_amount", "euro", "EUR"] == 1
    assert world.budgets.states()[2].reason == "no traffic is priced in EUR"
    world.find = asking(FLOWS, BEGIN, prices=PriceBook([]))
    assert ("kzn_budget_used_ratio", "shop") not in world.metrics()


def test_a_scope_without_traffic_has_used_nothing(tmp_path: Path) -> None:
    text = FILE.replace("namespace: shop", "namespace: quiet")
    assert World(tmp_path, text=text).metrics()["kzn_budget_used_ratio", "shop"] == 0


def test_a_short_history_has_no_forecast_and_is_not_complete(tmp_path: Path) -> None:
    world = World(tmp_path, since=T0)
    found = world.metrics()
    assert found["kzn_budget_used_ratio", "shop"] == 0.75
    assert ("kzn_budget_forecast_ratio", "shop") not in found
    assert not world.budgets.states()[0].complete


def test_of_a_history_without_anything_nothing_is_shown(tmp_path: Path) -> None:
    world = World(tmp_path)
    known = world.find
    empty = asking([], T0)
    for find in (
        lambda query: replace(empty(query), complete_from=None),
        lambda query: replace(empty(query), complete_to=BEGIN - DAY),
        lambda query: replace(empty(query), gaps=(Missing(BEGIN, NOW, "restart"),)),
    ):
        world.find = find
        assert ("kzn_budget_used_ratio", "shop") not in world.metrics()
        assert world.budgets.states()[0].reason == "the history has nothing of this month"
    world.find = known
    assert world.metrics()["kzn_budget_used_ratio", "shop"] == 0.75


def test_a_budget_of_a_group_is_not_known_where_nothing_has_a_group(tmp_path: Path) -> None:
    text = FILE.replace("namespace: shop", "group: team-b")
    world = World(tmp_path, text=text)
    assert world.metrics()["kzn_budget_used_ratio", "shop"] == 0  # others have a group
    world.find = asking([flow for flow in FLOWS if 0 not in flow[1:3]] + FLOWS[1:1], BEGIN)
    assert ("kzn_budget_used_ratio", "shop") not in world.metrics()
    assert "--group-label" in world.budgets.states()[0].reason


def test_the_time_of_a_gap_is_not_in_the_forecast_and_the_month_is_not_complete(
    tmp_path: Path,
) -> None:
    world = World(tmp_path)
    world.metrics()
    assert world.budgets.states()[0].complete
    find = world.find
    gap = Missing(NOW - 5 * DAY, NOW - DAY, "restart")
    world.find = lambda query: replace(find(query), gaps=(gap,))
    expected = (7500 + 7500 * 4.5 / 3) / 10_000
    assert world.metrics()["kzn_budget_forecast_ratio", "shop"] == pytest.approx(expected)
    assert not world.budgets.states()[0].complete
    world.find = lambda query: replace(find(query), complete_to=NOW - DAY)
    world.metrics()
    assert not world.budgets.states()[0].complete


def test_a_month_that_has_ended_is_not_shown_in_the_next(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.metrics()
    world.now = NOW + 5 * DAY  # December
    assert world.budgets.states()[0].used is None
    assert world.budgets.states()[0].reason == "not asked yet in this month"
    world.fails = True
    assert ("kzn_budget_used_ratio", "shop") not in world.metrics()
    assert world.budgets.states()[0].reason == "too many questions"


def test_a_history_that_cannot_answer_leaves_what_was_known(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(tmp_path)
    before = world.metrics()
    world.fails = True
    assert world.metrics() == before
    assert world.budgets.states()[0].reason == "too many questions"
    assert "budgets: shop: too many questions" in caplog.text


def test_a_changed_file_is_read_again_and_a_mistake_leaves_what_was(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(tmp_path)
    world.metrics()

    async def look() -> bool:
        return await world.budgets.look()

    assert not asyncio.run(look())
    world.path.write_text(FILE.replace("amount: 10000, currency: USD, w", "amount: 20, w"))
    assert not asyncio.run(look())
    assert 'without "currency"' in caplog.text
    world.path.write_text(
        FILE.replace("10000, currency: USD, workload", "20, currency: USD, workload")
    )
    assert asyncio.run(look())
    shop, web, _ = world.budgets.states()
    assert (shop.used_ratio, web.used_ratio) == (0.75, None)
    assert world.metrics()["kzn_budget_used_ratio", "web"] == 10


def test_the_page_has_each_budget(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.metrics()
    body = answer(world.budgets.states()).body
    assert isinstance(body, Body)
    found = json.loads(body.plain or b"")
    assert [row["name"] for row in found["budgets"]] == ["shop", "web", "euro"]
    assert found["budgets"][0]["used_ratio"] == 0.75
    assert found["budgets"][2]["used"] is None


def test_a_snapshot_without_budgets_has_no_metric() -> None:
    assert list(budget_metrics(snapshot().budgets)) == []


def test_budgets_need_a_history(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--budgets needs --history"):
        ServerConfig(budgets=tmp_path / "x")
