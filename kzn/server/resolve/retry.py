"""Flows that cannot be resolved yet: kept for two intervals, retried after each, bounded.

In: flows with an owner, node or zone that the topology does not know yet.
Out: the same flows when their next retry is due.
Never: more than ``limit`` flows at once; the caller counts what is rejected.
"""

import heapq
from dataclasses import dataclass

import numpy as np

from kzn.columns.arrays import I64
from kzn.model.batch import Batch
from kzn.model.flows import NO_VIA, Flows
from kzn.server.resolve.reporting import NOTHING_ELSEWHERE, CountedElsewhere

RETRIES = 2
"""Number of retries of queued flows, one interval apart."""
MIN_INTERVAL = 1.0
MAX_INTERVAL = 60.0
"""Bounds of the interval (seconds): the agent states it, and must not control how long we queue."""
_ENTRY_COST = 32  # overhead of an entry, in flows, so that many tiny entries are bounded too


@dataclass(frozen=True, slots=True, eq=False)
class ObservedFlows:
    """Flows that ``node`` saw in [opened, closed], seconds of the index's clock."""

    node: str
    flows: Flows
    opened: float
    closed: float
    interval: float
    retries_left: int
    is_dormant: bool = False
    """The programs had not been drained for ten minutes when the batch was cut."""
    elsewhere: CountedElsewhere = NOTHING_ELSEWHERE
    """What others counted of these flows (reporting.py), as of when the batch was applied."""

    @property
    def is_late(self) -> bool:
        """Whether what goes to other nodes is divided, once all of it is resolved."""
        return self.elsewhere != NOTHING_ELSEWHERE

    @staticmethod
    def of(node: str, batch: Batch, now: float) -> "ObservedFlows":
        """The flows of a batch that arrived at ``now``, a time of the index's clock."""
        opened_ago = max(batch.opened_ms_ago, batch.closed_ms_ago, 0) / 1000
        closed_ago = min(max(batch.closed_ms_ago, 0) / 1000, opened_ago)
        interval = min(max(opened_ago - closed_ago, MIN_INTERVAL), MAX_INTERVAL)
        opened, closed = now - opened_ago, now - closed_ago
        is_dormant = "dormant" in batch.totals.missed
        return ObservedFlows(node, batch.flows, opened, closed, interval, RETRIES, is_dormant)

    def for_retry(self, chosen: I64) -> "ObservedFlows":
        """The flows ``chosen`` with one retry less, without the addresses that they do not use."""
        return ObservedFlows(
            node=self.node,
            flows=select(self.flows, chosen)[1],
            opened=self.opened,
            closed=self.closed,
            interval=self.interval,
            retries_left=self.retries_left - 1,
            is_dormant=self.is_dormant,
            elsewhere=self.elsewhere,
        )


def select(flows: Flows, chosen: I64) -> tuple[I64, Flows]:
    """The rows of ``flows.addresses`` that the flows ``chosen`` use, in order, and those flows.

    The addresses of the result are just these rows.
    """
    src, dst = flows.src.take(chosen), flows.dst.take(chosen)
    is_used = np.zeros(len(flows.addresses), np.bool_)
    is_used[src] = is_used[dst] = True
    via = None if flows.via is None else flows.via.take(chosen)
    sender = None if flows.sender is None else flows.sender.take(chosen)
    for further in (via, sender):
        if further is not None:
            is_used[further[further != NO_VIA]] = True
    used, rank = np.flatnonzero(is_used), (np.cumsum(is_used) - 1).astype(np.uint32)
    further_rank = np.append(rank, np.uint32(NO_VIA))
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
        via=None if via is None else further_rank.take(via, mode="clip"),
        sender=None if sender is None else further_rank.take(sender, mode="clip"),
    )


class RetryQueue:
    """Observed flows by the time of their next retry; ``flows`` is how many are queued."""

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
        """Whether more than half of the limit is used."""
        return 2 * self._cost > self._limit

    def stays_half_empty(self, flows: int, entries: int) -> bool:
        """Whether the queue would not be half full with that much more."""
        return 2 * (self._cost + flows + entries * _ENTRY_COST) <= self._limit

    def has_room(self, flows: int) -> bool:
        """Whether an entry of so many flows would be queued."""
        return self._cost + flows + _ENTRY_COST <= self._limit

    def put(self, observed: ObservedFlows, now: float) -> bool:
        """Queue flows for one interval; False, and nothing queued, when over the limit."""
        if not self.has_room(len(observed.flows)):
            return False
        self._cost += len(observed.flows) + _ENTRY_COST
        self._order += 1
        heapq.heappush(self._heap, (now + observed.interval, self._order, observed))
        self.flows += len(observed.flows)
        return True

    def take(self, now: float) -> ObservedFlows | None:
        """Remove and return the entry that was due first; None when none is due."""
        if not self._heap or self._heap[0][0] > now:
            return None
        _, _, observed = heapq.heappop(self._heap)
        self.flows -= len(observed.flows)
        self._cost -= len(observed.flows) + _ENTRY_COST
        return observed
