"""Replays a cluster to a server: API events and batches in the order of their arrival.

In: a cluster with its truth, and an index. Out: for each flow what was sent and how it was
resolved. Never: a wait; the clock jumps to the next event.
"""

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from math import inf
from typing import Protocol

import numpy as np
from churn_truth import BEGIN, END, EPOCH, NODES, Change, Cluster, Life

from kzn.columns.arrays import I64
from kzn.model.batch import AgentIdentity, Batch
from kzn.model.endpoint import EndpointIndex
from kzn.model.flows import Flows
from kzn.model.totals import Counts, Totals
from kzn.server.ledger.ledger import Ledger
from kzn.server.ledger.limits import LedgerLimits
from kzn.server.ledger.node_totals import TotalsByNode
from kzn.server.pipeline import Clocks, Pipeline
from kzn.server.resolve.resolution import Resolution
from kzn.server.resolve.retry import ObservedFlows, RetryQueue
from kzn.server.resolve.verdict import NAMES
from kzn.topology.facts import NodeFacts, PodFacts, Workload

INTERVAL = 10.0

Moves = tuple[Life, Life, int]


class ChangingIndex(EndpointIndex, Protocol):
    """An index, and how sources change it."""

    def put_node(self, node: NodeFacts, *, listing: int = 0) -> None:
        """A node was added or changed."""

    def put_pod(self, pod: PodFacts, workload: Workload, *, listing: int = 0) -> object:
        """A pod was added or changed."""

    def drop_pod(self, uid: str) -> None:
        """A pod was deleted."""

    def pod_watch_lost(self, since: float) -> None:
        """The watch of pods is lost."""

    def pod_list_begins(self) -> None:
        """A list begins."""


@dataclass(slots=True, eq=False)
class SentFlow:
    """The truth about one flow of one batch: the bytes of all pods that had its addresses.

    ``node`` saw it: the sender's own, which counts it, or the receiver's.
    """

    node: str
    opened: float
    closed: float
    src: bytes
    dst: bytes
    moved: list[Moves] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        """All of it."""
        return sum(size for _, _, size in self.moved)

    @property
    def is_transit(self) -> bool:
        """Whether other nodes sent all of it."""
        return all(src.node != self.node for src, _, _ in self.moved)


@dataclass(frozen=True, slots=True, eq=False)
class ResolvedFlow:
    """A flow as resolved by the server, and when; a uid is empty if the end is not a pod."""

    sent: SentFlow
    now: float
    verdict: str
    src: str
    dst: str


class Replay:
    """One seed against one index; its clock is `now`."""

    def __init__(self, cluster: Cluster, make: Callable[["Replay"], ChangingIndex]) -> None:
        self.cluster = cluster
        self.now = BEGIN - 1.0
        self.index = make(self)
        self.resolved: list[ResolvedFlow] = []
        self.sent: list[SentFlow] = []
        self.ledger = Ledger(LedgerLimits())
        self._flows: dict[tuple[str, float, bytes, bytes], SentFlow] = {}
        self._known: set[str] = set()
        self._seen: dict[float, SentFlow] = {}
        self.pipeline = Pipeline(
            self.index,
            self.ledger,
            TotalsByNode(100),
            RetryQueue(1_000_000),
            clocks=Clocks(lambda: self.now, lambda: 0.0),
            flow_log=self,
        )

    def wall(self) -> float:
        """Seconds of the epoch."""
        return EPOCH + self.now

    def run(self) -> None:
        """Play all events, until the retry queue is empty."""
        for node in self.cluster.nodes():
            if node.name != self.cluster.late_node:
                self.index.put_node(node)
        order = count()
        events: list[tuple[float, int, Callable[[], None]]] = []
        for at, act in [*self._api_events(), *self._batches()]:
            heapq.heappush(events, (at, next(order), act))
        while events:
            at, _, act = heapq.heappop(events)
            self._pass_time(at)
            act()
        self._pass_time(self.now + 100.0)

    def offer(
        self, observed: ObservedFlows, resolution: Resolution, chosen: I64, index: EndpointIndex
    ) -> None:
        """Keep how the flows were resolved."""
        rows = observed.flows.addresses
        for row in chosen.tolist():
            src, dst = int(observed.flows.src[row]), int(observed.flows.dst[row])
            key = (
                observed.node,
                round(observed.opened, 1),
                rows[src].tobytes(),
                rows[dst].tobytes(),
            )
            ids = resolution.endpoints[[resolution.src[row], resolution.dst[row]]].tolist()
            uids = [index.endpoint(number).uid if number >= 0 else "" for number in ids]
            verdict = NAMES[int(resolution.verdict[row])]
            self.resolved.append(ResolvedFlow(self._flows[key], self.now, verdict, *uids))

    def _pass_time(self, until: float) -> None:
        while self.now + 1.0 < until:
            self.now += 1.0
            self._tick()
        self.now = max(self.now, until)
        self._tick()

    def _tick(self) -> None:
        while self.pipeline.tick():
            pass

    # API events.

    def _api_events(self) -> Iterator[tuple[float, Callable[[], None]]]:
        rng = self.cluster.rng
        for node in self.cluster.nodes():
            if node.name == self.cluster.late_node:
                yield self.cluster.late_node_known, lambda node=node: self.index.put_node(node)
        yield BEGIN - 0.6, lambda: self.index.pod_watch_lost(-inf)
        yield BEGIN - 0.5, lambda: self._list(BEGIN - 0.5, 1)
        for life in self.cluster.all:
            for change in life.changes:
                if BEGIN - 0.5 < change.arrival < END + 60.0:
                    yield (
                        change.arrival,
                        lambda life=life, change=change: self._deliver(life, change),
                    )
                    if rng.random() < 0.1:  # a duplicate, maybe after later events
                        again = change.arrival + rng.uniform(0.0, 20.0)
                        yield again, lambda life=life, change=change: self._deliver(life, change)
        for number, outage in enumerate(self.cluster.outages, 2):
            yield outage.broken, lambda at=outage.broken: self.index.pod_watch_lost(at)
            yield (
                outage.arrival,
                lambda at=outage.listed, number=number: self._list(at, number),
            )

    def _deliver(self, life: Life, change: Change) -> None:
        if change.is_deleted:
            self._known.discard(life.uid)
            self.index.drop_pod(life.uid)
        else:
            self._known.add(life.uid)
            self.index.put_pod(change.facts, life.workload)

    def _list(self, at: float, listing: int) -> None:
        """A list of the pods that existed at that moment."""
        self.index.pod_list_begins()
        latest = [(life, _latest(life, at)) for life in self.cluster.all]
        there = [(life, change) for life, change in latest if change and not change.is_deleted]
        self.cluster.rng.shuffle(there)
        for life, change in there:
            self.index.put_pod(change.facts, life.workload, listing=listing)
        seen = {life.uid for life, _ in there}
        for uid in sorted(self._known - seen):
            self.index.drop_pod(uid)
        self._known = seen

    # Batches.

    def _batches(self) -> Iterator[tuple[float, Callable[[], None]]]:
        rng = self.cluster.rng
        for node in NODES:
            opened = BEGIN + rng.randrange(100) / 10.0
            arrived = 0.0
            while opened < END:
                late = rng.choice((0.0, 0.0, rng.uniform(0.0, 2.0), rng.uniform(0.0, 40.0)))
                arrived = max(arrived, opened + INTERVAL + late)
                sent = self._traffic(node, opened, opened + INTERVAL)
                yield arrived, lambda node=node, sent=sent, at=opened: self._apply(node, at, sent)
                opened += INTERVAL

    def _traffic(self, node: str, opened: float, closed: float) -> list[SentFlow]:
        """Flows sent and received by the pods of a node, summed by addresses as in its kernel."""
        rng = self.cluster.rng
        found: dict[tuple[bytes, bytes], SentFlow] = {}
        active = [life for life in self.cluster.all if life.sends(opened, closed)]
        for life in active:
            for peer in active:
                if life.node == peer.node or node not in (life.node, peer.node):
                    continue
                if "anchor" not in life.uid + peer.uid and rng.random() < 0.6:
                    continue
                begin, end = _overlap(life, peer, opened, closed)
                if begin >= end:
                    continue
                src, dst = life.addresses[0], peer.addresses[0]
                sent = found.setdefault((src, dst), SentFlow(node, opened, closed, src, dst))
                sent.moved.append((life, peer, rng.randrange(1, 1 << 30)))
        return list(found.values())

    def _apply(self, node: str, opened: float, sent: list[SentFlow]) -> None:
        self.sent += sent
        for one in sent:
            self._flows[node, round(opened, 1), one.src, one.dst] = one
        addresses = list(dict.fromkeys(end for one in sent for end in (one.src, one.dst)))
        flows = Flows(
            addresses=np.frombuffer(b"".join(addresses), np.uint8).reshape(-1, 16),
            src=np.array([addresses.index(one.src) for one in sent], np.uint32),
            dst=np.array([addresses.index(one.dst) for one in sent], np.uint32),
            src_port=np.zeros(len(sent), np.uint16),
            dst_port=np.zeros(len(sent), np.uint16),
            protocol=np.full(len(sent), 6, np.uint8),
            flags=np.zeros(len(sent), np.uint8),
            packets=np.ones(len(sent), np.uint64),
            bytes=np.array([one.bytes for one in sent], np.uint64),
        )
        seen = Counts(len(sent), sum(one.bytes for one in sent))
        age = self.now - opened
        batch = Batch(1, round(age * 1000), round((age - INTERVAL) * 1000), flows, Totals(seen))
        self.pipeline.apply(AgentIdentity(node, 1, "postrouting", "0"), batch)


def _latest(life: Life, at: float) -> Change | None:
    before = [change for change in life.changes if change.at <= at]
    return before[-1] if before else None


def _overlap(life: Life, peer: Life, opened: float, closed: float) -> tuple[float, float]:
    mine, theirs = life.sends(opened, closed), peer.sends(opened, closed)
    assert mine is not None
    assert theirs is not None
    return max(mine[0], theirs[0]), min(mine[1], theirs[1])
