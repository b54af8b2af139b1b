"""A report adds up to what was sent, and says what it does not know."""

import csv
import io
import json
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from asking import asking
from hypothesis import given
from questions import ENDS, FLOWS, T0, VERDICTS

from kzn.client.past_traffic import Ask, Missing, PastTraffic
from kzn.errors import KznError
from kzn.history.query import TrafficQuery
from kzn.pricing.book import PriceBook
from kzn.reports.amounts import Charge, label
from kzn.reports.document import report_document
from kzn.reports.html import as_html
from kzn.reports.period import Period, month
from kzn.reports.report import Line, Report, make_report
from kzn.reports.table import as_csv, as_markdown, as_text

DAY = 86_400
NOVEMBER = month("2026-11")
OCTOBER_DAYS = 31 * DAY
NOW = T0 + DAY // 2  # 25.5 of 30 days
"""T0 is 26 November, 00:00."""
SHOP_TO_BANK, BANK_TO_SHOP = (0, 2, 443, 6, 1, 1), (2, 0, 443, 6, 1, 2)
FEW: list[tuple[int, ...]] = [
    (0, *SHOP_TO_BANK, 1000),
    (1, *BANK_TO_SHOP, 500),
    (2, 1, 2, 80, 6, 0, 1, 8000),
    (3, 3, 4, 53, 17, 2, 0, 500),
    (-40 * 1440, *SHOP_TO_BANK, 3100),
]


HEAD = "namespace all crossed cost USD share 2026-10 change a day forecast"


def of(
    flows: list[tuple[int, ...]],
    by: str = "namespace",
    charge: Charge = "cause",
    *,
    since: int = NOVEMBER.begin - OCTOBER_DAYS,
    limit: int = 50,
    period: Period = NOVEMBER,
    now: int = NOW,
) -> Report:
    return make_report(asking(flows, since), period, by=by, charge=charge, now=now, limit=limit)


def test_the_opener_of_a_connection_is_charged_for_both_ends_and_both_ways() -> None:
    found = of(FEW)
    shop, nodes = found.lines
    assert (shop.name, shop.amount.bytes, shop.amount.crossed) == ("shop", 9500, 1500)
    assert shop.amount.cost == {"USD": 1500 * 5.0}
    assert (nodes.name, nodes.amount.bytes, nodes.amount.unresolved) == ("(none)", 500, 500)
    assert found.total.amount.bytes == 10_000
    assert found.currency == "USD"


def test_the_price_list_and_its_date_are_in_every_format() -> None:
    found = of(FEW)
    name = "aws of 2026-01-01 (USD)"
    for text in (as_text(found), as_markdown(found).replace("\\", ""), as_html(found)):
        assert f"Prices: {name}." in text
    assert as_csv(found).count(name) == len(as_csv(found).splitlines()) - 1
    assert report_document(found)["prices"] == [
        {"list": "aws", "currency": "USD", "date": "2026-01-01"}
    ]
    nothing = make_report(
        asking(FEW, 0, prices=None), NOVEMBER, by="namespace", charge="cause", now=NOW, limit=9
    )
    assert "Prices:" not in as_text(nothing)


def test_by_sides_each_end_pays_its_own_price() -> None:
    lines = {line.name: line.amount for line in of(FEW, charge="sides").lines}
    assert lines["shop"].cost == {"USD": 1000 * 2.0 + 500 * 3.0}
    assert lines["bank"].cost == {"USD": 500 * 2.0 + 1000 * 3.0}
    assert (lines["shop"].crossed, lines["bank"].crossed) == (1000, 500)


def test_the_change_is_that_of_a_mean_day() -> None:
    shop = of(FEW).lines[0]
    assert shop.before is not None
    assert shop.before.crossed == 3100
    assert shop.change == pytest.approx(1500 / (3100 * 25.5 / 31) - 1)


def test_the_forecast_adds_the_rest_at_the_rate_of_seven_days() -> None:
    flows: list[tuple[int, ...]] = [
        (minute * 60 - 7 * 1440, *SHOP_TO_BANK, 100) for minute in range(180)
    ]
    total = of(flows).total
    recent = sum(100 for flow in flows if flow[0] * 60 >= NOW - T0 - 7 * DAY)
    assert total.forecast_crossed == pytest.approx(18_000 + recent * 4.5 / 7)
    assert total.forecast_cost == pytest.approx(5 * (18_000 + recent * 4.5 / 7))


def test_a_period_that_has_ended_has_no_forecast_and_one_to_come_is_an_error() -> None:
    ended = of(FEW, now=NOVEMBER.end)
    assert (ended.total.forecast_cost, ended.end) == (None, NOVEMBER.end)
    assert not any("forecast" in note for note in ended.notes)
    with pytest.raises(KznError, match="has not begun"):
        of(FEW, period=month("2026-12"))


def test_a_short_history_is_said_and_nothing_is_compared_with_it() -> None:
    found = of(FEW, since=T0)
    assert found.total.before is None
    assert found.total.forecast_cost is None
    notes = "\n".join(found.notes)
    assert "only since 2026-11-26T00:00:00Z" in notes
    assert "does not have all of 2026-10" in notes
    assert "it needs a day of history" in notes


EVEN: list[tuple[int, ...]] = [(hour * 60, *SHOP_TO_BANK, 100) for hour in range(-56 * 24, 12)]
"""100 bytes each hour of October and of November until NOW."""


def known(ask: Ask, *gaps: tuple[int, int], until: int | None = None) -> Ask:
    """The same history with gaps, in which it has nothing, and with an end."""

    def find(query: TrafficQuery) -> PastTraffic:
        found = ask(query)
        missing = tuple(
            Missing(*gap, "restart") for gap in gaps if gap[0] < found.end and gap[1] > found.begin
        )
        return replace(found, complete_to=until, gaps=missing)

    return find


def without(*spans: tuple[int, int]) -> list[tuple[int, ...]]:
    return [
        flow for flow in EVEN if not any(begin <= T0 + flow[0] * 60 < end for begin, end in spans)
    ]


def report_of(ask: Ask, now: int = NOW, by: str = "namespace") -> Report:
    return make_report(ask, NOVEMBER, by=by, charge="cause", now=now, limit=50)


SINCE = NOVEMBER.begin - OCTOBER_DAYS
MIDDLE = NOVEMBER.begin + 15 * DAY


def test_of_a_history_that_ended_in_the_period_only_what_is_known_is_compared() -> None:
    ask = known(asking(without((MIDDLE, NOW)), SINCE), until=MIDDLE)
    ended = report_of(ask, now=NOVEMBER.end + DAY)
    assert "The history has 2026-11 only until 2026-11-16T00:00:00Z." in ended.notes
    assert ended.total.change == pytest.approx(0.0)
    running = report_of(ask)
    assert "The history has 2026-11 only until 2026-11-16T00:00:00Z." in running.notes
    assert running.total.forecast_crossed == pytest.approx(30 * 24 * 100)
    assert any("what follows 2026-11-16T00:00:00Z" in note for note in running.notes)
    fresh = report_of(known(asking(EVEN, SINCE), until=NOW - 120))
    assert not any("only until" in note for note in fresh.notes)
    with pytest.raises(KznError, match="nothing of that time"):
        report_of(known(asking([], SINCE), until=NOVEMBER.begin))


@pytest.mark.parametrize(
    ("begin", "end", "of"),
    [
        (SINCE + 5 * DAY, SINCE + 20 * DAY, "2026-10"),
        (NOW - 5 * DAY, NOW - DAY, "2026-11"),
        (NOVEMBER.begin + DAY, NOVEMBER.begin + 9 * DAY, "2026-11"),
    ],
)
def test_the_time_of_a_gap_is_in_no_rate_and_is_said(begin: int, end: int, of: str) -> None:
    ask = known(asking(without((begin, end)), SINCE), (begin, end), (begin, end))
    found = report_of(ask)
    assert found.total.change == pytest.approx(0.0)
    left = NOVEMBER.end - NOW
    expected = found.total.amount.crossed + left / 3600 * 100
    assert found.total.forecast_crossed == pytest.approx(expected)
    assert [note for note in found.notes if note.startswith(f"Of {of} bytes are missing from")]
    assert "Changes and forecasts are those of the time without gaps." in found.notes


def test_gaps_of_the_forecasts_week_before_the_period_are_said() -> None:
    gap = (T0 - 5 * DAY, T0 - 4 * DAY)
    found = make_report(
        known(asking(without(gap), SINCE), gap),
        Period("the last 1d", T0 - DAY, T0 + DAY),
        by="namespace",
        charge="cause",
        now=T0,
        limit=50,
    )
    assert any(note.startswith("Of the seven days of the forecast bytes") for note in found.notes)
    assert found.total.forecast_crossed == pytest.approx(4800)


def test_without_a_day_that_is_known_there_is_no_forecast() -> None:
    found = report_of(known(asking(EVEN, SINCE), (NOW - 7 * DAY, NOW - DAY // 2)))
    assert found.total.forecast_crossed is None
    assert "There is no forecast: it needs a day of history." in found.notes


@pytest.mark.parametrize("prices", [None, PriceBook([])])
def test_rows_that_an_answer_has_not_are_said(prices: PriceBook | None) -> None:
    flows = [*FEW, (4, 2, 0, 1, 6, 1, 1, 70)]
    found = report_of(asking(flows, SINCE, prices=prices, most=2), by="workload")
    (note,) = [note for note in found.notes if "more groups than a history answers" in note]
    assert "of the bytes of 2026-11 are in (other)" in note
    whole = report_of(asking(flows, SINCE, prices=prices), by="workload")
    assert not any("more groups" in note for note in whole.notes)


def test_what_has_no_price_or_zone_is_a_share() -> None:
    found = make_report(
        asking(FEW, T0 - 99 * DAY, prices=PriceBook([])),
        NOVEMBER,
        by="namespace",
        charge="cause",
        now=NOW,
        limit=50,
    )
    notes = "\n".join(found.notes)
    assert "5.0 % of all bytes are unresolved" in notes
    assert "95.0 % of all bytes have no price" in notes
    assert "have no price (" not in "\n".join(of(FEW).notes)


def test_without_prices_rows_are_sorted_by_what_crossed() -> None:
    found = make_report(
        asking([*FEW, (4, 2, 0, 1, 6, 1, 1, 700)], T0 - 99 * DAY, prices=None),
        NOVEMBER,
        by="namespace",
        charge="cause",
        now=NOW,
        limit=50,
    )
    assert [line.name for line in found.lines] == ["shop", "bank", "(none)"]
    assert found.currency == ""
    assert found.lines[0].share == pytest.approx(1500 / 2200)
    assert "cost" not in as_text(found)


def test_text_is_a_table_with_the_total_below_a_line() -> None:
    text = as_text(of(FEW[:3] + FEW[4:]))
    head, *_, line, total = text.split("\n\n")[1].splitlines()
    assert head.split() == HEAD.split()
    assert set(line) == {"-"}
    assert total.split()[:6] == ["total", "9.5", "kB", "1.5", "kB", "7,500.00"]


def test_markdown_and_html_escape_names() -> None:
    found = of(FEW, by="workload")
    rows = [line for line in as_markdown(found).splitlines() if line.startswith("|")]
    assert len({row.count(" | ") for row in rows}) == 1
    bad = Report(**{**{name: getattr(found, name) for name in Report.__slots__}, "period": "<b>|"})
    assert "<b>" not in as_html(bad)

    class Checked(HTMLParser):
        cells = 0

        def handle_starttag(self, tag: str, _attrs: object) -> None:
            self.cells += tag == "td"
            assert tag not in {"script", "link", "img"}

    page = Checked()
    page.feed(as_html(found))
    assert page.cells == (len(found.lines) + 1) * 8
    assert "http" not in as_html(found)


def test_csv_and_json_have_exact_numbers() -> None:
    found = of(FEW, limit=1)
    rows = list(csv.DictReader(io.StringIO(as_csv(found))))
    assert [row["namespace"] for row in rows] == ["shop", "(other)", "total"]
    assert [int(row["bytes"]) for row in rows] == [9500, 500, 10_000]
    assert float(rows[0]["cost"]) == 7500.0
    document = json.loads(json.dumps(report_document(found)))
    assert document["rows"][0]["cost"] == {"USD": 7500.0}
    assert document["other"]["bytes"] == 500
    assert document["total"]["bytes"] == 10_000


@pytest.mark.parametrize(
    "name",
    ["=HYPERLINK(1)", "+1", "-1", "@x", "\t=1", "\n=1", "\uff1d1", "\uff0b1", "\uff0d1", "\uff20x"],
)
def test_a_name_is_no_formula_of_a_spreadsheet(name: str) -> None:
    found = of(FEW)
    bad = Line(name, *[getattr(found.lines[0], field) for field in Line.__slots__[1:]])
    fields = {field: getattr(found, field) for field in Report.__slots__}
    first = next(csv.DictReader(io.StringIO(as_csv(Report(**fields | {"lines": (bad,)})))))
    assert first["namespace"] == f"'{name}"


def test_what_is_beyond_the_groups_of_an_answer_is_in_the_rest_with_its_class() -> None:
    flows = [*FEW, (4, 2, 0, 1, 6, 1, 1, 70)]
    found = make_report(
        asking(flows, T0 - 99 * DAY, most=3),
        NOVEMBER,
        by="workload",
        charge="cause",
        now=NOW,
        limit=50,
    )
    assert found.other is not None
    shown = [*found.lines, found.other]
    for figure in ("bytes", "crossed", "unresolved"):
        parts = sum(getattr(line.amount, figure) for line in shown)
        assert parts == getattr(found.total.amount, figure)
    assert sum(line.amount.money("USD") for line in shown) == pytest.approx(
        found.total.amount.money("USD")
    )


def test_names_from_a_cluster_obey_no_terminal_and_no_markdown() -> None:
    assert label(("shop", "x\x1b[2Jy\n")) == "shop/x[2Jy"
    found = of(FEW, by="workload")
    bad = Line("a|`<b>~~$&amp;", *[getattr(found.lines[0], name) for name in Line.__slots__[1:]])
    fields = {name: getattr(found, name) for name in Report.__slots__}
    more = {"lines": (bad,), "notes": ("Prices: *x* of 2026 (USD).",)}
    text = as_markdown(Report(**fields | more))
    assert "a\\|\\`\\<b\\>\\~\\~\\$\\&amp;" in text
    assert text.endswith("- Prices: \\*x\\* of 2026 (USD).")


@given(FLOWS)
def test_rows_and_rest_are_the_total_to_the_byte(flows: list[tuple[int, ...]]) -> None:
    begin, end = T0 - 7200, T0 + 7200
    inside = [flow for flow in flows if begin <= T0 + flow[0] * 60 < end]
    charges: tuple[Charge, ...] = ("cause", "sides")
    for charge in charges:
        if not inside:
            continue
        found = of(
            flows,
            "workload",
            charge,
            limit=1,
            period=Period("two hours", begin, end),
            now=end,
            since=begin,
        )
        expected: Counter[str] = Counter()
        for *_, verdict, _, size in inside:
            expected[VERDICTS[verdict][0]] += size
        total = found.total.amount
        assert total.bytes == sum(flow[-1] for flow in inside)
        assert (total.crossed, total.unresolved) == (
            expected["cross_zone"],
            expected["unresolved"],
        )
        shown = [*found.lines, *([found.other] if found.other else [])]
        assert sum(line.amount.bytes for line in shown) == total.bytes
        assert sum(line.amount.crossed for line in shown) == total.crossed
        assert sum(line.amount.money("USD") for line in shown) == pytest.approx(
            total.money("USD"), rel=1e-9
        )


def test_the_ends_of_the_test_are_what_it_needs() -> None:
    assert [ENDS[0].namespace, ENDS[2].namespace, ENDS[3].namespace] == ["shop", "bank", ""]
