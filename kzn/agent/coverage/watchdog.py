"""Reports when the attached probe misses traffic that leaves the node; may end the agent then.

In: a meter, once an interval. Out: a ratio for the metrics, one log line when it falls and one when
it recovers. With `--probe auto` it leaves a note for the next agent and ends this one, which has
dropped the capabilities to load another probe (privileges.py); with `--keep-capabilities` the
process starts itself again instead. The programs in the kernel count until a probe is selected.
Never: an end without a note, or a second one before the note allows it (pins/notes.py).
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from kzn.agent.coverage.hook_coverage import Change, Coverage, Meter
from kzn.agent.maps.structs import boottime_ns
from kzn.agent.pins.notes import Notes
from kzn.agent.stats import AgentStats
from kzn.daemon.logs import RateLimited
from kzn.errors import KznError, ProbeSwitchError

log = logging.getLogger(__name__)

LOW_RATIOS = 5
"""Low ratios in a row before the agent ends: five minutes by default."""
LOW_RATIOS_UNPROVEN = 1
"""The same while the probe has not been seen to see this node's traffic: a minute by default."""


@dataclass(frozen=True, slots=True)
class SwitchPolicy:
    """The other probes to try when this one misses traffic, and where to leave a note."""

    alternatives: tuple[str, ...] = ()
    notes: Notes | None = None
    is_proven: bool = True
    """Whether the probe was selected by what it saw of the node's traffic."""
    in_place: bool = False
    """Whether the process selects a probe anew by itself (``--keep-capabilities``)."""


class CoverageWatchdog:
    """Watches the coverage of one attached probe."""

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
        self._must_end = False
        self._is_proven = policy.is_proven
        """Also after the first ratio that is not low."""

    async def run(self) -> None:
        """Measure once an interval, until cancelled."""
        while True:
            await asyncio.sleep(self._stats.interval)
            await self.measure()

    async def measure(self) -> None:
        """Add the traffic since the last call."""
        try:
            passed = await asyncio.to_thread(self._meter.take)  # netlink may wait for RTNL
        except KznError as error:
            self._failing.warn("failing", "hook coverage cannot be measured: %s", error)
            return
        change = self._coverage.interval(passed)
        self._stats.coverage = self._coverage.ratio
        if self._coverage.ratio is not None and self._coverage.low_in_a_row == 0:
            self._is_proven = True
        if change:
            self._log(change)
        if self._coverage.low_in_a_row >= self._least and not self._must_end and self._may_end():
            self._must_end = self._policy.notes is not None and self._policy.notes.suspect()

    @property
    def _least(self) -> int:
        """Low ratios in a row before the agent ends."""
        return LOW_RATIOS if self._is_proven else LOW_RATIOS_UNPROVEN

    def check(self) -> None:
        """ProbeSwitchError when the agent must end, so that the next one selects a probe anew."""
        if self._must_end:
            ends = "it selects a probe anew" if self._policy.in_place else "this agent ends"
            next_one = "" if self._policy.in_place else "the next one "
            raise ProbeSwitchError(
                f"probe {self._stats.probe} sees {self._coverage.ratio:.0%} of the bytes that leave"
                f" by the uplinks: {ends}, and {next_one}also tries"
                f" {' and '.join(self._policy.alternatives)}",
                hint="the kernel counts meanwhile; start the agent again",
            )

    def _may_end(self) -> bool:
        if self._policy.notes is None or not self._policy.alternatives:
            return False
        last_trial = self._policy.notes.last_trial()
        return last_trial is None or self._clock() >= last_trial.next_seconds

    def _log(self, change: Change) -> None:
        of, percent = self._coverage.of, 100 * (self._coverage.ratio or 0)
        if change == "recovered":
            log.info(
                "probe %s sees traffic that leaves this node again: %.0f %% of the uplinks' bytes",
                self._stats.probe,
                percent,
            )
            return
        log.warning(
            "probe %s misses traffic: it has seen %d of %d bytes that left by the uplinks"
            " (%.0f %%); the rest is not counted: %s",
            self._stats.probe,
            of.seen,
            of.sent,
            percent,
            self._advice(),
        )

    def _advice(self) -> str:
        if self._policy.notes is None:
            return "try --probe tcx or --probe auto; kzn doctor shows what bypasses the hook"
        if not self._policy.alternatives:
            return "no other probe can run here; kzn doctor shows what bypasses the hook"
        alternatives = " and ".join(self._policy.alternatives)
        who = "selects a probe anew and" if self._policy.in_place else "ends and the next one"
        return f"if this lasts, the agent {who} tries {alternatives}"
