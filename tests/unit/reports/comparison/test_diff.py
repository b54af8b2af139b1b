"""Two windows beside each other: load and routing apart, and what limits the comparison."""

import json
from dataclasses import replace

import pytest
from asking import asking
from hypothesis import given
from questions import FLOWS, T0

from kzn.client.past_traffic import Missing, PastTraffic
from kzn.errors import KznError
from kzn.history.query import TrafficQuery
from kzn.reports.comparison.diff import Change, Diff, Rate, make_diff, verdict
from kzn.reports.comparison.diff_text import as_text, document
from kzn.reports.comparison.window import Window

WEEK = 7 * 86_400
BEFORE, AFTER = Window(T0 - WEEK, T0 - WEEK + 3600), Window(T0, T0 + 3600)
WEEK_MINUTES = WEEK // 60
CROSS, STAY = 1, 0
TO_BANK = (0, 2, 443, 6)


def flows(before: tuple[int, int], after: tuple[int, int]) -> list[tuple[int, ...]]:
    """(crossed, stayed) in both windows."""
    return [
        (minute, *TO_BANK, verdict, 1, size)
        for minute, sizes in ((-WEEK_MINUTES, before), (0, after))
        for verdict, size in zip((CROSS, STAY), sizes, strict=True)
        if size
    ]


def of(rows: list[tuple[int, ...]], by: str = "workload", limit: int = 20) -> Diff:
    return make_diff(asking(rows, T0 - 2 * WEEK), BEFORE, AFTER, by=by, limit=limit)


def test_another_share_is_routing_and_more_traffic_is_load() -> None:
    found = of(flows((600, 400), (200, 1800)))
    (change,) = found.changes
    assert (change.name, change.before.share, change.after.share) == ("shop/web", 0.6, 0.1)
    assert change.crossed == -400
    assert change.by_load == pytest.approx(1000 * 0.6)
    assert change.by_routing == pytest.approx(2000 * (0.1 - 0.6))
    assert found.total.after.cost == {"USD": 200 * 5.0 * 730}
    assert verdict(found.total) == (
        "60.0 % of the bytes crossed before, 10.0 % after; load is +100.0 %."
    )


def test_the_price_list_and_its_date_stand_beside_the_costs() -> None:
    found = of(flows((600, 400), (200, 1800)))
    assert "Prices: aws of 2026-01-01 (USD)." in as_text(found)
    assert document(found)["prices"] == [{"list": "aws", "currency": "USD", "date": "2026-01-01"}]


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        ((600, 400), (600, 400), "60.0 % of the bytes crossed before, 60.0 % after; load is the"),
        ((600, 400), (300, 200), "60.0 % after; load is -50.0 %"),
        ((0, 0), (1, 3), "There was no traffic before; 25.0 % of the bytes cross after"),
        ((1, 1), (0, 0), "There is no traffic after; 50.0 % of the bytes crossed before"),
        ((0, 0), (0, 0), "no traffic in either window"),
    ],
)
def test_the_verdict_names_load_and_crossing(
    before: tuple[int, int], after: tuple[int, int], text: str
) -> None:
    rates = (Rate(sum(one), one[0]) for one in (before, after))
    assert text in verdict(Change("total", *rates))


@pytest.mark.parametrize(
    ("by", "name"),
    [
        ("workload", "shop/web"),
        ("pair", "shop/web > bank/web"),
        ("zones", "a > b"),
        ("port", "bank/web:443"),
    ],
)
def test_a_row_is_what_was_asked_for(by: str, name: str) -> None:
    assert [change.name for change in of(flows((1, 0), (2, 0)), by).changes] == [name]


def test_windows_of_other_lengths_are_compared_by_the_hour_and_that_is_said() -> None:
    rows: list[tuple[int, ...]] = [(minute * 60, *TO_BANK, CROSS, 1, 100) for minute in range(4)]
    found = make_diff(
        asking(rows, T0), Window(T0, T0 + 3600), Window(T0 + 3600, T0 + 4 * 3600), by="zones"
    )
    assert found.total.before.crossed == found.total.after.crossed == 100
    assert any("different weekdays or hours" in note for note in found.notes)


def test_a_history_that_begins_in_a_window_is_said_and_its_rate_is_of_what_is_known() -> None:
    rows: list[tuple[int, ...]] = [
        (-WEEK_MINUTES + 30, *TO_BANK, CROSS, 1, 100),
        (0, *TO_BANK, CROSS, 1, 200),
    ]
    found = make_diff(asking(rows, BEFORE.begin + 1800), BEFORE, AFTER, by="zones")
    assert found.total.before.crossed == found.total.after.crossed == 200
    assert any("The history is too short" in note for note in found.notes)


def test_the_time_of_a_gap_is_in_no_rate() -> None:
    day = 86_400
    rows: list[tuple[int, ...]] = [
        (minute, *TO_BANK, CROSS, 1, 1000) for minute in range(-2880, -720, 10)
    ]  # of the second day its first half alone
    ask = asking(rows, T0 - 3 * day)
    gap = Missing(T0 - day // 2, T0, "restart")

    def find(query: TrafficQuery) -> PastTraffic:
        found = ask(query)
        return replace(found, gaps=(gap, gap) if gap.begin < found.end else ())

    found = make_diff(find, Window(T0 - 2 * day, T0 - day), Window(T0 - day, T0), by="workload")
    assert "load is the same" in verdict(found.total)
    assert found.total.after.cost == pytest.approx(found.total.before.cost)
    notes = "\n".join(found.notes)
    assert "Of the window after bytes are missing from 2026-11-25T12:00:00Z" in notes
    assert "Rates are those of the time without gaps." in notes


def test_a_history_that_ended_in_a_window_is_said() -> None:
    ask = asking(flows((600, 400), (600, 400)), T0 - 2 * WEEK)
    found = make_diff(
        lambda query: replace(ask(query), complete_to=T0 + 1800), BEFORE, AFTER, by="workload"
    )
    assert any("the window after only until 2026-11-26T00:30:00Z" in note for note in found.notes)


def test_a_window_without_any_history_is_an_error() -> None:
    with pytest.raises(KznError, match="the history has nothing from 2026-11-19"):
        make_diff(asking([], T0), BEFORE, AFTER, by="workload")


def test_receiving_pods_are_counted_by_zone() -> None:
    rows: list[tuple[int, ...]] = [
        (-WEEK_MINUTES, 2, 0, 443, 6, CROSS, 1, 10),
        (0, 2, 0, 443, 6, CROSS, 1, 10),
        (0, 2, 1, 443, 6, STAY, 1, 10),
    ]
    where = (("dst_workload", ("shop/web",)),)
    found = make_diff(asking(rows, T0 - 2 * WEEK), BEFORE, AFTER, by="zones", where=where)
    assert found.pods is not None
    assert (found.pods.before, found.pods.after) == ({"a": 1}, {"a": 1, "b": 1})
    assert "pods that received: a 1 > 1, b 0 > 1" in as_text(found)


def test_the_receiving_pods_of_a_filter_of_either_end_are_counted() -> None:
    rows: list[tuple[int, ...]] = [
        (-WEEK_MINUTES, 2, 0, 443, 6, CROSS, 1, 10),
        (-WEEK_MINUTES, 0, 2, 443, 6, CROSS, 1, 10),
        (0, 2, 0, 443, 6, CROSS, 1, 10),
    ]
    where = (("workload", ("shop/web",)),)
    found = make_diff(asking(rows, T0 - 2 * WEEK), BEFORE, AFTER, by="zones", where=where)
    assert found.pods is not None
    assert (found.pods.before, found.pods.after) == ({"a": 1}, {"a": 1})
    cut = asking([*rows, (0, 2, 1, 443, 6, STAY, 1, 10)], T0 - 2 * WEEK, most=1)
    assert make_diff(cut, BEFORE, AFTER, by="zones", where=where).pods is None


def test_what_is_beyond_the_groups_of_an_answer_is_in_the_rest_with_its_class() -> None:
    rows: list[tuple[int, ...]] = [
        (at, src, dst, 443, 6, CROSS, 1, 100 + src + dst)
        for at in (-WEEK_MINUTES, 0)
        for src in range(3)
        for dst in range(3)
        if src != dst
    ]
    found = make_diff(asking(rows, T0 - 2 * WEEK, most=2), BEFORE, AFTER, by="pair")
    assert found.other is not None
    assert found.other.before.share == found.other.after.share == 1.0
    parts = [*found.changes, found.other]
    assert sum(one.after.crossed for one in parts) == pytest.approx(found.total.after.crossed)


def test_text_and_json_have_the_same_figures() -> None:
    found = of(flows((600, 400), (200, 1800)))
    text = as_text(found)
    assert "shop/web" in text
    assert "+600 B" in text
    assert "-1e+03 B" not in text
    shown = json.loads(json.dumps(document(found)))
    assert shown["total"]["crossed_by_load"] == pytest.approx(600)
    assert shown["rows"][0]["after"]["bytes_per_hour"] == 2000
    assert shown["verdict"] == verdict(found.total)


@given(FLOWS)
def test_load_and_routing_are_the_change_and_rows_and_rest_the_total(
    rows: list[tuple[int, ...]],
) -> None:
    begin = Window(T0 - 7200, T0)
    found = make_diff(asking(rows, T0 - 7200), begin, Window(T0, T0 + 7200), by="pair", limit=1)
    shown = [*found.changes, *([found.other] if found.other else [])]
    for change in shown:
        assert change.by_load + change.by_routing == pytest.approx(change.crossed)
    for side in ("before", "after"):
        for figure in ("bytes", "crossed", "unpriced"):
            parts = sum(getattr(getattr(change, side), figure) for change in shown)
            whole = getattr(getattr(found.total, side), figure)
            assert parts == pytest.approx(whole)
