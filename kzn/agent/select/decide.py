"""Which of the probes that were tried counts best on this node: pure, from what was observed.

In: each candidate, in order, with what it saw in one and the same time. Out: `Choice`.
Never: the kernel.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from kzn.agent.coverage.hook_coverage import LOW

MARGIN = 0.05
"""By how much of what was sent another one must see more, to be taken in place of an earlier."""

Mark = Literal["seen", "unseen", "unknown"]
"""What became of the packets of our own; unknown when none could be sent."""


@dataclass(frozen=True, slots=True)
class TrialResult:
    """One candidate. ``refused`` says why it could not be tried; empty when it was.

    ``share`` is what it saw of the bytes that left by the uplinks, None when too few did.
    """

    name: str
    refused: str = ""
    share: float | None = None
    mark: Mark = "unknown"


@dataclass(frozen=True, slots=True)
class Choice:
    """Which, why, and why not the ones before it."""

    name: str
    why: str
    refused: tuple[tuple[str, str], ...] = ()

    def sentence(self) -> str:
        """One line for the log."""
        parts = [f"{self.name}: {self.why}"]
        parts += [f"not {name}: {reason}" for name, reason in self.refused]
        return "; ".join(parts)


def decide(tried: Sequence[TrialResult]) -> Choice:
    """The first that sees this node's traffic; if none does, the one that sees most of it.

    At least one must have been tried.
    """
    could = [one for one in tried if not one.refused]
    if len(could) == 1:  # it was not compared with anything
        return _chosen(could[0], tried, "it is the only one that can run here")
    most = max((one.share for one in could if one.share is not None), default=0.0)
    winner = next((one for one in could if _sees(one, most)), None)
    if winner is None:
        return _chosen(could[0], tried, "no probe saw a packet of ours; it is the first that loads")
    return _chosen(winner, tried, _why(winner))


def _sees(one: TrialResult, most: float) -> bool:
    if one.share is None:
        return one.mark != "unseen"
    return one.share >= LOW or most - one.share < MARGIN


def _why(one: TrialResult) -> str:
    if one.share is not None:
        return f"it saw {one.share:.0%} of the bytes that left by the uplinks"
    if one.mark == "seen":
        return "it saw packets of our own, and there were few others"
    return "nothing left this node by which to tell"


def _chosen(winner: TrialResult, tried: Sequence[TrialResult], why: str) -> Choice:
    before = tried[: list(tried).index(winner)]
    return Choice(winner.name, why, tuple((one.name, _why_not(one)) for one in before))


def _why_not(one: TrialResult) -> str:
    if one.refused:
        return one.refused
    if one.share is not None:
        return f"it saw {one.share:.0%} of them"
    return "it did not see a packet of ours"
