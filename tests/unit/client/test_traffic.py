"""The text of queries: one grammar for URLs and for the command line."""

import pytest

from kzn.client.traffic import parse_query, to_parameters
from kzn.errors import UsageError
from kzn.history.query import DIMENSIONS, TrafficQuery
from kzn.server.ledger.family import INITIATORS
from kzn.server.resolve.verdict import CLASSES

NOW = 1_795_651_234.5


def test_all_parameters() -> None:
    found = parse_query(
        {
            "since": ("24h",),
            "by": ("src_zone,dst_zone", "port"),
            "where": (
                "workload:shop/cart",
                "port:443",
                "port=80",
                "dst_address:fe80::1",
                "src_zone:",
            ),
            "limit": ("7",),
            "points": ("72",),
            "compare": ("previous",),
        },
        NOW,
    )
    assert found == TrafficQuery(
        begin=1_795_564_834,
        end=1_795_651_234,
        by=("src_zone", "dst_zone", "port"),
        where=(
            ("workload", ("shop/cart",)),
            ("port", ("443", "80")),
            ("dst_address", ("fe80::1",)),
            ("src_zone", ("",)),
        ),
        limit=7,
        points=72,
        compare=True,
    )
    again: dict[str, tuple[str, ...]] = {}
    for name, value in to_parameters(found):
        again[name] = (*again.get(name, ()), value)
    assert parse_query(again, NOW) == found


def test_times_are_unix_seconds_rfc3339_or_ago() -> None:
    found = parse_query({"from": ("2026-11-26T00:00:00Z",), "to": ("1795651210",)}, NOW)
    assert (found.begin, found.end) == (1_795_651_200, 1_795_651_210)
    assert parse_query({"from": ("10m",)}, NOW).begin == 1_795_650_634
    assert parse_query({}, NOW).begin == 1_795_647_634


@pytest.mark.parametrize("end", ["2026-11-28T00:00:00Z", "1795824000"])
def test_a_span_may_end_in_the_future_however_that_is_written(end: str) -> None:
    assert parse_query({"from": ("10m",), "to": (end,)}, NOW).end == 1_795_824_000
    with pytest.raises(UsageError, match="span is empty"):
        parse_query({"from": (end,)}, NOW)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"colour": ("x",)}, "'colour' is not a parameter"),
        ({"since": ("1y",)}, "not a duration"),
        ({"since": ("0h",)}, "not a duration"),
        ({"since": ("1h", "2h")}, "2 times"),
        ({"since": ("1h",), "from": ("0",)}, "exclude"),
        ({"from": ("yesterday",)}, "not a time"),
        ({"from": ("20",), "to": ("10",)}, "span is empty"),
        ({"from": ("6090535696",), "to": ("6090622096",)}, "ends after 2106"),
        ({"to": ("9999-12-31T23:59:59Z",)}, "ends after 2106"),
        ({"where": ("port",)}, "has no value"),
        ({"where": ("colour:x",)}, "'colour' is not a filter"),
        ({"where": ("class:crosszone",)}, "'crosszone' is not a value of class"),
        ({"where": ("class=cross_zone", "class=")}, "'' is not a value of class"),
        ({"where": ("initiator=client",)}, "'client' is not a value of initiator"),
        ({"where": ("port=http",)}, "'http' is not a port"),
        ({"where": ("port=80,443",)}, "'80,443' is not a port"),
        ({"where": ("port=080",)}, "'080' is not a port"),
        ({"where": ("port=65536",)}, "'65536' is not a port"),
        ({"by": ("colour",)}, "'colour' is not a dimension"),
        ({"limit": ("x",)}, "limit 'x' is not a number"),
        ({"points": ("-1",)}, "points '-1' is not a number"),
        ({"compare": ("next",)}, "compare 'next'"),
    ],
)
def test_what_is_wrong_is_named(parameters: dict[str, tuple[str, ...]], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_query(parameters, NOW)


def test_every_class_initiator_and_port_of_a_flow_can_be_asked_for() -> None:
    texts = [*(f"class={one}" for one in CLASSES), "class:unresolved"]
    texts += [*(f"initiator={one}" for one in INITIATORS), "port:0", "port=65535"]
    names = [name for name, _ in parse_query({"where": texts}, NOW).where]
    assert names == ["class", "initiator", "port"]


def test_a_user_may_group_by_eight_dimensions() -> None:
    assert len(parse_query({"by": (",".join(DIMENSIONS[:8]),)}, 1e9).by) == 8
    with pytest.raises(UsageError, match="at most 8"):
        parse_query({"by": (",".join(DIMENSIONS[:9]),)}, 1e9)
