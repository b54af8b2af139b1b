"""Which flows a filter matches, and the error for an invalid filter."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kzn.agent.inspect.filter import parse_filters
from kzn.agent.inspect.rows import FlowId
from kzn.errors import UsageError

WEB = FlowId("10.1.0.7", "10.2.0.9", "tcp", 0, 443, "source")
BACK = FlowId("10.2.0.9", "10.1.0.7", "tcp", 443, 0, "destination")
DNS = FlowId("fd00:1::7", "fd00:2::9", "udp", 0, 53, "")
GRE = FlowId("192.168.0.1", "192.168.0.2", "47", 0, 0, "")
ALL = {"web": WEB, "back": BACK, "dns": DNS, "gre": GRE}


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ([], "web back dns gre"),
        (["10.1.0.7"], "web back"),
        (["src=10.1.0.7"], "web"),
        (["dst=10.0.0.0/8"], "web back"),
        (["dst=10.1.0.7"], "back"),
        (["10.2.0.0/16,fd00::/8"], "web back dns"),
        (["fd00:2::/32"], "dns"),
        (["443"], "web back"),
        (["dst=443"], "web"),
        (["src=443"], "back"),
        (["53, 443"], "web back dns"),
        (["TCP"], "web back"),
        (["!tcp"], "dns gre"),
        (["proto=udp"], "dns"),
        (["proto=6"], "web back"),
        (["proto=47"], "gre"),
        (["tcp", "!src=443"], "web"),
        (["!dst=443,udp", "10.0.0.0/8"], "back"),
        (["10.1.0.7/16"], "web back"),
    ],
)
def test_a_filter_matches_these_flows(filters: list[str], names: str) -> None:
    wanted = parse_filters(filters)
    assert [name for name, flow in ALL.items() if wanted.matches(flow)] == names.split()


@pytest.mark.parametrize(
    "text",
    [
        "",
        ",",
        "!",
        "src=",
        "src=tcp",
        "from=10.0.0.1",
        "proto=256",
        "proto=",
        "65536",
        "0",
        "-1",
        "10.0.0",
        "10.0.0.0/33",
        "fd00::/129",
        "tcp,,udp",
        "src=dst=1",
        "web",
    ],
)
def test_an_invalid_filter_is_a_usage_error_with_the_grammar(text: str) -> None:
    with pytest.raises(UsageError, match=r"^filter: ") as raised:
        parse_filters([text])
    assert "10.0.0.0/8" in raised.value.hint


@given(st.text(max_size=40))
def test_any_text_is_a_filter_or_a_usage_error(text: str) -> None:
    try:
        wanted = parse_filters([text])
    except UsageError:
        return
    assert wanted.matches(WEB) in (True, False)


@given(st.ip_addresses(), st.integers(0, 65535))
def test_a_flow_matches_its_own_address_and_not_the_negation(address: object, port: int) -> None:
    flow = WEB._replace(src=str(address), src_port=port)
    assert parse_filters([f"src={address}"]).matches(flow)
    assert not parse_filters([f"!{address}"]).matches(flow)
