"""One agent for each node: which of several connections of a node may stay.

In: authenticated connections with their node, process and epoch. Out: those that a new one
supersedes, or the agent that speaks against it.
Never: a node that is locked out by a peer that has gone, or a judgement of agents that do not tell
their process.

An agent process may have several connections: one for the set that counts, and one for each
replaced set that it still delivers. Two processes of one node are one of these:

    the same epoch            it restarted: pinned maps have one reader   the newer one, at once
    the earlier one silent    it has gone, its connection is half-open    the newer one, at once
    neither                   two agents that claim to be one node        the earlier one

A peer that disappears without a FIN is noticed by TCP keepalive within half a minute
(daemon/connect.py), and behind a proxy, which answers keepalive, by its silence.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

SILENT_SECONDS = 60.0
"""Six intervals of an agent by default; one that tells a long interval has more time."""
SILENT_INTERVALS = 3
LONGEST_SILENCE = 900.0
"""Three of the longest intervals: a peer must not hold a node's place for longer by what it tells.
"""


class Connection(Protocol):
    """A connection of an agent."""

    def supersede(self) -> None:
        """Close: a newer process of the same agent is connected."""
        ...


@dataclass(slots=True)
class LiveAgent:
    """One connection; ``process`` is 0 for an agent that does not tell it."""

    connection: Connection
    address: str
    node: str
    process: int
    epoch: int
    heard: float
    interval: float = 0.0
    """Seconds between two batches; 0 of an agent that does not tell it."""
    since: float = field(init=False)
    """When it connected."""

    def __post_init__(self) -> None:
        self.since = self.heard

    @property
    def silent_after(self) -> float:
        """Seconds without a frame after which it counts as gone."""
        return max(SILENT_SECONDS, min(SILENT_INTERVALS * self.interval, LONGEST_SILENCE))


@dataclass(frozen=True, slots=True)
class Waiting:
    """How long the agents are connected, for a server that has no batch yet.

    ``seconds`` are those since the first of them connected, None without one; ``batch`` those until
    the first interval of one of them ends at the latest, None if none tells its interval.
    """

    seconds: float | None = None
    batch: float | None = None


class LiveAgents:
    """The authenticated connections of all agents that tell their process, by node."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._by_node: dict[str, list[LiveAgent]] = {}

    def admit(self, new: LiveAgent) -> LiveAgent | None:
        """The live agent because of which ``new`` must be refused; None: it is admitted.

        Connections that it supersedes are closed. Call `left` once it has ended.
        """
        present = self._by_node.get(new.node, [])
        others = [one for one in present if new.process and one.process != new.process]
        is_restart = any(one.epoch == new.epoch for one in others)
        live = [one for one in others if self._clock() - one.heard < one.silent_after]
        if live and not is_restart:
            return live[0]
        for one in others:
            self.left(one)
            one.connection.supersede()
        if new.process:
            self._by_node.setdefault(new.node, []).append(new)
        return None

    def heard(self, agent: LiveAgent) -> None:
        """A frame of this agent has come in."""
        agent.heard = self._clock()

    def left(self, agent: LiveAgent) -> None:
        """Its connection has ended. May be called twice."""
        present = self._by_node.get(agent.node, [])
        rest = [one for one in present if one is not agent]
        if rest:
            self._by_node[agent.node] = rest
        else:
            self._by_node.pop(agent.node, None)

    def waiting(self) -> Waiting:
        """Since when they are connected, and when a batch is due."""
        now = self._clock()
        agents = [one for some in self._by_node.values() for one in some]
        due = (one.since + one.interval - now for one in agents if one.interval)
        first = min(due, default=None)
        return Waiting(
            max((now - one.since for one in agents), default=None),
            None if first is None else max(0.0, first),
        )

    def __len__(self) -> int:
        return sum(map(len, self._by_node.values()))
