"""A small cluster whose pods come, finish, die and pass their addresses on: what really happens.

In: a seed. Out: lives of pods with every moment of them, and what the API server says of each and
when that reaches a watcher. Never: the index; nothing here knows how it works.

What a cluster promises, and the generator keeps: an address is not given to another pod before its
owner is known to be ending (its deletion was announced, or it has finished). Everything else may
be late, come twice, come in another order across pods, or not come at all until the next list.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from math import inf
from random import Random

from kzn.model.ip import pack
from kzn.topology.facts import NodeFacts, PodFacts, Workload

EPOCH = 1.7e9
BEGIN, END = 0.0, 120.0
NODES = ("n0", "n1", "n2")
ZONES = {"n0": "a", "n1": "b", "n2": "c"}
SLOTS = 6
SKEW = 0.9
MARGIN = 2.0
"""How far a time that an object tells may be off: a node's clock, and whole seconds."""


@dataclass(slots=True, eq=False)
class Change:
    """An object at one version: when it was so, and when a watch brought it (never: inf)."""

    at: float
    facts: PodFacts
    is_deleted: bool = False
    arrival: float = inf


@dataclass(slots=True, eq=False)
class Life:
    """One pod from its creation to its end; ``changes`` is what the API server said of it."""

    uid: str
    name: str
    node: str
    addresses: tuple[bytes, ...]
    addressed: float
    silent: float = inf
    released: float = inf
    changes: list[Change] = field(default_factory=list)

    @property
    def workload(self) -> Workload:
        """Unlike that of any other life, so that the ledger tells them apart."""
        return Workload("Deployment", f"of-{self.uid}")

    def sends(self, opened: float, closed: float) -> tuple[float, float] | None:
        """The part of the interval in which it sends and receives."""
        begin, end = max(opened, self.addressed), min(closed, self.silent)
        return (begin, end) if begin < end else None


@dataclass(frozen=True, slots=True)
class Outage:
    """The watch breaks, and a list taken at ``listed`` comes at ``arrival``.

    A watch tells in the order of what happened, so all up to ``cut`` came before it broke.
    """

    cut: float
    broken: float
    listed: float
    arrival: float


class Cluster:
    """All that happens under one seed."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.patience = self.rng.choice((0.0, 1.0, 8.0))
        self.outages = self._outages()
        self._uids = 0
        self.late_node, self.node_heard = self._late_node()
        self._skews = {node: self.rng.uniform(-SKEW, SKEW) for node in NODES}
        self.anchors = [self._anchor(node) for node in NODES]
        self.lives = [life for slot in range(SLOTS) for life in self._slot(slot)]
        self._number()

    @property
    def all(self) -> list[Life]:
        """Every pod."""
        return [*self.anchors, *self.lives]

    def hears_of(self, node: str) -> float:
        """When the server first knows a node, of which its agent may have told before."""
        return self.node_heard if node == self.late_node else -inf

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
            cut = broken - self.rng.uniform(0.0, self.patience)
            found.append(Outage(cut, broken, listed, now))
        return found

    def _anchor(self, node: str) -> Life:
        """A pod that is there all the time."""
        number = NODES.index(node)
        life = Life(f"anchor-{node}", f"anchor-{node}", node, (pack(f"10.1.0.{number}"),), -900.0)
        self._say(life, -899.0, started=-901.0)
        return life

    def _slot(self, slot: int) -> Iterator[Life]:
        """The lives that have one address after the other."""
        addresses = (pack(f"10.0.0.{slot}"), pack(f"fd00::{slot + 1:x}"))
        free = self.rng.uniform(-40.0, 30.0)
        name = ""
        while free < END:
            life = self._life(addresses, free, name)
            name = life.name if self.rng.random() < 0.3 else ""
            gap = self.rng.choice((0.0, self.rng.uniform(0.0, 3.0), self.rng.uniform(0.0, 40.0)))
            free = max(life.released + gap, self.known_to_end(life)) + 0.01
            yield life

    def _life(self, addresses: tuple[bytes, ...], free: float, name: str) -> Life:
        rng = self.rng
        self._uids += 1
        uid, node = f"p{self._uids}", rng.choice(NODES)
        life = Life(uid, name or f"pod-{uid}", node, addresses, free)
        started = free - rng.uniform(0.1, 4.0)
        told = self._told(started, node)
        if rng.random() < 0.5:
            self._say(life, started - rng.uniform(0.0, 2.0), addresses=(), node="")
        self._say(life, free + rng.uniform(0.0, 1.5), told=told)
        lasts = rng.choice((rng.uniform(0.3, 4.0), rng.uniform(3.0, 30.0), rng.uniform(20.0, 90.0)))
        if rng.random() < 0.4:
            self._finishes(life, free + lasts, told)
        else:
            self._is_deleted(life, free + lasts, told)
        return life

    def _finishes(self, life: Life, end: float, told: float) -> None:
        rng = self.rng
        life.silent, life.released = end, end + rng.uniform(0.0, 1.0)
        finished = self._told(end, life.node) if rng.random() < 0.8 else None
        said = max(life.changes[-1].at, end) + rng.uniform(0.0, 2.0)
        self._say(life, said, told=told, is_finished=True, finished=finished)
        if rng.random() < 0.7:
            self._say(life, said + rng.uniform(0.0, 60.0), told=told, is_deleted=True)

    def _is_deleted(self, life: Life, marked: float, told: float) -> None:
        rng = self.rng
        marked = max(marked, life.changes[-1].at)
        life.silent = marked + rng.choice((0.0, rng.uniform(0.0, 2.0), rng.uniform(0.0, 20.0)))
        life.released = life.silent + rng.uniform(0.0, 0.5)
        self._say(life, marked, told=told, is_deleting=True)
        self._say(life, life.released + rng.uniform(0.0, 3.0), told=told, is_deleted=True)

    def _say(
        self,
        life: Life,
        at: float,
        *,
        told: float | None = None,
        started: float | None = None,
        addresses: tuple[bytes, ...] | None = None,
        node: str | None = None,
        is_deleted: bool = False,
        is_deleting: bool = False,
        is_finished: bool = False,
        finished: float | None = None,
    ) -> None:
        if told is None and started is not None:
            told = self._told(started, life.node)
        facts = PodFacts(
            uid=life.uid,
            namespace="d",
            name=life.name,
            node=life.node if node is None else node,
            addresses=life.addresses if addresses is None else addresses,
            is_deleting=is_deleting,
            is_finished=is_finished,
            started=told,
            finished=finished,
        )
        before = max(
            (change.arrival for change in life.changes if change.arrival < inf), default=at
        )
        arrival = max(self._arrival(at), before)
        life.changes.append(Change(at, facts, is_deleted, arrival))

    def _told(self, moment: float, node: str) -> float:
        """A moment as the kubelet writes it down: its own clock, whole seconds."""
        return float(int(EPOCH + moment + self._skews[node]))

    def _arrival(self, at: float) -> float:
        lag = self.rng.choice((0.0, self.rng.uniform(0.0, 1.0), self.rng.uniform(0.0, 8.0)))
        arrival = at + min(lag, self.patience)
        for outage in self.outages:
            if outage.cut < at <= outage.listed:
                return inf
            if at <= outage.cut:
                arrival = min(arrival, outage.broken)
            if at > outage.listed:
                arrival = max(arrival, outage.arrival + 0.001)
        return arrival

    def _number(self) -> None:
        """Give versions in the order of what happened, as one API server does."""
        changes = [change for life in self.all for change in life.changes]
        for version, change in enumerate(sorted(changes, key=lambda change: change.at), 1000):
            change.facts = replace(change.facts, version=version)

    # What a watcher can know.

    def known(self, life: Life, *, claim: bool) -> Iterator[tuple[float, Change]]:
        """When each change that tells of an address, or of the end, came by watch or by list."""
        for number, change in enumerate(life.changes):
            facts = change.facts
            is_end = change.is_deleted or facts.is_deleting or facts.is_finished
            # Of a finished pod that does not say when it ended nobody can tell what it owned when.
            owns = facts.addresses and not (facts.is_finished and facts.finished is None)
            tells = owns and not change.is_deleted if claim else is_end
            if not tells:
                continue
            if change.arrival < inf:
                yield change.arrival, change
            following = life.changes[number + 1].at if number + 1 < len(life.changes) else inf
            for outage in self.outages:
                if change.at <= outage.listed < following or (
                    change.is_deleted and change.at <= outage.listed
                ):
                    yield outage.arrival, change

    def known_to_end(self, life: Life) -> float:
        """When the server can first know that a life is about to end; inf for never.

        -inf when nobody thinks until then that it is there: it is never heard of, or a list tells
        of its beginning and of its end at once.
        """
        first = min((moment for moment, _ in self.known(life, claim=False)), default=inf)
        claimed = self.claimed(life)
        at_once = claimed == first and claimed in (outage.arrival for outage in self.outages)
        return -inf if claimed == inf or at_once else max(first, BEGIN)

    def hinted(self, life: Life) -> float:
        """When the server may first suspect that a life has had its addresses."""
        moments = [c.arrival for c in life.changes if c.facts.addresses and not c.is_deleted]
        return min([*moments, self.claimed(life), *self._lists_of(life)])

    def _lists_of(self, life: Life) -> list[float]:
        return [moment for moment, _ in self.known(life, claim=False)]

    def claimed(self, life: Life) -> float:
        """When the server first knows that a life has its addresses."""
        return min((moment for moment, _ in self.known(life, claim=True)), default=inf)
