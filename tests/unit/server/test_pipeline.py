"""The pipeline: every byte is in exactly one of its node's totals, in every order of events."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from ipaddress import ip_network

import pytest
from cluster import Clock, cluster, flows_between, index_of, tunnelled
from hypothesis import given, settings
from hypothesis import strategies as st

from kzn.columns.arrays import I64
from kzn.model.batch import AgentIdentity, Batch
from kzn.model.endpoint import EndpointIndex
from kzn.model.flows import DELIVERED
from kzn.model.ip import pack
from kzn.model.totals import Counts, Totals
from kzn.server.ledger.family import FAMILIES, FamilyName
from kzn.server.ledger.labels import Labels
from kzn.server.ledger.ledger import Ledger
from kzn.server.ledger.limits import LedgerLimits
from kzn.server.ledger.node_totals import TotalsByNode
from kzn.server.pipeline import Clocks, Pipeline
from kzn.server.resolve.resolution import Resolution
from kzn.server.resolve.retry import ObservedFlows, RetryQueue
from kzn.server.resolve.verdict import NAMES
from kzn.server.sinks import RecorderSink
from kzn.topology.facts import NodeFacts, PodFacts, Workload

CLUSTER = cluster(
    nodes="n1 a r\nn2 b r\nbare",
    pods="d/p1 n1 10.1.0.1\nd/p2 n2 10.2.0.1\nd/p3 bare 10.3.0.1",
    networks="store Database 10.9.0.0/24 b r\noffice Subnet 10.9.1.0/24",
)
P1, P2, LATE, LATE2 = "10.1.0.1", "10.2.0.1", "10.1.0.9", "10.2.0.9"
ADDRESSES = [P1, P2, "10.3.0.1", "10.0.0.1", "10.9.0.1", "10.9.1.1", "8.8.8.8", LATE, LATE2]
NODES = ["n1", "n2", "bare", "late-node"]

Amount = tuple[str, str, int, int]


@dataclass
class RecordedFlows:
    """A flow sink that keeps the verdict and bytes of each flow."""

    lines: list[tuple[str, int]] = field(default_factory=list)

    def offer(
        self, observed: ObservedFlows, resolution: Resolution, chosen: I64, index: EndpointIndex
    ) -> None:
        del index
        for row in chosen.tolist():
            self.lines.append((NAMES[resolution.verdict[row]], int(observed.flows.bytes[row])))


class World:
    """A pipeline over the cluster above, and a clock."""

    def __init__(
        self,
        queued_flows: int = 10_000,
        limits: LedgerLimits | None = None,
        recorder: RecorderSink | None = None,
    ) -> None:
        self.clock = Clock()
        self.recorded = RecordedFlows()
        self.index = index_of(CLUSTER, self.clock)
        self.pipeline = Pipeline(
            self.index,
            Ledger(limits or LedgerLimits()),
            TotalsByNode(100),
            RetryQueue(queued_flows),
            clocks=Clocks(self.clock.now, lambda: 0.0),
            flow_log=self.recorded,
            recorder=recorder,
        )

    def apply(self, node: str, *amounts: Amount, totals: Totals | None = None) -> None:
        flows = flows_between(*((src, dst, size, n) for src, dst, n, size in amounts))
        seen = Counts(sum(n for _, _, n, _ in amounts), sum(size for *_, size in amounts))
        batch = Batch(1, 10_000, 0, flows, totals or Totals(seen))
        self.pipeline.apply(AgentIdentity(node, 1, "postrouting", "0"), batch)

    def tick(self, seconds: float) -> None:
        self.clock.seconds += seconds
        while self.pipeline.tick():
            pass

    def pod(self, name: str, node: str, address: str, *, is_deleting: bool = False) -> None:
        pod = PodFacts(
            uid=name,
            namespace="d",
            name=name,
            node=node,
            addresses=(pack(address),),
            started=self.clock.wall() - 100,
            is_deleting=is_deleting,
        )
        self.index.put_pod(pod, Workload("Pod", name))

    def late_node(self) -> None:
        self.index.put_node(NodeFacts(uid="l", name="late-node", zone="b", region="r"))

    def terms(self, node: str) -> dict[str, int]:
        totals = self.pipeline.node_totals.of(node)
        found = {f"{term} {reason}".strip(): c.bytes for (term, reason), c in totals.counts.items()}
        found["held"] = totals.held.bytes
        return {name: size for name, size in found.items() if size}

    def series(self) -> dict[tuple[FamilyName, Labels], int]:
        snapshot = self.pipeline.ledger.snapshot()
        return {
            (family, labels): size for family in FAMILIES for labels, size in snapshot.rows(family)
        }

    def check(self) -> None:
        gaps = {node: totals.gap() for node, totals in self.pipeline.node_totals.items()}
        assert gaps == dict.fromkeys(gaps, Counts())
        attributed = sum(
            row.counts.bytes for row in self.pipeline.node_totals.rows() if row.term == "attributed"
        )
        zones = self.pipeline.ledger.snapshot().rows("zone")
        assert sum(size for _, size in zones) == attributed
        held = sum(totals.held.packets for _, totals in self.pipeline.node_totals.items())
        assert self.pipeline.retry_queue.flows or held == 0


def test_each_flow_is_in_one_total() -> None:
    world = World()
    world.apply("n1", (P1, P2, 1, 10), (P2, P1, 1, 20), (P1, LATE, 1, 40), (P1, "8.8.8.8", 1, 80))
    assert world.terms("n1") == {"seen": 150, "attributed": 90, "transit": 20, "held": 40}
    world.check()


def test_a_pod_that_becomes_known_one_interval_late_gets_its_bytes() -> None:
    world = World()
    world.apply("n1", (P1, LATE2, 1, 40))
    world.tick(5.0)
    world.pod("late", "n2", LATE2)
    world.tick(4.0)
    assert world.terms("n1") == {"seen": 40, "held": 40}
    world.tick(1.0)
    assert world.terms("n1") == {"seen": 40, "attributed": 40}
    assert dict(world.pipeline.ledger.snapshot().rows("pod")) == {("d", "p1"): 40}


def test_a_pod_that_becomes_known_two_intervals_late_gets_its_bytes() -> None:
    world = World()
    world.apply("n1", (P1, LATE2, 1, 40))
    world.tick(10.0)
    world.pod("late", "n2", LATE2)
    world.tick(10.0)
    assert world.terms("n1") == {"seen": 40, "attributed": 40}


def test_flows_without_an_owner_are_unresolved_after_two_intervals() -> None:
    world = World()
    world.apply("n1", (P1, LATE, 1, 40), (LATE, P1, 1, 2))
    world.tick(10.0)
    assert world.terms("n1") == {"seen": 42, "held": 42}
    world.tick(10.0)
    assert world.terms("n1") == {
        "seen": 42,
        "unresolved unknown_destination": 40,
        "unresolved unknown_source": 2,
    }
    world.check()


def test_a_batch_of_a_node_that_becomes_known_late_is_resolved() -> None:
    world = World()
    world.apply("late-node", (P1, P2, 1, 40), (P2, P2, 1, 2))
    assert world.terms("late-node") == {"seen": 42, "held": 42}
    world.late_node()
    world.tick(10.0)
    assert world.terms("late-node") == {"seen": 42, "transit": 42}


def test_a_batch_of_a_node_that_stays_unknown_is_unresolved() -> None:
    world = World()
    world.apply("late-node", (P1, P2, 1, 40))
    for _ in range(2):
        world.tick(10.0)
    assert world.terms("late-node") == {"seen": 40, "unresolved unknown_node": 40}


def test_many_unknown_nodes_are_one_log_line_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    with caplog.at_level(logging.WARNING):
        for _ in range(6):
            for number in range(300):
                world.apply(f"wrong-{number}", (P1, P2, 1, 40))
            world.tick(10.0)
        for _ in range(6):
            world.tick(10.0)
    lines = [line for line in caplog.messages if "not in the topology" in line]
    assert len(lines) == 2
    assert lines[1].startswith("300 nodes are not in the topology (")
    assert lines[1].count("wrong-") == 3


def test_flows_that_do_not_fit_in_the_retry_queue_are_unresolved_at_once() -> None:
    world = World(queued_flows=34)
    world.apply("n1", (P1, LATE, 1, 1), (P1, LATE2, 1, 2), (P1, LATE, 1, 4))
    world.apply("n1", (P1, LATE, 1, 8), (P1, P2, 1, 16))
    assert world.terms("n1") == {
        "seen": 31,
        "held": 8,
        "attributed": 16,
        "unresolved unknown_destination": 7,
    }
    assert world.pipeline.stats.retry_overflow_flows == 3
    world.check()


def test_a_tick_retries_some_thousand_flows_and_says_that_more_are_due() -> None:
    world = World(queued_flows=100_000)
    for _ in range(3):
        world.apply("n1", *[(P1, LATE, 1, 1)] * 6_000)
    world.pod("late", "n2", LATE)
    world.clock.seconds += 20.0
    more = []
    while world.pipeline.tick():
        more.append(world.pipeline.node_totals.of("n1").held.packets)
    assert more[0] == 6_000  # two of the three batches
    assert not any(more[1:])
    assert world.terms("n1") == {"seen": 18_000, "attributed": 18_000}


def test_totals_that_disagree_with_the_flows_are_counted_and_break_nothing() -> None:
    world = World()
    world.apply("n1", (P1, P2, 1, 10), totals=Totals(Counts(3, 35), {"parse": Counts(1, 5)}))
    assert world.terms("n1") == {
        "seen": 35,
        "attributed": 10,
        "missed parse": 5,
        "missed not_in_flows": 20,
    }
    assert (world.pipeline.stats.mismatched_batches, world.pipeline.stats.mismatched_bytes) == (
        1,
        20,
    )
    world.check()


def test_the_flow_log_gets_each_flow_once_and_no_transit() -> None:
    world = World()
    world.apply("n1", (P1, P2, 1, 10), (P2, P1, 1, 20), (P1, LATE, 1, 40), (P1, LATE2, 1, 80))
    world.tick(10.0)
    world.pod("late", "n2", LATE2)
    world.tick(10.0)
    assert world.recorded.lines == [
        ("cross_zone", 10),
        ("unknown_destination", 40),
        ("cross_zone", 80),
    ]


def test_what_tunnels_deliver_from_outside_is_counted_in_one_batch_and_in_several() -> None:
    world = World()
    flows = tunnelled(flows_between(("8.8.8.8", P1, 70)), "", flags=DELIVERED)
    batch = Batch(1, 10_000, 0, flows, Totals(Counts(1, 70)))
    nodes = [name for name in ("n1", "n2") if world.index.node_code(name) >= 0]
    assert len(nodes) == 2
    world.pipeline.apply(AgentIdentity("n1", 1, "postrouting", "0"), batch)
    together = [(AgentIdentity(name, 1, "postrouting", "0"), batch) for name in nodes]
    assert world.pipeline.apply_all(together) == [None, None]
    assert world.pipeline.stats.copy().assumed == (210, 0)


class BrokenRecorder(RecordedFlows):
    """Its error is raised before it is called."""

    @property
    def offer_joined(self) -> Callable[..., None]:
        raise MemoryError

    def counts(self) -> None:
        return None


def test_batches_that_the_recorder_fails_on_are_counted_once_and_acknowledged() -> None:
    world = World(recorder=BrokenRecorder())
    flows = flows_between((P1, P2, 70))
    batch = Batch(1, 10_000, 0, flows, Totals(Counts(1, 70)))
    other = Batch(1, 10_000, 0, flows_between((P2, P1, 50)), Totals(Counts(1, 50)))
    together = [
        (AgentIdentity(name, 1, "postrouting", "0"), one)
        for name, one in (("n1", batch), ("n2", other))
    ]
    assert world.pipeline.apply_all(together) == [None, None]
    assert world.pipeline.stats.errors["history"] == 1
    assert world.terms("n1") == {"seen": 70, "attributed": 70}
    assert world.terms("n2") == {"seen": 50, "attributed": 50}
    world.check()


def test_the_totals_of_a_silent_node_are_removed() -> None:
    world = World()
    world.apply("n1", (P1, P2, 1, 10))
    world.tick(3599.0)
    assert len(world.pipeline.node_totals) == 1
    world.tick(3600.0)
    assert len(world.pipeline.node_totals) == 0


AMOUNT = st.tuples(
    st.sampled_from(ADDRESSES),
    st.sampled_from(ADDRESSES),
    st.integers(0, 2**40),
    st.integers(0, 2**50),
)
COUNTS = st.builds(Counts, st.integers(0, 10**6), st.integers(0, 2**50))
REASONS = st.sampled_from(["map_full", "parse", "loopback", "new_reason"])
TOTALS = st.builds(
    Totals, COUNTS, st.dictionaries(REASONS, COUNTS), st.dictionaries(REASONS, COUNTS)
)


def ship(node: str, amounts: list[Amount], totals: Totals | None, world: World) -> None:
    world.apply(node, *amounts, totals=totals)


def new_pod(node: str, address: str, uid: int, world: World) -> None:
    world.pod(f"pod-{uid}", node, address)


NODE, ADDRESS = st.sampled_from(NODES), st.sampled_from([LATE, LATE2])
STEP: st.SearchStrategy[partial[None]] = st.one_of(
    st.builds(partial, st.just(ship), NODE, st.lists(AMOUNT, max_size=12), TOTALS | st.none()),
    st.builds(lambda seconds: partial(World.tick, seconds=seconds), st.floats(0.0, 25.0)),
    st.builds(partial, st.just(new_pod), NODE, ADDRESS, st.integers(0, 10**6)),
    st.just(partial(World.late_node)),
)


@pytest.mark.slow
@settings(max_examples=150)
@given(st.lists(STEP, max_size=25), st.integers(0, 200), st.integers(1, 6))
def test_no_byte_is_lost_or_counted_twice_in_any_order_of_events(
    steps: list[partial[None]], queued_flows: int, series: int
) -> None:
    limits = LedgerLimits(dict.fromkeys(FAMILIES, series), retention=30.0, pair_window=20.0)
    world = World(queued_flows, limits)
    before = world.series()
    for step in steps:
        step(world)
        world.check()
        after = world.series()
        if step.func is ship:  # only time ends series
            assert all(after[key] >= size for key, size in before.items())
        before = after
    for _ in range(2):
        world.tick(120.0)
    assert world.pipeline.retry_queue.flows == 0
    world.check()


def test_flows_of_a_terminating_pod_are_retried_and_charged_to_it_in_the_end() -> None:
    world = World()
    world.pod("ends", "n1", LATE)
    world.pod("ends", "n1", LATE, is_deleting=True)
    world.clock.seconds += 5.0
    world.apply("n1", (LATE, P2, 1, 100))
    assert world.pipeline.node_totals.of("n1").held == Counts(1, 100)
    world.tick(10.5)
    world.tick(10.5)
    assert world.pipeline.node_totals.of("n1").held == Counts()
    assert dict(world.pipeline.ledger.snapshot().rows("pod")) == {("d", "ends"): 100}


def test_flows_of_a_terminating_pod_are_not_retried_when_the_queue_is_half_full() -> None:
    world = World(queued_flows=100)
    world.pod("ends", "n1", LATE, is_deleting=True)
    world.clock.seconds += 5.0
    world.apply("n1", *[(LATE2, P2, 1, 1)] * 30)
    world.apply("n1", (LATE, P2, 1, 100))
    assert dict(world.pipeline.ledger.snapshot().rows("pod")) == {("d", "ends"): 100}


def test_what_a_node_sends_from_its_pod_cidr_is_its_own_after_the_hold() -> None:
    world = World()
    cidr = (ip_network("10.244.1.0/24"),)
    world.index.put_node(NodeFacts("n9", "n9", "a", "r", pod_cidrs=cidr))
    world.apply("n9", ("10.244.1.0", P2, 1, 21_560))
    world.apply("n2", (P2, "10.244.1.0", 1, 11_560), ("10.244.1.0", P2, 1, 21_560))
    assert world.pipeline.node_totals.of("n9").held == Counts(1, 21_560)
    world.tick(10.5)
    world.pod("new", "n9", "10.244.1.7")
    world.tick(10.5)
    assert world.terms("n9") == {"seen": 21_560, "attributed": 21_560}
    assert world.terms("n2")["attributed"] == 11_560
    assert world.terms("n2")["transit"] == 21_560
    rows = world.pipeline.ledger.snapshot().rows("workload")
    of_node = {labels[3:5]: size for labels, size in rows if labels[1:3] == ("Node", "n9")}
    assert of_node == {("egress", "cross_zone"): 21_560, ("ingress", "cross_zone"): 11_560}


def test_a_pod_that_becomes_known_within_the_hold_beats_the_pod_cidr() -> None:
    world = World()
    cidr = (ip_network("10.244.1.0/24"),)
    world.index.put_node(NodeFacts("n9", "n9", "a", "r", pod_cidrs=cidr))
    world.apply("n9", ("10.244.1.7", P2, 1, 100))
    world.tick(10.5)
    world.pod("new", "n9", "10.244.1.7")
    world.tick(10.5)
    assert dict(world.pipeline.ledger.snapshot().rows("pod")) == {("d", "new"): 100}
