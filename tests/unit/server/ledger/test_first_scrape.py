"""A new series is exposed at 0, and with its bytes after a scrape that could see it at 0."""

from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kzn.model.totals import Counts
from kzn.server.ledger.family import Row
from kzn.server.ledger.first_scrape import LONGEST_SECONDS, FirstScrape
from kzn.server.ledger.ledger import Ledger
from kzn.server.ledger.limits import LedgerLimits
from kzn.server.ledger.node_totals import TotalsByNode
from kzn.server.ledger.series import SeriesTable
from kzn.server.ledger.top_pairs import TopPairs

WINDOW = 100.0


def add(table: SeriesTable | TopPairs, amounts: dict[int, int], now: float) -> None:
    table.add(np.array([*amounts], np.int64), np.array([*amounts.values()], np.uint64), now)


def exposed(table: SeriesTable) -> dict[int, int]:
    shown = np.where(table.exposed, table.bytes, 0)
    return dict(zip(table.keys.tolist(), shown.tolist(), strict=True))


def test_a_series_waits_and_is_scraped_before_its_bytes_are_exposed() -> None:
    rule = FirstScrape(75.0)
    assert rule.begun_before(1000.0) == -inf  # never scraped
    rule.scraped(900.0, 900.1, is_prometheus=True, by="a")
    assert rule.begun_before(1000.0) == 900.0  # what began later was not in the scrape
    rule.scraped(990.0, 990.1, is_prometheus=True, by="a")
    assert rule.begun_before(1000.0) == 925.0  # a Prometheus that scrapes each minute may not have


def test_while_a_prometheus_scrapes_other_requests_do_not_count() -> None:
    rule = FirstScrape(75.0)
    rule.scraped(100.0, 100.0, is_prometheus=False, by="a")
    assert rule.begun_before(1000.0) == 100.0
    rule.scraped(200.0, 200.0, is_prometheus=True, by="a")
    rule.scraped(300.0, 300.0, is_prometheus=False, by="a")
    assert rule.begun_before(1000.0) == 200.0
    rule.scraped(3801.0, 3801.0, is_prometheus=False, by="a")  # an hour after the last Prometheus
    assert rule.begun_before(9000.0) == 3801.0
    assert rule.scrapes == 4


def scrape(rule: FirstScrape, at: float, by: str) -> None:
    rule.scraped(at, at, is_prometheus=True, by=by)


def test_each_of_two_that_scrape_receives_a_new_series_at_zero() -> None:
    rule = FirstScrape(75.0)
    for minute in range(4):  # both every two minutes, one after the other
        scrape(rule, 120.0 * minute, "a")
        scrape(rule, 120.0 * minute + 60, "b")
    assert rule.begun_before(425.0) == 350.0  # both scraped after that
    scrape(rule, 480.0, "a")
    assert rule.begun_before(539.0) == 420.0  # a has it since 480, b scraped it last at 420
    scrape(rule, 540.0, "b")
    assert rule.begun_before(560.0) == 480.0


def test_one_that_stops_delays_new_series_for_three_of_its_intervals() -> None:
    rule = FirstScrape(75.0)
    for at in range(0, 601, 30):
        scrape(rule, at, "a")
        if at <= 300:
            scrape(rule, at, "b")
        if at == 360:
            assert rule.begun_before(389.0) == 300.0
            assert rule.begun_before(391.0) == 316.0
    scrape(rule, 605.0, "b")
    assert rule.begun_before(685.0) == 600.0


def test_a_scrape_that_ends_late_takes_nothing_back() -> None:
    rule = FirstScrape(5.0)
    scrape(rule, 100.0, "a")
    assert rule.begun_before(110.0) == 100.0
    rule.scraped(60.0, 110.0, is_prometheus=True, by="b")
    assert rule.begun_before(110.0) == 100.0


def test_what_waits_for_a_scraper_is_bounded() -> None:
    rule = FirstScrape(75.0)
    for number in range(1000):
        scrape(rule, 0.0, f"invented-{number}")
    scrape(rule, 5000.0, "invented-1")
    scrape(rule, 10_000.0, "a")
    assert rule.begun_before(10_000.0 + LONGEST_SECONDS) == 10_000.0


def test_off_exposes_at_once() -> None:
    assert FirstScrape(0.0).begun_before(0.0) == inf
    assert not FirstScrape(0.0).holds


def test_a_new_series_is_at_zero_and_an_old_one_grows_at_once() -> None:
    table = SeriesTable(10, holds=True, epoch=1e9)
    add(table, {1: 5}, now=10.0)
    table.expose(10.0)
    assert exposed(table) == {1: 0}
    table.expose(10.1)
    add(table, {1: 5, 2: 7}, now=20.0)
    assert exposed(table) == {1: 10, 2: 0}
    assert table.bytes.tolist() == [10, 7]
    assert table.created.tolist() == [1e9 + 10, 1e9 + 20]


def test_a_series_that_ended_begins_at_zero_again() -> None:
    table = SeriesTable(10, holds=True)
    add(table, {1: 5}, now=0.0)
    table.expose(1.0)
    table.drop(np.array([True]))
    add(table, {1: 3}, now=50.0)
    table.expose(50.0)
    assert exposed(table) == {1: 0}
    assert table.retired == 5


def test_the_series_other_begins_at_zero_too() -> None:
    table = SeriesTable(0, holds=True)
    add(table, {1: 5}, now=10.0)
    assert (table.other.bytes, table.other.is_exposed) == (5, False)
    table.expose(10.0)
    assert not table.other.is_exposed
    table.expose(11.0)
    add(table, {2: 5}, now=20.0)
    assert (table.other.bytes, table.other.is_exposed) == (10, True)


def test_what_a_demoted_pair_did_not_expose_goes_to_other() -> None:
    pairs = TopPairs(SeriesTable(1, holds=True), WINDOW)
    pairs.end_window(0.0)
    add(pairs, {1: 40}, now=0.0)
    add(pairs, {2: 900}, now=1.0)
    pairs.end_window(WINDOW)
    assert exposed(pairs.top) == {2: 0}
    assert (pairs.top.other.bytes, pairs.top.retired) == (940, 0)


@pytest.mark.slow
@given(
    st.lists(
        st.tuples(
            st.dictionaries(st.integers(0, 8), st.integers(1, 10**9)),
            st.sampled_from(["add", "expose", "drop", "to other"]),
        ),
        max_size=20,
    ),
    st.integers(0, 5),
)
def test_exposed_and_pending_are_all_bytes_and_no_exposed_series_decreases(
    steps: list[tuple[dict[int, int], str]], limit: int
) -> None:
    table, total, before, other = SeriesTable(limit, holds=True), 0, dict[int, int](), 0
    for number, (amounts, step) in enumerate(steps):
        now = float(number)
        ending = np.arange(len(table)) % 2 == 0
        match step:
            case "expose":
                table.expose(now)
            case "drop":
                table.drop(ending)
                before = {key: was for key, was in before.items() if key in table.keys}
            case "to other":
                table.drop_to_other(ending, now)
                before = {key: was for key, was in before.items() if key in table.keys}
        add(table, amounts, now)
        total += sum(amounts.values())
        shown = exposed(table)
        assert all(shown[key] >= was for key, was in before.items())
        shown_other = table.other.bytes if table.other.is_exposed else 0
        assert shown_other >= other
        before, other = shown, shown_other
        pending = int(table.bytes[~table.exposed].sum()) + table.other.bytes - shown_other
        assert sum(shown.values()) + shown_other + pending + table.retired == total
    table.expose(inf)
    assert exposed(table) == dict(zip(table.keys.tolist(), table.bytes.tolist(), strict=True))


def test_totals_of_a_node_begin_at_zero_each_at_its_own_time() -> None:
    node_totals = TotalsByNode(10, holds=True, epoch=1e9)
    node_totals.of("n1", 10.0).add("seen", "", Counts(1, 100))
    node_totals.expose(10.5)
    totals = node_totals.of("n1", 20.0)
    totals.add("seen", "", Counts(1, 100))
    totals.add("missed", "map_full", Counts(1, 30))
    rows = {(row.term, row.reason): row for row in node_totals.rows()}
    assert rows["seen", ""].exposed
    assert not rows["missed", "map_full"].exposed
    assert (rows["seen", ""].created, rows["missed", "map_full"].created) == (1e9 + 10, 1e9 + 20)
    assert rows["missed", "map_full"].counts.bytes == 30  # the truth, for the API


def test_near_its_limit_a_family_evicts_the_longest_idle_series_of_deleted_endpoints() -> None:
    ledger = Ledger(LedgerLimits({"pod": 10}), holds=True)
    for number in range(10):
        ledger.load([Row("pod", ("shop", f"job-{number}"), 1, exposed=False)], float(number))
    ledger.sweep(300.0, lambda _: False)
    assert len(ledger.snapshot().views["pod"].keys) == 10  # not idle for long enough to be scraped
    ledger.sweep(700.0, lambda _: False)
    taken = ledger.snapshot()
    view = taken.views["pod"]
    assert {name for _, name in dict(taken.rows("pod"))} == {
        *(f"job-{number}" for number in range(2, 10)),
        "other",  # the two were never exposed
    }
    assert (view.evicted, view.other.bytes, view.retired, view.pending) == (2, 2, 0, 10)
