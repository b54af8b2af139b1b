"""A small cluster of pods that start, finish, are deleted and reuse addresses: the truth.

In: a seed. Out: pods with every event of their lives, and when each event reaches a watcher.
Never: the index; nothing here depends on how it works.

As in a real cluster, an address is not given to another pod before its
owner is known to be ending (its deletion was announced, or it has finished). Everything else may
be late, come twice, come in another order across pods, or not come at all until the next list.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import formatdate
from math import inf
from random import Random

from kzn.model.ip import pack
from kzn.topology.facts import CLOCK_MARGIN, NodeFacts, PodFacts, Workload
from kzn.topology.kube.api_server.api_clock import ApiClock

EPOCH = 1.7e9
BEGIN, END = 0.0, 120.0
NODES = ("n0", "n1", "n2")
ZONES = {"n0": "a", "n1": "b", "n2": "c"}
SLOTS = 6
SKEW = 0.9
MARGIN = 2.0
"""Error of a time in an object: a node's clock skew, and whole seconds."""


@dataclass(slots=True, eq=False)
class Change:
    """An object at one version, from when, and when the watch delivered it (never: inf)."""

    at: float
    facts: PodFacts
    is_deleted: bool = False
    arrival: float = inf


@dataclass(slots=True, eq=False)
class Life:
    """One pod from creation to end; ``changes`` are the versions of its object."""

    uid: str
    name: str
    node: str
    addresses: tuple[bytes, ...]
    addressed: float
    stops_sending: float = inf
    released: float = inf
    changes: list[Change] = field(default_factory=list)

    @property
    def workload(self) -> Workload:
        """Unique, so that the ledger has a series for each life."""
        return Workload("Deployment", f"of-{self.uid}")

    def sends(self, opened: float, closed: float) -> tuple[float, float] | None:
        """The part of the interval in which it sends and receives."""
        begin, end = max(opened, self.addressed), min(closed, self.stops_sending)
        return (begin, end) if begin < end else None


@dataclass(frozen=True, slots=True)
class Outage:
    """The watch breaks, and a list as of ``listed`` arrives at ``arrival``.

    A watch delivers in order, so all up to ``cut`` arrived before it broke.
    """

    cut: float
    broken: float
    listed: float
    arrival: float


class Cluster:
    """All that happens under one seed."""

    def __init__(self, seed: int, *, has_api_clock: bool = False) -> None:
        self.rng = Random(seed)
        self._api_rng = Random(seed)
        self._api_ahead = self._api_rng.uniform(-3.0, 3.0)
        self._api_clock = self._measured_api_clock() if has_api_clock else ApiClock()
        self.max_delay = self.rng.choice((0.0, 1.0, 8.0))
        self.outages = self._outages()
        self._uids = 0
        self.late_node, self.late_node_known = self._late_node()
        self._skews = {node: self.rng.uniform(-SKEW, SKEW) for node in NODES}
        self.anchors = [self._anchor(node) for node in NODES]
        self.lives = [life for slot in range(SLOTS) for life in self._slot(slot)]
        self._number()

    @property
    def all(self) -> list[Life]:
        """Every pod."""
        return [*self.anchors, *self.lives]

    def node_known_at(self, node: str) -> float:
        """When the server first knows a node; its agent may have reported before."""
        return self.late_node_known if node == self.late_node else -inf

    def nodes(self) -> Iterator[NodeFacts]:
        """The nodes, which do not change."""
        for number, name in enumerate(NODES):
            address = pack(f"192.168.0.{number + 1}")
            yield NodeFacts(f"node-{name}", name, ZONES[name], "r", (address,), EPOCH - 9000.0)

    def _late_node(self) -> tuple[str, float]:
        return self.rng.choice((*NODES, "", "", "")), BEGIN + self.rng.uniform(0.0, 40.0)

    def _outages(self) -> list[Outage]:
        found, now = [], BEGIN
        for _ in range(self.rng.choice((0, 1, 2))):
            broken = now + self.rng.uniform(5.0, 50.0)
            listed = broken + self.rng.uniform(0.0, 15.0)
            now = listed + self.rng.uniform(0.0, 2.0)
            cut = broken - self.rng.uniform(0.0, self.max_delay)
            found.append(Outage(cut, broken, listed, now))
        return found

    def _anchor(self, node: str) -> Life:
        """A pod that exists all the time."""
        number = NODES.index(node)
        life = Life(f"anchor-{node}", f"anchor-{node}", node, (pack(f"10.1.0.{number}"),), -900.0)
        self._change(life, -899.0, started=-901.0)
        return life

    def _slot(self, slot: int) -> Iterator[Life]:
        """The lives that have the addresses of a slot, one after the other."""
        addresses = (pack(f"10.0.0.{slot}"), pack(f"fd00::{slot + 1:x}"))
        free = self.rng.uniform(-40.0, 30.0)
        name = ""
        while free < END:
            life = self._life(addresses, free, name)
            name = life.name if self.rng.random() < 0.3 else ""
            gap = self.rng.choice((0.0, self.rng.uniform(0.0, 3.0), self.rng.uniform(0.0, 40.0)))
            free = max(life.released + gap, self.end_known(life)) + 0.01
            yield life

    def _life(self, addresses: tuple[bytes, ...], free: float, name: str) -> Life:
        rng = self.rng
        self._uids += 1
        uid, node = f"p{self._uids}", rng.choice(NODES)
        life = Life(uid, name or f"pod-{uid}", node, addresses, free)
        started = free - rng.uniform(0.1, 4.0)
        start = self._not_before_creation(started, self._kubelet_time(started, node))
        if rng.random() < 0.5:
            self._change(life, started - rng.uniform(0.0, 2.0), addresses=(), node="")
        self._change(life, free + rng.uniform(0.0, 1.5), start=start)
        lasts = rng.choice((rng.uniform(0.3, 4.0), rng.uniform(3.0, 30.0), rng.uniform(20.0, 90.0)))
        if rng.random() < 0.4:
            self._finishes(life, free + lasts, start)
        else:
            self._is_deleted(life, free + lasts, start)
        return life

    def _finishes(self, life: Life, end: float, start: float) -> None:
        rng = self.rng
        life.stops_sending, life.released = end, end + rng.uniform(0.0, 1.0)
        finished = self._kubelet_time(end, life.node) if rng.random() < 0.8 else None
        changed = max(life.changes[-1].at, end) + rng.uniform(0.0, 2.0)
        self._change(life, changed, start=start, is_finished=True, finished=finished)
        if rng.random() < 0.7:
            self._change(life, changed + rng.uniform(0.0, 60.0), start=start, is_deleted=True)

    def _is_deleted(self, life: Life, marked: float, start: float) -> None:
        rng = self.rng
        marked = max(marked, life.changes[-1].at)
        life.stops_sending = marked + rng.choice(
            (0.0, rng.uniform(0.0, 2.0), rng.uniform(0.0, 20.0))
        )
        life.released = life.stops_sending + rng.uniform(0.0, 0.5)
        self._change(life, marked, start=start, is_deleting=True)
        self._change(life, life.released + rng.uniform(0.0, 3.0), start=start, is_deleted=True)

    def _change(
        self,
        life: Life,
        at: float,
        *,
        start: float | None = None,
        started: float | None = None,
        addresses: tuple[bytes, ...] | None = None,
        node: str | None = None,
        is_deleted: bool = False,
        is_deleting: bool = False,
        is_finished: bool = False,
        finished: float | None = None,
    ) -> None:
        if start is None and started is not None:
            start = self._kubelet_time(started, life.node)
        facts = PodFacts(
            uid=life.uid,
            namespace="d",
            name=life.name,
            node=life.node if node is None else node,
            addresses=life.addresses if addresses is None else addresses,
            is_deleting=is_deleting,
            is_finished=is_finished,
            started=start,
            finished=finished,
        )
        before = max(
            (change.arrival for change in life.changes if change.arrival < inf), default=at
        )
        arrival = max(self._arrival(at), before)
        life.changes.append(Change(at, facts, is_deleted, arrival))

    def _measured_api_clock(self) -> ApiClock:
        """What the Date headers of some answers tell of the API server's clock."""
        clock, at = ApiClock(), EPOCH + BEGIN - 60.0
        for _ in range(self._api_rng.choice((1, 5, 40))):
            at += self._api_rng.uniform(0.0, 2.0)
            trip = self._api_rng.uniform(0.001, 0.1)
            stamp = at + self._api_rng.uniform(0.0, trip) + self._api_ahead
            clock.observe(formatdate(int(stamp), usegmt=True), at, at + trip)
        return clock

    def _not_before_creation(self, started: float, start: float) -> float:
        """``start``, or what the API server's time of the creation says, as pod_facts has it."""
        created = started - self._api_rng.choice((0.0, self._api_rng.uniform(0.0, 2.0)))
        stamp = datetime.fromtimestamp(int(EPOCH + created + self._api_ahead), UTC)
        earliest = self._api_clock.earliest(stamp)
        return start if earliest is None else max(start, earliest + CLOCK_MARGIN)

    def _kubelet_time(self, moment: float, node: str) -> float:
        """A moment by the kubelet's clock, in whole seconds."""
        return float(int(EPOCH + moment + self._skews[node]))

    def _arrival(self, at: float) -> float:
        lag = self.rng.choice((0.0, self.rng.uniform(0.0, 1.0), self.rng.uniform(0.0, 8.0)))
        arrival = at + min(lag, self.max_delay)
        for outage in self.outages:
            if outage.cut < at <= outage.listed:
                return inf
            if at <= outage.cut:
                arrival = min(arrival, outage.broken)
            if at > outage.listed:
                arrival = max(arrival, outage.arrival + 0.001)
        return arrival

    def _number(self) -> None:
        """Number the versions in the order of the changes, as an API server does."""
        changes = [change for life in self.all for change in life.changes]
        for version, change in enumerate(sorted(changes, key=lambda change: change.at), 1000):
            change.facts = replace(change.facts, version=version)

    # What a watcher can know.

    def known(self, life: Life, *, claim: bool) -> Iterator[tuple[float, Change]]:
        """When each change that shows an address, or the end, arrived by watch or by list."""
        for number, change in enumerate(life.changes):
            facts = change.facts
            is_end = change.is_deleted or facts.is_deleting or facts.is_finished
            # A finished pod without an end time does not state when it had its address.
            owns = facts.addresses and not (facts.is_finished and facts.finished is None)
            is_shown = owns and not change.is_deleted if claim else is_end
            if not is_shown:
                continue
            if change.arrival < inf:
                yield change.arrival, change
            following = life.changes[number + 1].at if number + 1 < len(life.changes) else inf
            for outage in self.outages:
                if change.at <= outage.listed < following or (
                    change.is_deleted and change.at <= outage.listed
                ):
                    yield outage.arrival, change

    def end_known(self, life: Life) -> float:
        """When the server can first know that a life is about to end; inf for never.

        -inf when the server never takes it for alive: no event of it arrives, or one list shows
        its beginning and its end.
        """
        first = min((moment for moment, _ in self.known(life, claim=False)), default=inf)
        claim_known = self.claim_known(life)
        at_once = claim_known == first and claim_known in (
            outage.arrival for outage in self.outages
        )
        return -inf if claim_known == inf or at_once else max(first, BEGIN)

    def first_suspected(self, life: Life) -> float:
        """When the server may first suspect that a life has had its addresses."""
        moments = [c.arrival for c in life.changes if c.facts.addresses and not c.is_deleted]
        return min([*moments, self.claim_known(life), *self._lists_of(life)])

    def _lists_of(self, life: Life) -> list[float]:
        return [moment for moment, _ in self.known(life, claim=False)]

    def claim_known(self, life: Life) -> float:
        """When the server first knows that a life has its addresses."""
        return min((moment for moment, _ in self.known(life, claim=True)), default=inf)
