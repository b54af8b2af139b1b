"""The verdict of the demo, and how it reads."""

import json
import re
from dataclasses import replace
from datetime import date
from io import BytesIO, StringIO

import pytest
from rich.console import Console

from kzn.demo import view
from kzn.demo.cost import month_rows
from kzn.demo.flow_log import FlowLogReader, snapshot_sums
from kzn.demo.report import OwnRow, Report, UplinkRow, own_rows, pair_rows
from kzn.demo.shop import ends_of
from kzn.errors import KznError
from kzn.lab.jobs import Sum, Sums
from kzn.lab.plan import LabSpec, make_plan
from kzn.lab.traffic import Sent
from kzn.lab.witness import WireKey
from kzn.model.totals import Counts

PLAN = make_plan(LabSpec(pods_per_node=1))
A, B = PLAN.pods
UDP = WireKey(A.ipv4, B.ipv4, 17)
TCP = WireKey(B.ipv6, A.ipv6, 6)
SENT = {UDP: Sum(100, Counts(1, 128)), TCP: Sum(5000, None)}
CARRIED = {
    UDP: Counts(1, 128),
    TCP: Counts(9, 5600),
    WireKey(PLAN.nodes[0].ipv4, PLAN.fabric.ipv4, 6): Counts(12, 1300),
}
LEFT = {WireKey(PLAN.nodes[0].ipv4, PLAN.fabric.ipv4, 6): Counts(3, 200)}
UPLINK = UplinkRow("a1", 128, 1, 128, 1)


def report(
    counted: dict[WireKey, Counts],
    sent: dict[WireKey, Sum] = SENT,
    uplink: UplinkRow = UPLINK,
) -> Report:
    return Report(
        pairs=pair_rows(ends_of(PLAN), sent, CARRIED, counted),
        uplinks=(uplink,),
        own=own_rows(PLAN, CARRIED, counted, LEFT),
        prometheus="kzn_up 1\n",
    )


def test_three_books_that_agree_are_exact() -> None:
    found = report(CARRIED)
    assert found.exact
    assert [(row.src, row.dst, row.protocol, row.family) for row in found.pairs] == [
        ("a1-p1", "b1-p1", "udp", 4),
        ("b1-p1", "a1-p1", "tcp", 6),
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        report({**CARRIED, UDP: Counts(1, 127)}),
        report({**CARRIED, UDP: Counts(2, 128)}),
        report({key: CARRIED[key] for key in CARRIED if key != TCP}),
        report({**CARRIED, WireKey(A.ipv4, B.ipv4, 1): Counts(1, 84)}),
        report(CARRIED, sent={**SENT, UDP: Sum(100, Counts(1, 129))}),
        report(CARRIED, uplink=UplinkRow("a1", 129, 1, 128, 1)),
        Report((), (), (), ""),
    ],
)
def test_any_difference_in_any_book_is_not_exact(wrong: Report) -> None:
    assert not wrong.exact
    assert wrong.as_json()["exact"] is False


def test_own_traffic_is_reported_without_a_verdict() -> None:
    found = report({UDP: CARRIED[UDP], TCP: CARRIED[TCP]})
    assert found.exact
    assert found.own == (OwnRow("a1", 1300, 0, 200), OwnRow("b1", 0, 0, 0))


def test_the_json_has_what_was_promised() -> None:
    [udp, tcp] = report(CARRIED).as_json()["pairs"]
    assert udp["src"] == "a1-p1"
    assert (udp["sent_bytes"], udp["computed_bytes"]) == (100, 128)
    assert (tcp["wire_bytes"], tcp["counted_bytes"], tcp["difference"]) == (5600, 5600, 0)


def drawn(found: Report) -> str:
    console = Console(file=StringIO(), width=120)
    console.print(view.report(found))
    console.print(view.live(found.pairs, 3.0, 10.0))
    file = console.file
    assert isinstance(file, StringIO)
    return file.getvalue()


def test_the_report_reads_well() -> None:
    text = drawn(report(CARRIED))
    assert re.search(r"b1-p1 \(zone-b\)  a1-p1 \(zone-a\) +5,000 +5,600 +5,600 +0 *\n", text)
    assert "exact: 5,728 bytes counted of 5,728, 5,728 of them across zones" in text
    assert "no difference in 2 rows" in text
    assert "[######..............] 3 of 10 s" in text


def test_the_report_has_the_price_of_a_month_at_both_ends() -> None:
    found = report(CARRIED)
    months = month_rows(found.pairs, 10.0, date(2026, 11, 26))
    factor = 730 * 3600 / 10
    gib = 5728 * factor / 2**30
    assert [row.provider for row in months] == ["aws", "gcp", "azure"]
    assert [(row.sender, row.receiver) for row in months] == [
        (pytest.approx(gib * 0.01), pytest.approx(gib * 0.01)),
        (pytest.approx(gib * 0.01), 0),
        (0, 0),
    ]
    assert {row.bytes for row in months} == {round(5728 * factor)}
    text = drawn(replace(found, months=months))
    side, both = f"{gib * 0.01:.2f}", f"{gib * 0.02:.2f}"
    assert re.search(rf"AWS +{side} +{side} +{both} USD", text)
    assert re.search(rf"Google Cloud +{side} +0.00 +{side} USD", text)
    assert re.search(r"Azure +0.00 +0.00 +free", text)
    assert "by public list prices" in text
    [aws, _, _] = replace(found, months=months).as_json()["per_month"]
    assert aws["currency"] == "USD"


def test_traffic_in_a_zone_costs_nothing_and_without_traffic_there_is_no_month() -> None:
    pairs = [replace(row, dst_zone=row.src_zone) for row in report(CARRIED).pairs]
    assert all(not row.both for row in month_rows(pairs, 10.0, date(2026, 11, 26)))
    assert month_rows((), 10.0, date(2026, 11, 26)) == ()
    assert month_rows(pairs, 0.0, date(2026, 11, 26)) == ()
    assert "by public list prices" not in drawn(report(CARRIED))


def test_a_difference_is_shown_with_its_sign() -> None:
    text = drawn(report({**CARRIED, UDP: Counts(1, 28)}))
    assert "-100" in text
    assert "NOT exact" in text


def test_differences_that_add_up_to_nothing_are_shown() -> None:
    """Of two protocols between the same pods."""
    echo = WireKey(A.ipv4, B.ipv4, 1)
    rows = pair_rows(
        ends_of(PLAN),
        {},
        {UDP: Counts(1, 128), echo: Counts(1, 84)},
        {UDP: Counts(1, 28), echo: Counts(1, 184)},
    )
    text = drawn(Report(rows, (UPLINK,), (), ""))
    assert "+0 (±200)" in text
    assert "NOT exact" in text


def test_small_groups_are_added_up_unless_they_are_not_exact() -> None:
    [row, _] = report(CARRIED).pairs
    rows = [replace(row, dst_workload=f"w{n:02}", wire_bytes=n, counted_bytes=n) for n in range(40)]
    rows = [replace(row, computed_bytes=None) for row in rows]
    rows[3] = replace(rows[3], counted_bytes=2)
    text = drawn(Report(tuple(rows), (UPLINK,), (), ""))
    assert re.search(r"a1-p1 \(zone-a\) +w24 \(zone-b\) +100 +24 +24 +0 *\n", text)
    assert "w23" not in text
    assert re.search(r"w03 \(zone-b\) +100 +3 +2 +-1 *\n", text)
    assert re.search(rf"23 more +2,300 +{sum(range(24)) - 3} +{sum(range(24)) - 3} +0 *\n", text)


def test_sums_know_the_weight_only_while_every_part_does() -> None:
    sums = Sums()
    sums.add(Sent("a", "b", 17, 10, Counts(1, 38)))
    sums.add(Sent("a", "b", 17, 10, Counts(1, 38)))
    sums.add(Sent("a", "b", 6, 10, None))
    assert sums.copy() == {
        WireKey("a", "b", 17): Sum(20, Counts(2, 76)),
        WireKey("a", "b", 6): Sum(10, None),
    }


LINE = b'{"src": "10.0.0.1", "dst": "10.0.0.2", "protocol": "%s", "packets": 2, "bytes": 90}\n'


def test_the_flow_log_is_summed_per_pair_and_protocol() -> None:
    reader = FlowLogReader(BytesIO(LINE % b"udp" * 3 + LINE % b"icmpv6" + LINE % b"47"))
    found = {key.protocol: counts for key, counts in reader.finish(5).items()}
    assert found == {17: Counts(6, 270), 58: Counts(2, 90), 47: Counts(2, 90)}


def test_what_is_left_in_the_kernel_is_summed_over_all_maps() -> None:
    flow = {"src": "10.0.0.1", "dst": "10.0.0.2", "protocol": "tcp", "packets": 1, "bytes": 52}
    found = snapshot_sums(json.dumps([{"flows": [flow, flow]}, {"flows": [flow]}]))
    assert found == {WireKey("10.0.0.1", "10.0.0.2", 6): Counts(3, 156)}
    with pytest.raises(KznError, match="not flows"):
        snapshot_sums("[{}]")


@pytest.mark.parametrize("line", [b"not json\n", b"{}\n", b"[1]\n", LINE % b"what"])
def test_a_line_that_is_no_flow_is_not_passed_over(line: bytes) -> None:
    with pytest.raises(KznError, match="not a flow"):
        FlowLogReader(BytesIO(line)).finish(5)
