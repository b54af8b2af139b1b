"""kzn/client/explain.py: times, addresses, and the answer read back."""

import json
from contextlib import suppress

import pytest
from decisions import CELLS, World
from hypothesis import given
from hypothesis import strategies as st

from kzn.client.explain import Explanation, parse_address, parse_time, timestamp
from kzn.errors import UsageError
from kzn.server.http.explain import Moment, answer
from kzn.server.resolve.reporting import ReportingNodes

NOW = 1_000_000_000.0


@pytest.mark.parametrize("ends", CELLS)
def test_an_answer_is_the_same_after_encoding_and_decoding(ends: tuple[str, str]) -> None:
    world = World()
    now = Moment(world.clock.now(), world.clock.wall())
    query = {"src": ends[0], "dst": ends[1], "node": "n1"}
    body = json.loads(answer(query, world.index, ReportingNodes(world.index), now))
    found = Explanation.from_json(body)
    assert found.verdict == CELLS[ends]
    assert json.loads(json.dumps(found.to_json())) == body


@pytest.mark.parametrize(
    ("text", "ago"),
    [("90s", 90), ("10m", 600), ("1h30m", 5400), ("0s", 0), ("2001-09-09T01:46:39Z", 1)],
)
def test_a_time_is_how_long_ago_or_rfc_3339(text: str, ago: float) -> None:
    assert parse_time(text, NOW) == NOW - ago


@pytest.mark.parametrize("text", ["", "10", "m", "-5m", "10m ago", "12:00", "2001-09-09"])
def test_other_text_is_not_a_time(text: str) -> None:
    with pytest.raises(UsageError, match="is not a time"):
        parse_time(text, NOW)


@given(st.text(max_size=50))
def test_any_text_is_a_time_or_a_usage_error(text: str) -> None:
    with suppress(UsageError):
        assert parse_time(text, NOW) <= NOW


def test_a_time_that_has_no_date_is_empty() -> None:
    assert timestamp(-1e300) == timestamp(float("-inf")) == ""
    assert timestamp(NOW) == "2001-09-09T01:46:40Z"


def test_an_address_has_one_spelling() -> None:
    assert parse_address("2001:DB8::0:1") == "2001:db8::1"
    with pytest.raises(UsageError, match="is not an IP address"):
        parse_address("web-1")
