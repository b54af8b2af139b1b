"""Decides which of the probes on trial counts best on this node: pure, from what was observed.

In: each candidate, in order, with what it saw in one and the same time, and what is known to
speak against it. Out: `Choice`.
Never: the kernel.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from kzn.agent.coverage.hook_coverage import LOW

MARGIN = 0.05
"""A later probe must see more than an earlier one by this part of what was sent to be selected."""

TestPackets = Literal["seen", "unseen", "unknown"]
"""Whether a probe saw the packets of the self-test; unknown when none could be sent."""


@dataclass(frozen=True, slots=True)
class TrialResult:
    """One candidate. ``rejected`` is why it could not be tried; empty when it was.

    ``share`` is the part that it saw of the bytes that the uplinks sent, None when they sent too
    few. ``doubt`` is why it misses pods' packets, or may, even if it saw the node's own: it is
    selected only if no candidate without a doubt sees the traffic.
    """

    name: str
    rejected: str = ""
    share: float | None = None
    test_packets: TestPackets = "unknown"
    doubt: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """The selected probe, why it was, and why none of those before it."""

    name: str
    reason: str
    passed_over: tuple[tuple[str, str], ...] = ()
    saw_traffic: bool = False
    """Whether it was selected by what it saw of the node's traffic, and not by test packets."""

    def sentence(self) -> str:
        """One line for the log."""
        parts = [f"{self.name}: {self.reason}"]
        parts += [f"not {name}: {reason}" for name, reason in self.passed_over]
        return "; ".join(parts)


def decide(results: Sequence[TrialResult]) -> Choice:
    """The first that sees this node's traffic; if none does, the one that sees most of it.

    At least one must have been tried.
    """
    tried = sorted((one for one in results if not one.rejected), key=lambda one: bool(one.doubt))
    if len(tried) == 1:  # it was not compared with anything
        only = "it is the only one that can run here"
        return _choice(tried[0], results, ", but ".join(filter(None, (only, tried[0].doubt))))
    most = max((one.share for one in tried if one.share is not None), default=0.0)
    winner = next((one for one in tried if _sees(one, most)), None)
    if winner is None:
        reason = "no probe saw the test packets; it is the first that loads"
        return _choice(tried[0], results, reason)
    return _choice(winner, results, _why(winner))


def _sees(one: TrialResult, most: float) -> bool:
    if one.share is None:
        return one.test_packets != "unseen"
    return one.share >= LOW or most - one.share < MARGIN


def _why(one: TrialResult) -> str:
    if one.share is not None:
        return f"it saw {one.share:.0%} of the bytes that the uplinks sent"
    if one.test_packets == "seen":
        return "it saw the test packets; the uplinks sent too little else to compare"
    return "it is the first that can run here; the uplinks sent too little to compare"


def _choice(winner: TrialResult, results: Sequence[TrialResult], reason: str) -> Choice:
    before = results[: list(results).index(winner)]
    if winner.doubt:
        before = [one for one in results if one in before or not (one.doubt or one.rejected)]
    passed_over = tuple((one.name, _why_not(one, winner)) for one in before)
    return Choice(winner.name, reason, passed_over, saw_traffic=winner.share is not None)


def _why_not(one: TrialResult, winner: TrialResult) -> str:
    if one.rejected:
        return one.rejected
    measured_low = one.share is not None and one.share < LOW
    if one.doubt and not winner.doubt and not measured_low:
        return one.doubt
    if one.share is not None:
        return f"it saw {one.share:.0%} of them"
    return "it did not see the test packets"
