"""Joined batches: each part is resolved as the batch would be alone, and accounted for alike."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from cluster import EPOCH, Clock, cluster, flows_between, index_of, tunnelled
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kzn.columns.arrays import I64
from kzn.model.batch import AgentIdentity, Batch
from kzn.model.endpoint import EndpointIndex
from kzn.model.flows import DELIVERED, NO_SENDER, RELAYED, Flows
from kzn.model.ip import pack
from kzn.model.totals import Counts, Totals
from kzn.server.flows.records import FlowRecords
from kzn.server.ledger.family import FAMILIES
from kzn.server.ledger.ledger import Ledger
from kzn.server.ledger.limits import LedgerLimits
from kzn.server.ledger.node_totals import TotalsByNode
from kzn.server.pipeline import Clocks, Pipeline
from kzn.server.resolve.joined import join
from kzn.server.resolve.reporting import SILENCE
from kzn.server.resolve.resolution import Resolution
from kzn.server.resolve.resolve import resolve, resolve_joined
from kzn.server.resolve.retry import ObservedFlows, RetryQueue
from kzn.server.state.checkpoint import CheckpointedState
from kzn.topology.facts import NodeFacts, PodFacts, ServiceFacts, Workload
from kzn.wire.sequences import AppliedSequences

CLUSTER = cluster(
    nodes="n1 a r\nn2 b r\nn3 a s\nbare",
    pods="""
    d/p1 n1 10.1.0.1 Deployment/x
    d/p2 n2 10.2.0.1 Deployment/x
    d/p3 n3 10.3.0.1 Deployment/y
    d/p4 bare 10.4.0.1 Deployment/y
    """,
    networks="store Database 10.9.0.0/24 b r\noffice Subnet 10.9.1.0/24",
)
NODES = ["n1", "n2", "n3", "bare", "late-node", "agentless"]
LATE, SHARED, SERVICE = "10.2.0.9", "10.5.0.5", "10.96.0.1"
ADDRESSES = [
    "10.1.0.1", "10.2.0.1", "10.3.0.1", "10.4.0.1", "10.0.0.1", "10.0.0.2", "10.9.0.1", "10.9.1.1",
    "8.8.8.8", "169.254.7.7", "10.77.0.1", LATE, SHARED, SERVICE, "10.6.0.6",
]  # fmt: skip
TUNNEL_FLAGS = [0, 0, 0, RELAYED, DELIVERED]

Row = tuple[str, str, int, int]
Part = tuple[str, list[Row], int, float, bool]
"""Node, flows, flags, seconds that the batch covers, and whether a flow has a via and a sender."""


@dataclass
class Sink:
    """A flow sink that keeps what the flow log would."""

    lines: list[tuple[Any, ...]] = field(default_factory=list)

    def offer(
        self, observed: ObservedFlows, resolution: Resolution, chosen: I64, index: EndpointIndex
    ) -> None:
        found = FlowRecords.of(observed, resolution, chosen, index, observed.closed)
        flows = found.flows
        for number in range(len(found)):
            src, dst = int(flows.src[number]), int(flows.dst[number])
            self.lines.append(
                (
                    found.node, found.closed, int(found.verdict[number]), found.owners[src],
                    found.owners[dst], found.owners[-1], flows.addresses[src].tobytes(),
                    flows.addresses[dst].tobytes(), int(flows.bytes[number]),
                    number in found.forwarded.tolist(), number in found.rerouted.tolist(),
                )
            )  # fmt: skip


@dataclass
class Recorded:
    """A recorder that keeps the end of the interval, ends, verdict and bytes of each flow."""

    rows: list[tuple[Any, ...]] = field(default_factory=list)

    def offer(
        self, observed: ObservedFlows, resolution: Resolution, chosen: I64, index: EndpointIndex
    ) -> None:
        part = np.zeros(len(observed.flows), np.int64)
        self.offer_joined(observed.flows, [observed.closed], part, resolution, chosen, index)

    def offer_joined(
        self,
        flows: Flows,
        closed: Sequence[float],
        part: I64,
        resolution: Resolution,
        chosen: I64,
        index: EndpointIndex,
    ) -> None:
        owners = index.endpoints(resolution.endpoints.tolist())
        for flow in chosen.tolist():
            charged = resolution.src[flow], resolution.dst[flow]
            own = flows.addresses[flows.src[flow]], flows.addresses[flows.dst[flow]]
            self.rows.append(
                (
                    closed[part[flow]],
                    *(str(owners[row]) for row in charged),
                    *(address.tobytes() for address in own),
                    int(resolution.verdict[flow]),
                    int(flows.packets[flow]),
                    int(flows.bytes[flow]),
                )
            )

    def counts(self) -> None:
        return None


class World:
    """A pipeline over the cluster above, and a clock."""

    def __init__(self, queued_flows: int = 10_000, sink: Sink | None = None) -> None:
        self.clock = Clock()
        self.index = index_of(CLUSTER, self.clock)
        self.index.networks.put_service(ServiceFacts("s", "d", "s", (pack(SERVICE),)))
        for node in ("n1", "n2"):
            self.index.put_agent_addresses(node, [pack(SHARED)])
        self.sink, self.recorded = sink or Sink(), Recorded()
        self.pipeline = Pipeline(
            self.index,
            Ledger(LedgerLimits()),
            TotalsByNode(100),
            RetryQueue(queued_flows),
            clocks=Clocks(self.clock.now, lambda: 0.0),
            flow_log=self.sink,
            recorder=self.recorded,
            stand_in="on",
        )
        self.state = CheckpointedState(
            self.pipeline.ledger,
            self.pipeline.node_totals,
            AppliedSequences(),
            self.pipeline.reporting,
            EPOCH,
        )
        self.pipeline.ledger.watch()
        self.pipeline.node_totals.watch()

    def step(self, step: Any, *, together: bool) -> None:
        match step:
            case list():
                batches = [(AgentIdentity(part[0], 1, "p", "0"), batch(part)) for part in step]
                if together:
                    assert self.pipeline.apply_all(batches) == [None] * len(batches)
                else:
                    for identity, one in batches:
                        self.pipeline.apply(identity, one)
            case float():
                self.clock.seconds += step
                while self.pipeline.tick():
                    pass
            case "late pod":
                pod = PodFacts("late", "d", "late", node="n2", addresses=(pack(LATE),))
                self.index.put_pod(pod, Workload("Pod", "late"))
            case "late node":
                self.index.put_node(NodeFacts(uid="l", name="late-node", zone="b", region="r"))
            case "agentless":
                self.index.put_node(NodeFacts("g", "agentless", "c", "r", is_agentless=True))
                pod = PodFacts("p6", "d", "p6", node="agentless", addresses=(pack("10.6.0.6"),))
                self.index.put_pod(pod, Workload("Pod", "p6"))

    def result(self) -> dict[str, Any]:
        snapshot = self.pipeline.ledger.snapshot()
        reporting = self.pipeline.reporting
        return {
            "series": {name: dict(snapshot.rows(name)) for name in FAMILIES},
            "totals": self.pipeline.node_totals.rows(),
            "held": {node: totals.held for node, totals in self.pipeline.node_totals.items()},
            "gaps": {totals.gap() for _, totals in self.pipeline.node_totals.items()},
            "queue": (len(self.pipeline.retry_queue), self.pipeline.retry_queue.flows),
            "lines": self.sink.lines,
            "recorded": sorted(self.recorded.rows),
            "reporting": (reporting.counts(self.clock.now()), {*reporting.ages(self.clock.now())}),
            "stats": (self.pipeline.stats.batches, self.pipeline.stats.flows),
            "mismatches": self.pipeline.stats.mismatched_bytes,
            "overflow": self.pipeline.stats.retry_overflow_flows,
            "errors": {part: n for part, n in self.pipeline.stats.errors.items() if n},
        }

    def saved(self) -> Any:
        found = self.state.take()
        changes = {
            name: (dict(one.rows.items()), sorted(one.ended), one.other)
            for name, one in found.families.items()
        }
        return changes, sorted(found.node_totals), sorted(found.heard), sorted(found.forgotten)


def flows_of(part: Part) -> Flows:
    _, rows, flags, _, has_via = part
    made = flows_between(*((src, dst, size, packets) for src, dst, packets, size in rows))
    vias = ["10.0.0.2" if has_via and number == 0 else "" for number in range(len(rows))]
    made = tunnelled(made, *vias, flags=flags)
    if not has_via or not rows:
        return made
    sender = np.full(len(rows), NO_SENDER, np.uint32)
    sender[-1] = made.src[0]
    return replace(made, sender=sender)


def batch(part: Part) -> Batch:
    _, rows, _, seconds, _ = part
    seen = Counts(sum(row[2] for row in rows), sum(row[3] for row in rows) + 1)
    return Batch(1, round(1000 * seconds), 0, flows_of(part), Totals(seen))


ROWS = st.lists(
    st.tuples(
        st.sampled_from(ADDRESSES),
        st.sampled_from(ADDRESSES),
        st.integers(1, 9),
        st.integers(1, 999),
    ),
    max_size=6,
)
PARTS = st.tuples(
    st.sampled_from(NODES),
    ROWS,
    st.sampled_from(TUNNEL_FLAGS),
    st.sampled_from([10.0, 10.0, 25.0, 900.0]),
    st.booleans(),
)
STEPS = st.lists(
    st.one_of(
        st.lists(PARTS, max_size=7),
        st.lists(PARTS, max_size=7),
        st.sampled_from([5.0, 10.0, SILENCE, "late pod", "late node", "agentless"]),
    ),
    max_size=10,
)


@pytest.mark.slow
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS, st.sampled_from([10_000, 300, 50]))
def test_batches_applied_together_count_as_one_by_one(steps: list[Any], queued: int) -> None:
    alone, together = World(queued), World(queued)
    for step in steps:
        alone.step(step, together=False)
        together.step(step, together=True)
        assert together.result() == alone.result()
        assert together.result()["gaps"] <= {Counts()}
    assert together.result() == alone.result()
    assert together.saved() == alone.saved()


def test_a_batch_that_ends_an_absence_is_divided_by_what_its_group_counted() -> None:
    elsewhere: Part = ("n2", [("10.1.0.1", "10.2.0.1", 1, 100)], 0, 10.0, False)
    late: Part = ("n1", [("10.1.0.1", "10.2.0.1", 1, 130)], 0, 10.0, False)
    world = World()
    for step in ([late], SILENCE, 10.0, [elsewhere], 10.0, [elsewhere, late]):
        world.step(step, together=True)
    pods = world.result()["series"]["pod"]
    assert pods == {("d", "p1"): 130 + 100 + 100}
    counts = world.pipeline.node_totals.of("n1").counts
    assert counts["transit", ""].bytes == 100
    assert counts["unresolved", "late"].bytes == 30


def test_a_group_with_each_kind_of_flow_counts_as_one_by_one() -> None:
    ends = [
        (src, dst, 1, 1 << number % 50) for src in ADDRESSES for number, dst in enumerate(ADDRESSES)
    ]
    parts: list[Part] = [
        (node, ends, flags, 10.0, True) for flags in (0, RELAYED) for node in NODES
    ]
    steps = [SILENCE, "agentless", 10.0, parts, "late pod", "late node", 10.0, parts, 900.0, parts]
    alone, together = World(), World()
    for step in steps:
        alone.step(step, together=False)
        together.step(step, together=True)
    assert together.result() == alone.result()
    assert together.saved() == alone.saved()
    classes = {labels[4] for labels in together.result()["series"]["workload"]}
    assert classes == {"same_zone", "cross_zone", "cross_region", "external"}
    assert together.result()["reporting"][0].counted_at_destination_bytes > 0
    assert together.result()["overflow"] == 0


@pytest.mark.slow
@given(st.lists(PARTS, min_size=1, max_size=6))
def test_each_part_is_resolved_as_alone(parts: Sequence[Part]) -> None:
    world = World()
    now = world.clock.now()
    parts = [part for part in parts if part[0] in {"n1", "n2", "n3", "bare"}] or [
        ("n1", [], 0, 10.0, False)
    ]
    joined = join([flows_of(part) for part in parts])
    opened = np.array([now - part[3] for part in parts])
    nodes = [part[0] for part in parts]
    whole = resolve_joined(
        joined, nodes, world.index, opened, np.full(len(parts), now), final=False
    )
    for number, part in enumerate(parts):
        alone = resolve(flows_of(part), part[0], world.index, now - part[3], now, final=False)
        found = whole.part(joined, number)
        for name in ("endpoints", "src", "dst", "verdict", "attributed", "flags"):
            assert getattr(found, name).tolist() == getattr(alone, name).tolist(), name
        assert found.to_other_agents().tolist() == alone.to_other_agents().tolist()
        sizes = flows_of(part).bytes
        assert found.by_verdict(sizes)[0].tolist() == alone.by_verdict(sizes)[0].tolist()


def test_a_batch_that_cannot_be_resolved_is_refused_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    lookup = world.index.lookup

    def fails(addresses: Any, *times: Any, **options: Any) -> Any:
        if pack("8.8.8.8") in {row.tobytes() for row in addresses}:
            raise ZeroDivisionError
        return lookup(addresses, *times, **options)

    monkeypatch.setattr(world.index, "lookup", fails)
    good: Part = ("n1", [("10.1.0.1", "10.2.0.1", 1, 100)], 0, 10.0, False)
    bad: Part = ("n2", [("10.2.0.1", "8.8.8.8", 1, 10)], 0, 10.0, False)
    parts = [good, bad, ("n3", [("10.3.0.1", "10.2.0.1", 1, 1)], 0, 10.0, False)]
    batches = [(AgentIdentity(part[0], 1, "p", "0"), batch(part)) for part in parts]
    errors = world.pipeline.apply_all(batches)
    assert [type(error) for error in errors] == [type(None), ZeroDivisionError, type(None)]
    assert {node for node, _ in world.pipeline.node_totals.items()} == {"n1", "n3"}


GOOD: list[Part] = [
    ("n1", [("10.1.0.1", "10.2.0.1", 1, 100)], 0, 10.0, False),
    ("n3", [("10.3.0.1", "10.2.0.1", 1, 1)], 0, 10.0, False),
]


def identified(*parts: Part) -> list[tuple[AgentIdentity, Batch]]:
    return [(AgentIdentity(part[0], 1, "p", "0"), batch(part)) for part in parts]


def test_a_batch_that_fails_after_it_is_resolved_leaves_the_others_of_its_group_counted_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    bad: Part = ("n2", [("10.6.0.6", "10.2.0.1", 1, 10)], 0, 10.0, False)
    for step in (GOOD, "agentless", 10.0, [*GOOD, bad]):
        world.step(step, together=True)
    before = world.result()
    endpoint = world.index.endpoint

    def fails(number: int) -> Any:
        found = endpoint(number)
        if found.node == "agentless":
            raise ZeroDivisionError
        return found

    monkeypatch.setattr(world.index, "endpoint", fails)
    errors = world.pipeline.apply_all(identified(GOOD[0], bad, GOOD[1]))
    monkeypatch.undo()
    assert [type(error) for error in errors] == [type(None), ZeroDivisionError, type(None)]
    after = world.result()
    assert (before["series"]["pod"], after["series"]["pod"]) == (
        {("d", "p1"): 200, ("d", "p3"): 2, ("d", "p6"): 10},
        {("d", "p1"): 300, ("d", "p3"): 3, ("d", "p6"): 10},
    )
    assert world.pipeline.apply_all(identified(bad)) == [None]  # the agent sends it again
    assert world.result()["series"]["pod"] == {("d", "p1"): 300, ("d", "p3"): 3, ("d", "p6"): 20}
    assert world.result()["gaps"] == {Counts()}
    assert world.result()["errors"] == {}


@pytest.mark.parametrize("together", [False, True])
def test_a_sink_that_fails_loses_no_other_count_and_no_batch(*, together: bool) -> None:
    class Broken(Sink):
        def offer(self, observed: ObservedFlows, *rest: Any) -> None:
            if observed.node == "n1":
                raise ZeroDivisionError
            super().offer(observed, *rest)

    world, whole = World(sink=Broken()), World()
    world.step(GOOD, together=together)
    whole.step(GOOD, together=together)
    found, expected = world.result(), whole.result()
    assert found.pop("errors") == {"flow_log": 1}
    assert len(found.pop("lines")) + 1 == len(expected.pop("lines"))
    expected.pop("errors")
    assert found == expected


def test_held_flows_that_cannot_be_resolved_again_are_unresolved(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    world.step([("n1", [("10.1.0.1", LATE, 2, 70)], 0, 10.0, False)], together=True)

    def fails(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(world.index, "lookup", fails)
    world.step(10.0, together=True)
    counts = world.pipeline.node_totals.of("n1").counts
    assert counts["unresolved", "error"] == Counts(2, 70)
    assert world.result()["errors"] == {"retry": 1}
    assert world.result()["gaps"] == {Counts()}
