"""The self-test's result: what became of the packets, from what was sent and found."""

import ipaddress
import random
import socket

import pytest

from kzn.agent.select.selftest import Net, Outcome, SelfTestResult, Sent
from kzn.model.totals import Counts

EXPECTED = Counts(1, 78)
SENT = Sent("10.0.0.1", "198.51.100.7", 5000, "")
FORBIDDEN = Sent("10.0.0.1", "198.51.100.7", 5000, "Operation not permitted")


@pytest.mark.parametrize(
    ("sent", "found", "outcome"),
    [
        (SENT, EXPECTED, "counted"),
        (FORBIDDEN, EXPECTED, "counted"),
        (SENT, Counts(2, 156), "miscounted"),
        (SENT, Counts(1, 92), "miscounted"),
        (SENT, None, "unseen"),
        (FORBIDDEN, None, "unknown"),
    ],
)
def test_a_packet_is_unseen_only_if_it_was_sent_without_an_error(
    sent: Sent, found: Counts | None, outcome: Outcome
) -> None:
    assert SelfTestResult("ipv4", EXPECTED, found, sent).outcome == outcome


@pytest.mark.parametrize(
    ("found", "outcome"),
    [
        (Counts(7, 546), "counted"),
        (Counts(9, 700), "counted"),
        (Counts(7, 500), "unknown"),
        (Counts(), "unknown"),
        (None, "unknown"),
    ],
)
def test_over_loopback_other_packets_may_be_among_those_that_are_found(
    found: Counts | None, outcome: Outcome
) -> None:
    result = SelfTestResult("ipv4", Counts(7, 546), found, route_error="Network is unreachable")
    assert result.outcome == outcome


def test_unused_addresses_are_those_of_documentation() -> None:
    rng = random.Random(1)
    for family, prefix in ((socket.AF_INET, "198.51.100.0/24"), (socket.AF_INET6, "2001:db8::/32")):
        net = Net(family, 0, "", (0, 0))
        for _ in range(50):
            assert ipaddress.ip_address(net.unused_address(rng)) in ipaddress.ip_network(prefix)
