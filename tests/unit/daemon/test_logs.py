"""kzn/daemon/logs.py: one plain line a record, and rate limiting that counts."""

import io
import logging
from collections.abc import Iterator

import pytest

from kzn.daemon.logs import LineFormatter, RateLimited, RateLimitedNames, set_up

log = logging.getLogger("kzn.tests")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def restored() -> Iterator[None]:
    root, area = logging.getLogger(), logging.getLogger("kzn")
    kept = root.handlers[:], root.level, area.level
    yield
    root.handlers[:], level, area_level = kept
    root.setLevel(level)
    area.setLevel(area_level)


def record(message: str, *args: object, level: int = logging.WARNING) -> logging.LogRecord:
    made = logging.LogRecord("kzn.agent.deliver.shipper", level, "", 0, message, args, None)
    made.created, made.msecs = 1_700_000_000.0625, 62.5
    return made


def test_a_line_has_time_level_area_and_text() -> None:
    line = LineFormatter().format(record("lost %s", "it"))
    assert line == "2023-11-14T22:13:20.062Z warning agent.deliver.shipper: lost it"


def test_control_characters_of_a_peer_are_escaped() -> None:
    line = LineFormatter().format(record("peer said %s", "a\n2023 fake\r\x1b[31m\x9b"))
    assert line.endswith(r"peer said a\x0a2023 fake\x0d\x1b[31m\x9b")


@pytest.mark.usefixtures("restored")
def test_the_level_applies_to_kzn_and_libraries_log_warnings() -> None:
    stream = io.StringIO()
    set_up("debug", stream)
    set_up("debug", stream)
    logging.getLogger("kzn.agent").debug("ours")
    logging.getLogger("library").info("theirs")
    logging.getLogger("library").warning("loud")
    areas = [line.split(" ", 1)[1] for line in stream.getvalue().splitlines()]
    assert areas == ["debug agent: ours", "warning library: loud"]


def test_a_repeated_condition_is_one_line_an_interval_with_a_count(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Clock()
    lines = RateLimited(logging.getLogger("kzn.test"), interval=60.0, clock=clock)
    for _ in range(61):
        lines.warn("away", "server %s is away", "s")
        clock.now += 1.0
    assert caplog.messages == [
        "server s is away",
        "server s is away (and 59 more times since the last line)",
    ]


def test_conditions_are_limited_separately(caplog: pytest.LogCaptureFixture) -> None:
    lines = RateLimited(logging.getLogger("kzn.test"), clock=Clock())
    lines.warn("one", "one")
    lines.warn("two", "two")
    assert caplog.messages == ["one", "two"]


def test_a_resolved_condition_is_logged_at_once_when_it_returns(
    caplog: pytest.LogCaptureFixture,
) -> None:
    lines = RateLimited(logging.getLogger("kzn.test"), clock=Clock())
    lines.warn("away", "away")
    assert lines.resolved("away")
    assert not lines.resolved("away")
    lines.warn("away", "away again")
    assert caplog.messages == ["away", "away again"]


def test_conditions_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    lines = RateLimited(logging.getLogger("kzn.test"), clock=Clock(), max_conditions=2)
    for name in ("a", "b", "c", "a"):
        lines.warn(name, name)
    assert caplog.messages == ["a", "b", "c", "a"]
    assert not lines.resolved("b")


def test_one_condition_of_many_things_is_one_line_with_a_number_and_three_names(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = 0.0
    names = RateLimitedNames(
        log, "%d nodes are odd (%s)", "node %s is odd", interval=60.0, clock=lambda: now
    )
    with caplog.at_level(logging.WARNING):
        for second in range(180):
            now = float(second)
            for number in range(300):
                names.warn(f"n{number}")
    assert caplog.messages == [
        "node n0 is odd",
        "300 nodes are odd (n1, n2, n3, …)",
        "300 nodes are odd (n1, n2, n3, …)",
    ]


def test_names_beyond_the_limit_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    names = RateLimitedNames(log, "%d (%s)", "%s", clock=lambda: now, max_names=2)
    with caplog.at_level(logging.WARNING):
        for name in ("a", "b", "c", "d"):
            names.warn(name)
        now = 60.0
        names.warn("b")
    assert caplog.messages == ["a", "3 (b, c)"]
