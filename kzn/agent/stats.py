"""The agent's counters about itself, exposed by metrics.py."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from kzn.agent.deliver.connection import ShipStats
from kzn.agent.maps.buffers import Entries
from kzn.agent.maps.columns import by_lower_port
from kzn.daemon.http.stats import HttpStats
from kzn.model.batch import Batch
from kzn.model.flows import FAR_END_UNKNOWN, Flows
from kzn.model.totals import Counts, Totals

TASKS = ("coverage", "devices", "draining", "hooks")
"""First words of the names of background tasks."""


@dataclass(slots=True)
class AgentStats:
    """Running numbers of one agent process; the event loop alone writes them."""

    probe: str
    interval: float
    capacity: int = 0
    """Flows in the hash of a buffer, at most."""
    row_capacity: int = 0
    """Rows of a buffer."""
    entries: Mapping[int, Entries] = field(default_factory=dict)
    """What was in use of each buffer when it was last looked at."""
    attached: tuple[str, ...] = ()
    """Names of hooks that the kernel has attached; on devices, the devices' names."""
    lost: tuple[str, ...] = ()
    """Hooks that another program detached and that could not be attached again."""
    reattached: Counter[str] = field(default_factory=Counter)
    """How often a hook was attached again after another program had detached it."""
    uplinks: int = 0
    told_addresses: int = 0
    """Addresses of this node that servers are told."""
    coverage: float | None = None
    """Bytes that the hook saw leave by the uplinks, divided by what the uplinks sent; None while it
    cannot be measured."""
    uncounted_bytes: int = 0
    """Upper bound of the bytes in no batch since this set replaced another at the start."""
    tunnels_without_room_bytes: int = 0
    """Bytes in tunnels whose far end the kernel had no room for."""
    batches: int = 0
    flows: int = 0
    last_flows: int = 0
    last_cut: float = 0.0
    """Wall-clock seconds of the last cut; 0 before the first."""
    cut_seconds: float = 0.0
    cut_failures: int = 0
    clear_failures: int = 0
    """Acknowledged batches that could not be cleared at once."""
    lost_sets: int = 0
    """Sets of maps that could not be read, or were too many, so that what was in them is lost."""
    lost_bytes: int = 0
    """Upper bound of the bytes in them, as far as their totals could be read."""
    retired_failures: int = 0
    """Failed attempts to deliver what a replaced probe counted."""
    task_failures: Counter[str] = field(default_factory=Counter)
    """Failures of background tasks, by the first word of the task's name."""
    failing_tasks: dict[str, str] = field(default_factory=dict)
    """Why a background task failed that has not run steadily since, by name."""
    failing: str = ""
    """Why the last cut or clear failed; empty after a new batch was cut."""
    mismatches: int = 0
    delivery: ShipStats = field(default_factory=ShipStats)
    http: HttpStats = field(default_factory=HttpStats)
    packets: Counter[tuple[str, str]] = field(default_factory=Counter)
    bytes: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By kind ("seen", "missed", "ignored") and reason."""
    lower_port: dict[str, Counts] = field(default_factory=lambda: by_lower_port(Flows.empty()))
    """What had the lower port taken for its service's, by protocol."""

    def unhealthy_reason(self) -> str:
        """Why this agent is unhealthy, or empty; an absent server does not make it so."""
        if self.lost:
            return f"probe {self.probe} is no longer attached to {', '.join(self.lost)}"
        if self.failing_tasks:
            return "; ".join(f"task {task}: {why}" for task, why in self.failing_tasks.items())
        return f"cutting batches fails: {self.failing}" if self.failing else ""

    def task_failed(self, name: str, reason: str) -> None:
        """Count a failure of a background task."""
        self.task_failures[name.partition(" ")[0]] += 1
        self.failing_tasks[name] = reason

    def cut_failed(self, reason: str) -> None:
        """Count a failed cut."""
        self.cut_failures += 1
        self.failing = reason

    def clear_failed(self, reason: str) -> None:
        """Count an acknowledged batch whose buffer could not be cleared."""
        self.clear_failures += 1
        self.failing = reason

    def add(self, batch: Batch, seconds: float, wall: float) -> None:
        """Count a batch; the caller does so once, when it is first cut."""
        self.failing = ""
        self.batches += 1
        self.flows += len(batch.flows)
        self.last_flows = len(batch.flows)
        without_room = (batch.flows.flags & FAR_END_UNKNOWN) != 0
        if without_room.any():
            self.tunnels_without_room_bytes += int(batch.flows.bytes[without_room].sum())
        self.cut_seconds += seconds
        self.last_cut = wall
        self._add_totals(batch.totals)
        for protocol, counts in by_lower_port(batch.flows).items():
            self.lower_port[protocol] = self.lower_port[protocol].plus(counts)

    def _add_totals(self, totals: Totals) -> None:
        rows = [(("seen", ""), totals.seen)]
        rows += [(("missed", reason), counts) for reason, counts in totals.missed.items()]
        rows += [(("ignored", reason), counts) for reason, counts in totals.ignored.items()]
        for key, counts in rows:
            self.packets[key] += counts.packets
            self.bytes[key] += counts.bytes
