"""Watches whether the attached probe sees what leaves the node, and says so when it does not.

In: a meter, once an interval. Out: a ratio for the metrics, one line when it falls and one when it
recovers, and with `auto` word for the next agent, for which this one ends: it has given up what it
would take to load another probe (privileges.py), and what it leaves in the kernel goes on counting
until the next one has chosen.
Never: an end without word, or a second one before its time (pins/notes.py).
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from kzn.agent.coverage.hook_coverage import Coverage, Meter, Turn
from kzn.agent.maps.structs import boottime_ns
from kzn.agent.pins.notes import Notes
from kzn.agent.stats import AgentStats
from kzn.daemon.logs import RateLimited
from kzn.errors import KznError

log = logging.getLogger(__name__)

PATIENCE = 5
"""Ratios below the threshold in a row before an agent ends for it: five minutes."""


@dataclass(frozen=True, slots=True)
class SwitchPolicy:
    """What may be done about a probe that misses traffic: others to try, and where to say so."""

    alternatives: tuple[str, ...] = ()
    notes: Notes | None = None


class CoverageWatchdog:
    """Of one attached probe."""

    def __init__(
        self,
        meter: Meter,
        stats: AgentStats,
        policy: SwitchPolicy,
        clock: Callable[[], float] = lambda: boottime_ns() / 1e9,
    ) -> None:
        self._meter = meter
        self._stats = stats
        self._policy = policy
        self._clock = clock
        self._coverage = Coverage()
        self._failing = RateLimited(log)
        self._is_over = False

    async def run(self) -> None:
        """Look once an interval, until cancelled."""
        while True:
            await asyncio.sleep(self._stats.interval)
            self.look()

    def look(self) -> None:
        """Take in what passed since the last look."""
        try:
            passed = self._meter.take()
        except KznError as error:
            self._failing.warn("failing", "coverage cannot be measured: %s", error)
            return
        turn = self._coverage.interval(passed)
        self._stats.coverage = self._coverage.ratio
        if turn:
            self._tell(turn)
        if self._coverage.low_in_a_row >= PATIENCE and not self._is_over and self._may_end():
            self._is_over = self._policy.notes is not None and self._policy.notes.distrust()

    def check(self) -> None:
        """KznError when the agent is to end, so that the next one looks for a better probe."""
        if self._is_over:
            raise KznError(
                f"{self._stats.probe} sees {self._coverage.ratio:.0%} of the bytes that leave by"
                " the uplinks: this agent ends, and the next one tries"
                f" {' and '.join(self._policy.alternatives)} as well",
                hint="the kernel goes on counting meanwhile; start the agent again",
            )

    def _may_end(self) -> bool:
        if self._policy.notes is None or not self._policy.alternatives:
            return False
        examined = self._policy.notes.examined()
        return examined is None or self._clock() >= examined.next_seconds

    def _tell(self, turn: Turn) -> None:
        of, ratio, probe = self._coverage.of, self._coverage.ratio, self._stats.probe
        if turn == "recovered":
            log.info("%s sees %.0f %% of the bytes that leave again", probe, 100 * (ratio or 0))
            return
        log.warning(
            "%s has seen %d of %d bytes that left by the uplinks (%.0f %%); what it does not see is"
            " not counted: %s",
            probe,
            of.seen,
            of.sent,
            100 * (ratio or 0),
            self._advice(),
        )

    def _advice(self) -> str:
        if self._policy.notes is None:
            return "try --probe tcx, or --probe auto; kzn doctor says what bypasses it"
        if not self._policy.alternatives:
            return "no other probe can run here; kzn doctor says what bypasses it"
        return f"if that lasts, {' and '.join(self._policy.alternatives)} will be tried"
