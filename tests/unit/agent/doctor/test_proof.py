"""Results of the self-test as findings: state, message and what to do."""

import pytest

from kzn.agent.doctor.finding import State
from kzn.agent.doctor.proof import finding
from kzn.agent.select.selftest import SelfTestResult, Sent
from kzn.model.totals import Counts

EXPECTED = Counts(1, 78)
SENT = Sent("10.0.0.1", "198.51.100.7", 5000, "")
FORBIDDEN = Sent("10.0.0.1", "198.51.100.7", 5000, "Operation not permitted")
LOOPBACK = Counts(7, 546)
ENDS = "from 10.0.0.1 to 198.51.100.7"


@pytest.mark.parametrize(
    ("result", "state", "words"),
    [
        (SelfTestResult("ipv4", EXPECTED, EXPECTED, SENT), "ok", f"{ENDS} was sent and counted"),
        (SelfTestResult("ipv4", EXPECTED, Counts(2, 156), SENT), "fail", "as 2 packets and 156"),
        (SelfTestResult("ipv4", EXPECTED, None, SENT), "fail", f"{ENDS} did not pass the hook"),
        (
            SelfTestResult("ipv4", EXPECTED, None, FORBIDDEN),
            "unknown",
            "198.51.100.7: Operation not permitted",
        ),
        (
            SelfTestResult("ipv4", LOOPBACK, LOOPBACK, route_error="unreachable"),
            "ok",
            "no route leads off this node (unreachable); packets over loopback passed",
        ),
        (
            SelfTestResult("ipv4", LOOPBACK, Counts(), route_error="unreachable"),
            "unknown",
            "sees no packets over loopback",
        ),
        (
            SelfTestResult("ipv4", LOOPBACK, route_error="unreachable", loopback_error="down"),
            "unknown",
            "nor to itself (down)",
        ),
        (
            SelfTestResult("ipv4", LOOPBACK, loopback_error="no IPv4", has_addresses=False),
            "unknown",
            "this network namespace has no such addresses (no IPv4)",
        ),
    ],
)
def test_each_outcome_has_its_state_and_what_to_do(
    result: SelfTestResult, state: State, words: str
) -> None:
    found = finding(result)
    assert (found.name, found.state) == ("proof ipv4", state)
    assert words in found.message
    assert bool(found.hint) == (state != "ok")
