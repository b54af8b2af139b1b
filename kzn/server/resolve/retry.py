"""What cannot be resolved yet: held for two intervals, tried after each, bounded in all.

In: flows of a node whose owner, node or zone the topology does not know (yet).
Out: the same flows when their next try is due.
Never: more than ``limit`` flows at once; what does not fit is the caller's to count.
"""

import heapq
from dataclasses import dataclass

import numpy as np

from kzn.columns.arrays import I64
from kzn.model.batch import Batch
from kzn.model.flows import Flows

TRIES = 2
"""How often held flows are tried again, an interval apart."""
MIN_INTERVAL = 1.0
MAX_INTERVAL = 60.0
"""Bounds of the interval (seconds): the agent states it, and it must not decide what we hold."""
_CASE_COST = 32  # what a case takes beside its flows, in flows: many tiny ones are bounded too


@dataclass(frozen=True, slots=True, eq=False)
class ObservedFlows:
    """Flows that ``node`` saw in [opened, closed], and how often they may still be tried later."""

    node: str
    flows: Flows
    opened: float
    closed: float
    interval: float
    tries_left: int

    @staticmethod
    def of(node: str, batch: Batch, now: float) -> "ObservedFlows":
        """A batch that arrived at ``now``, a time of the same clock as opened and closed."""
        opened_ago = max(batch.opened_ms_ago, batch.closed_ms_ago, 0) / 1000
        closed_ago = min(max(batch.closed_ms_ago, 0) / 1000, opened_ago)
        interval = min(max(opened_ago - closed_ago, MIN_INTERVAL), MAX_INTERVAL)
        return ObservedFlows(node, batch.flows, now - opened_ago, now - closed_ago, interval, TRIES)

    def later(self, chosen: I64) -> "ObservedFlows":
        """The chosen flows as a case with one try less, without addresses that they do not use."""
        return ObservedFlows(
            node=self.node,
            flows=select(self.flows, chosen)[1],
            opened=self.opened,
            closed=self.closed,
            interval=self.interval,
            tries_left=self.tries_left - 1,
        )


def select(flows: Flows, chosen: I64) -> tuple[I64, Flows]:
    """The rows ``chosen`` of ``flows`` over just the addresses that they use, and which these are.

    These are numbers of rows of ``flows.addresses``, in their order.
    """
    src, dst = flows.src.take(chosen), flows.dst.take(chosen)
    there = np.zeros(len(flows.addresses), np.bool_)
    there[src] = there[dst] = True
    used, rank = np.flatnonzero(there), (np.cumsum(there) - 1).astype(np.uint32)
    return used, Flows(
        addresses=flows.addresses.take(used, axis=0),
        src=rank.take(src),
        dst=rank.take(dst),
        src_port=flows.src_port.take(chosen),
        dst_port=flows.dst_port.take(chosen),
        protocol=flows.protocol.take(chosen),
        flags=flows.flags.take(chosen),
        packets=flows.packets.take(chosen),
        bytes=flows.bytes.take(chosen),
    )


class RetryQueue:
    """Cases by the time of their next try."""

    __slots__ = ("_cost", "_heap", "_limit", "_order", "flows")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._order = 0
        self._cost = 0
        self._heap: list[tuple[float, int, ObservedFlows]] = []
        self.flows = 0

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def is_half_full(self) -> bool:
        """Whether more than half of the room is taken."""
        return 2 * self._cost > self._limit

    def put(self, case: ObservedFlows, now: float) -> bool:
        """Keep a case for an interval; False, and nothing kept, when that would be too much."""
        cost = len(case.flows) + _CASE_COST
        if self._cost + cost > self._limit:
            return False
        self._cost += cost
        self._order += 1
        heapq.heappush(self._heap, (now + case.interval, self._order, case))
        self.flows += len(case.flows)
        return True

    def take(self, now: float) -> ObservedFlows | None:
        """The case that has been due for longest, None when none is due."""
        if not self._heap or self._heap[0][0] > now:
            return None
        _, _, case = heapq.heappop(self._heap)
        self.flows -= len(case.flows)
        self._cost -= len(case.flows) + _CASE_COST
        return case
