"""Nodes without an agent: the other end's leg counts, and never both."""

import numpy as np
import pytest

from kzn.model.batch import AgentIdentity, Batch
from kzn.model.flows import Flows
from kzn.model.ip import pack
from kzn.model.totals import Counts, Totals
from kzn.server.ledger.ledger import Ledger, LedgerLimits
from kzn.server.ledger.node_totals import TotalsByNode
from kzn.server.pipeline import Clocks, Pipeline
from kzn.server.resolve.reporting import NONE_ABSENT, SILENCE, ReportingCounts, ReportingNodes
from kzn.server.resolve.retry import RetryQueue
from kzn.topology.facts import PodFacts, Workload
from kzn.topology.index import AddressIndex
from kzn.topology.static.file import StaticSource, parse_static

CLUSTER = """
nodes:
  - {name: n1, zone: a, region: r, addresses: [10.0.0.1]}
  - {name: n2, zone: b, region: r, addresses: [10.0.0.2]}
  - {name: n3, zone: c, region: r, addresses: [10.0.0.3]}
pods:
  - {namespace: d, name: p1, node: n1, addresses: [10.1.0.1]}
  - {namespace: d, name: p2, node: n2, addresses: [10.2.0.1]}
  - {namespace: d, name: p3, node: n3, addresses: [10.3.0.1]}
"""
AGENT = "kzn/kzn-agent"
P1, P2, P3, OUT = "10.1.0.1", "10.2.0.1", "10.3.0.1", "8.8.8.8"


class World:
    """Three nodes; batches of ten seconds that arrive at once."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.index = index = AddressIndex(
            clock=lambda: self.now, wall=lambda: self.now + 1e9, agents=[AGENT]
        )
        StaticSource(index, parse_static("cluster.yaml", CLUSTER))
        self.ledger = Ledger(LedgerLimits())
        self.node_totals = TotalsByNode(10)
        clocks = Clocks(lambda: self.now, lambda: 0.0)
        self.pipeline = Pipeline(
            index, self.ledger, self.node_totals, RetryQueue(1000), clocks=clocks
        )
        self.apply("n1", (P1, OUT, 0))

    def apply(self, node: str, *sent: tuple[str, str, int], seconds: float = 10.0) -> None:
        addresses = sorted({end for src, dst, _ in sent for end in (src, dst)})
        m = len(sent)
        sizes = np.array([size for *_, size in sent], np.uint64)
        flows = Flows(
            addresses=np.frombuffer(b"".join(map(pack, addresses)), np.uint8).reshape(-1, 16),
            src=np.array([addresses.index(src) for src, _, _ in sent], np.uint32),
            dst=np.array([addresses.index(dst) for _, dst, _ in sent], np.uint32),
            src_port=np.zeros(m, np.uint16),
            dst_port=np.zeros(m, np.uint16),
            protocol=np.full(m, 6, np.uint8),
            flags=np.zeros(m, np.uint8),
            packets=np.ones(m, np.uint64),
            bytes=sizes,
        )
        totals = Totals(Counts(m, int(sizes.sum())))
        batch = Batch(1, round(seconds * 1000), 0, flows, totals)
        self.pipeline.apply(AgentIdentity(node, 1, "postrouting", "0"), batch)

    def silence(self, *but: str) -> None:
        """Time passes until all but these nodes are taken to have no agent."""
        until = self.now + SILENCE + 20.0
        while self.now < until:
            self.now += 10.0
            for node in but:
                self.apply(node, (P1, OUT, 0))

    def sent(self, pod: str) -> int:
        return dict(self.ledger.snapshot().rows("pod")).get(("d", pod), 0)

    def counts(self) -> ReportingCounts:
        return self.pipeline.reporting.counts(self.now)


@pytest.fixture
def world() -> World:
    return World()


def test_the_leg_of_a_nodes_own_agent_counts_alone(world: World) -> None:
    world.apply("n2", (P2, P1, 100))
    world.apply("n1", (P2, P1, 100))
    assert world.sent("p2") == 100
    assert world.counts() == ReportingCounts(known=3, reporting=2)


def test_a_server_that_began_a_moment_ago_takes_nobody_for_absent(world: World) -> None:
    world.now += 60.0
    world.apply("n1", (P2, P1, 100))
    assert world.sent("p2") == 0
    assert world.counts() == ReportingCounts(known=3, reporting=1)


def test_as_soon_as_an_agent_is_heard_of_nobody_stands_in_for_its_node(world: World) -> None:
    world.silence("n1", "n3")
    world.apply("n1", (P2, P1, 100))
    world.apply("n2", (P2, OUT, 1))
    world.apply("n1", (P2, P1, 30))
    assert world.sent("p2") == 100
    assert world.counts().without_agent == 0


def test_where_the_sender_has_no_agent_the_receivers_leg_counts(world: World) -> None:
    world.silence("n1", "n3")
    world.apply("n1", (P2, P1, 100), (P2, P3, 7), (P2, OUT, 9))
    assert world.sent("p2") == 100  # what goes elsewhere is not this node's to count
    found = world.counts()
    assert (found.without_agent, found.counted_at_destination_bytes) == (1, 100)
    totals = world.node_totals.of("n1")
    assert totals.counts["transit", ""].bytes == 16
    assert totals.gap() == Counts()


def test_what_is_sent_to_a_node_without_an_agent_counts_as_ever(world: World) -> None:
    world.silence("n1", "n3")
    world.apply("n1", (P1, P2, 100))
    assert world.sent("p1") == 100


def test_an_agent_that_appears_counts_nothing_that_others_have(world: World) -> None:
    world.silence("n1", "n3")
    world.apply("n1", (P2, P1, 100))
    world.now += 3.0
    world.apply("n2", (P2, P1, 60), (P2, OUT, 5), seconds=8.0)  # begins before that leg ended
    assert world.sent("p2") == 100
    assert world.node_totals.of("n2").counts["attributed", ""].bytes == 5
    world.now += 10.0
    world.apply("n1", (P2, P1, 1000))
    world.apply("n2", (P2, P1, 1000))
    assert world.sent("p2") == 1100
    assert world.counts().without_agent == 0


def test_an_agent_that_reports_elsewhere_or_later_is_not_stood_in_for(world: World) -> None:
    pod = PodFacts("agent", "kzn", "kzn-agent-x", node="n2", host_network=True, account=AGENT)
    world.index.put_pod(pod, Workload("DaemonSet", "kzn-agent"))
    world.silence("n1", "n3")
    world.apply("n1", (P2, P1, 100))
    assert (world.sent("p2"), world.counts().without_agent) == (0, 0)
    world.apply("n2", (P2, P1, 100), seconds=SILENCE)
    assert world.sent("p2") == 100
    world.index.drop_pod("agent")
    world.silence("n1", "n3")
    world.apply("n1", (P2, P1, 10))
    assert (world.sent("p2"), world.counts().without_agent) == (110, 1)


def test_a_late_batch_counts_what_goes_to_nodes_that_still_have_no_agent(world: World) -> None:
    world.silence("n1")
    world.apply("n1", (P2, P1, 100))
    world.apply("n2", (P2, P1, 60), (P2, P3, 30))
    assert world.sent("p2") == 130


def test_an_agent_that_was_away_for_less_brings_everything(world: World) -> None:
    world.apply("n2", (P2, P1, 1))
    away = SILENCE - 30.0
    for _ in range(round(away / 10.0)):
        world.now += 10.0
        world.apply("n1", (P2, P1, 10))
    world.apply("n2", (P2, P1, 630), seconds=away)
    assert world.sent("p2") == 631


def test_a_batch_of_a_node_outside_the_topology_is_ignored() -> None:
    reporting = ReportingNodes(World().index)
    assert reporting.absent_nodes("n1", 0.0, 0.0) is NONE_ABSENT
    reporting.add_batch("not-in-topology", 10.0, 0.0)
    reporting.add_batch("n1", 10.0, 0.0)
    assert reporting.counts(29.0).reporting == 1
    assert reporting.counts(31.0).reporting == 0
    assert reporting.counts(31.0).known == 3
