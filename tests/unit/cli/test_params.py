"""kzn/cli/params.py: values of options."""

import click
import pytest

from kzn.cli.params import ADDRESS, DURATION, HOST_NAME, LOG_LEVEL, REMOTE_ADDRESS
from kzn.daemon.listen import HostPort


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10s", 10.0),
        ("500ms", 0.5),
        ("2m", 120.0),
        ("1m30s", 90.0),
        ("1.5h", 5400.0),
        ("1d", 86400.0),
        (" 10s ", 10.0),
    ],
)
def test_a_duration_is_seconds(text: str, seconds: float) -> None:
    assert DURATION.convert(text, None, None) == seconds


@pytest.mark.parametrize(
    "text", ["", "10", "s", "-1s", "0s", "0ms0s", "1e3s", "nan", "infs", "10 s", "1.s", "1..2s"]
)
def test_other_text_is_not_a_duration(text: str) -> None:
    with pytest.raises(click.UsageError):
        DURATION.convert(text, None, None)


def test_a_number_is_seconds() -> None:
    assert DURATION.convert(10, None, None) == 10.0


def test_an_address_is_a_host_and_a_port() -> None:
    assert ADDRESS.convert(":7070", None, None) == HostPort("", 7070)
    assert ADDRESS.convert(HostPort("a", 1), None, None) == HostPort("a", 1)
    assert REMOTE_ADDRESS.convert("[::1]:70", None, None) == HostPort("::1", 70)


@pytest.mark.parametrize("text", ["7070", "host", "h:99999", "::1:70"])
def test_other_text_is_not_an_address(text: str) -> None:
    with pytest.raises(click.UsageError, match=r"\[IPv6\]:PORT"):
        ADDRESS.convert(text, None, None)


@pytest.mark.parametrize("text", [":7070", "host:0"])
def test_an_address_to_connect_to_has_a_host_and_a_port(text: str) -> None:
    with pytest.raises(click.UsageError, match="write HOST:PORT"):
        REMOTE_ADDRESS.convert(text, None, None)


def test_a_log_level_is_lower_case() -> None:
    assert LOG_LEVEL.convert("WARNING", None, None) == "warning"


@pytest.mark.parametrize(
    "text",
    ["kzn.example.org", "KZN.example.org.", "*.zone.example", "*", "node_1", "10.0.0.1", " a.b "],
)
def test_a_host_name_is_taken(text: str) -> None:
    assert HOST_NAME.convert(text, None, None) == text.strip()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "http://kzn.example.org",
        "kzn.example.org:8080",
        "a b",
        "*.",
        "a.*",
        "**",
        "-a",
        "\xe9.org",
    ],
)
def test_other_text_is_not_a_host_name(text: str) -> None:
    with pytest.raises(click.UsageError, match="is not a host name"):
        HOST_NAME.convert(text, None, None)
