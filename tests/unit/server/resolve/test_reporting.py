"""Nodes without an agent: their traffic is counted at the destination, and never at both ends."""

from collections.abc import Sequence

import pytest
from cluster import EPOCH, Clock, cluster, flows_between, index_of

from kzn.model.batch import AgentIdentity, Batch
from kzn.model.ip import pack
from kzn.model.totals import Counts, Totals
from kzn.server.ledger.ledger import Ledger
from kzn.server.ledger.limits import LedgerLimits
from kzn.server.ledger.node_totals import TotalsByNode
from kzn.server.pipeline import Clocks, Pipeline
from kzn.server.resolve.reporting import (
    DORMANT,
    EXPECTED,
    NONE_ABSENT,
    SILENCE,
    HeardNode,
    ReportingCounts,
    ReportingNodes,
    StandIn,
)
from kzn.server.resolve.retry import RetryQueue
from kzn.topology.facts import NodeFacts, PodFacts, Workload

CLUSTER = cluster(
    nodes="n1 a r\nn2 b r\nn3 c r",
    pods="d/p1 n1 10.1.0.1\nd/p2 n2 10.2.0.1\nd/p3 n3 10.3.0.1",
)
AGENT = "kzn/kzn-agent"
P1, P2, P3, P9, OUT = "10.1.0.1", "10.2.0.1", "10.3.0.1", "10.9.0.1", "8.8.8.8"


class World:
    """Three nodes, of which n1 has reported; batches of ten seconds that arrive without delay."""

    def __init__(
        self, stand_in: StandIn = "on", clock: Clock | None = None, saved: Sequence[HeardNode] = ()
    ) -> None:
        self.clock = clock or Clock()
        self.index = index_of(CLUSTER, self.clock, agents=[AGENT])
        self.ledger = Ledger(LedgerLimits())
        self.node_totals = TotalsByNode(10)
        clocks = Clocks(self.clock.now, lambda: 0.0)
        self.pipeline = Pipeline(
            self.index,
            self.ledger,
            self.node_totals,
            RetryQueue(1000),
            clocks=clocks,
            stand_in=stand_in,
        )
        self.pipeline.reporting.restore(saved, self.clock.now(), EPOCH)
        self.apply("n1", (P1, OUT, 0))

    def apply(
        self, node: str, *sent: tuple[str, str, int], seconds: float = 10.0, dormant: int = 0
    ) -> None:
        seen = Counts(len(sent) + dormant, sum(size for *_, size in sent) + dormant)
        missed = {"dormant": Counts(dormant, dormant)} if dormant else {}
        totals = Totals(seen, missed)
        batch = Batch(1, round(seconds * 1000), 0, flows_between(*sent), totals)
        self.pipeline.apply(AgentIdentity(node, 1, "postrouting", "0"), batch)

    def silence(self, *reporting: str) -> None:
        """Time passes until all nodes but those ``reporting`` are absent."""
        until = self.clock.now() + SILENCE + 20.0
        while self.clock.now() < until:
            self.clock.seconds += 10.0
            for node in reporting:
                self.apply(node, (P1, OUT, 0))

    def sent(self, pod: str) -> int:
        return dict(self.ledger.snapshot().rows("pod")).get(("d", pod), 0)

    def counts(self) -> ReportingCounts:
        return self.pipeline.reporting.counts(self.clock.now())


@pytest.fixture
def world() -> World:
    return World()


def test_traffic_is_counted_only_by_the_agent_of_its_source(world: World) -> None:
    world.apply("n2", (P2, P1, 100))
    world.apply("n1", (P2, P1, 100))
    assert world.sent("p2") == 100
    assert world.counts() == ReportingCounts(known=3, reporting=2)


def test_no_node_is_absent_to_a_server_that_started_a_moment_ago(world: World) -> None:
    world.clock.seconds += 60.0
    world.apply("n1", (P2, P1, 100))
    assert world.sent("p2") == 0
    assert world.counts() == ReportingCounts(known=3, reporting=1)


def test_a_first_batch_ends_counting_at_the_destination_at_once(world: World) -> None:
    world.silence("n1", "n3")
    world.apply("n1", (P2, P1, 100))
    world.apply("n2", (P2, OUT, 1))
    world.apply("n1", (P2, P1, 30))
    assert world.sent("p2") == 100
    assert world.counts().without_agent == 0


def test_traffic_of_an_absent_node_is_counted_at_its_destination(world: World) -> None:
    world.silence("n1", "n3")
    world.apply("n1", (P2, P1, 100), (P2, P3, 7), (P2, OUT, 9))
    assert world.sent("p2") == 100  # flows to other nodes are not counted here
    found = world.counts()
    assert (found.without_agent, found.counted_at_destination_bytes) == (1, 100)
    totals = world.node_totals.of("n1")
    assert totals.counts["transit", ""].bytes == 16
    assert totals.gap() == Counts()


def test_traffic_to_an_absent_node_is_counted_at_its_source(world: World) -> None:
    world.silence("n1", "n3")
    world.apply("n1", (P1, P2, 100))
    assert world.sent("p1") == 100


def test_a_late_batch_counts_nothing_that_was_counted_at_its_destination(world: World) -> None:
    world.silence("n1", "n3")
    world.apply("n1", (P2, P1, 100))
    world.clock.seconds += 3.0
    world.apply(
        "n2", (P2, P1, 60), (P2, OUT, 5), seconds=8.0
    )  # begins before the interval counted at n1 ended
    assert world.sent("p2") == 100
    assert world.node_totals.of("n2").counts["attributed", ""].bytes == 5
    world.clock.seconds += 10.0
    world.apply("n1", (P2, P1, 1000))
    world.apply("n2", (P2, P1, 1000))
    assert world.sent("p2") == 1100
    assert world.counts().without_agent == 0


def test_a_node_with_an_agent_pod_is_not_absent_however_silent(world: World) -> None:
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


def test_a_late_batch_counts_what_goes_to_absent_nodes(world: World) -> None:
    world.silence("n1")
    world.apply("n1", (P2, P1, 100))
    world.apply("n2", (P2, P1, 60), (P2, P3, 30))
    assert world.sent("p2") == 130


def test_after_a_shorter_silence_the_agent_reports_everything(world: World) -> None:
    world.apply("n2", (P2, P1, 1))
    away = SILENCE - 30.0
    for _ in range(round(away / 10.0)):
        world.clock.seconds += 10.0
        world.apply("n1", (P2, P1, 10))
    world.apply("n2", (P2, P1, 630), seconds=away)
    assert world.sent("p2") == 631


def test_a_batch_of_a_node_outside_the_topology_is_ignored() -> None:
    reporting = ReportingNodes(World().index)
    assert reporting.absent_nodes(0.0) is NONE_ABSENT
    reporting.add_batch("not-in-topology", 10.0, 0.0, 0.0)
    reporting.add_batch("n1", 10.0, 0.0, 0.0)
    assert reporting.counts(29.0).reporting == 1
    assert reporting.counts(31.0).reporting == 0
    assert reporting.counts(31.0).known == 3


def put_agentless(world: World, name: str = "n9", uid: str = "n9") -> None:
    world.index.put_node(NodeFacts(uid, name, "c", "r", is_agentless=True))
    pod = PodFacts("p9", "d", "p9", node=name, addresses=(pack(P9),))
    world.index.put_pod(pod, Workload("Pod", "p9"))
    world.clock.seconds += 10.0


def test_a_node_that_cannot_have_an_agent_is_absent_from_the_start(world: World) -> None:
    put_agentless(world)
    world.apply("n1", (P9, P1, 100))
    assert world.sent("p9") == 100
    found = world.counts()
    assert (found.known, found.without_agent, found.agentless) == (4, 1, 1)


def test_a_node_that_reports_has_an_agent_with_any_labels(world: World) -> None:
    put_agentless(world)
    world.apply("n9", (P9, OUT, 1))
    world.apply("n1", (P9, P1, 100))
    assert world.sent("p9") == 0
    found = world.counts()
    assert (found.without_agent, found.agentless) == (0, 0)


def ages(world: World) -> dict[str, float]:
    return dict(world.pipeline.reporting.ages(world.clock.now()))


def test_the_age_of_a_batch_grows_from_the_last_one_or_from_when_the_node_became_known(
    world: World,
) -> None:
    world.clock.seconds += 30.0
    world.apply("n2", (P2, OUT, 1))
    world.clock.seconds += 60.0
    assert ages(world) == {"n1": 90.0, "n2": 60.0, "n3": 90.0}


def test_the_age_ends_with_the_node(world: World) -> None:
    world.apply("n2", (P2, OUT, 1))
    world.index.drop_node("static:n2")
    world.clock.seconds += 10.0
    assert ages(world).keys() == {"n1", "n3"}


def test_a_node_without_agent_has_no_age(world: World) -> None:
    put_agentless(world)
    world.silence("n1")
    assert ages(world).keys() == {"n1"}


def test_a_node_that_has_reported_has_an_age_for_an_hour_and_with_an_agent_pod_always(
    world: World,
) -> None:
    world.apply("n2", (P2, OUT, 1))
    world.apply("n3", (P3, OUT, 1))
    pod = PodFacts("agent", "kzn", "kzn-agent-x", node="n3", host_network=True, account=AGENT)
    world.index.put_pod(pod, Workload("DaemonSet", "kzn-agent"))
    world.silence("n1")
    assert ages(world).keys() == {"n1", "n2", "n3"}
    world.clock.seconds += EXPECTED
    assert ages(world).keys() == {"n3"}


def books(world: World, node: str) -> dict[str, int]:
    """The totals of a node by term and reason, without those of 0; they add up."""
    totals = world.node_totals.of(node, world.clock.now())
    assert totals.gap() == Counts()
    counted = {f"{term} {why}".strip(): n.bytes for (term, why), n in totals.counts.items()}
    return {name: size for name, size in counted.items() if size}


def passes(world: World, seconds: int, rate: int = 10) -> None:
    """n2 sends ``rate`` bytes a second to n1, which reports each ten seconds; n2 does not."""
    for _ in range(seconds // 10):
        world.clock.seconds += 10.0
        world.apply("n1", (P2, P1, 10 * rate))


def test_a_node_whose_agent_comes_back_after_twenty_minutes_loses_only_what_was_dormant() -> None:
    world = World()
    world.apply("n2", (P2, P1, 0))
    passes(world, 1200)
    elsewhere = world.sent("p2")
    assert elsewhere == 5400  # from eleven minutes on
    world.apply("n2", (P2, P1, 10 * int(DORMANT)), seconds=1200.0, dormant=6000)
    assert world.sent("p2") == 6000 + 5400
    assert books(world, "n2") == {"seen": 12000, "attributed": 6000, "missed dormant": 6000}
    passes(world, 10)
    world.apply("n2", (P2, P1, 100))
    assert world.sent("p2") == 11_500


def test_a_node_that_was_cut_off_for_fifteen_minutes_loses_nothing() -> None:
    world = World()
    world.apply("n2", (P2, P1, 0))
    passes(world, 900)
    assert world.sent("p2") == 2400
    world.apply("n2", (P2, P1, 6000), (P2, P3, 3000), (P2, OUT, 7), seconds=900.0)
    assert world.sent("p2") == 9000
    assert books(world, "n2") == {"seen": 9007, "transit": 2400, "attributed": 6607}
    passes(world, 10)
    world.apply("n2", (P2, P1, 100))
    assert world.sent("p2") == 9100


def put_pod(world: World, name: str, node: str, address: str) -> None:
    pod = PodFacts(name, "d", name, node=node, addresses=(pack(address),))
    world.index.put_pod(pod, Workload("Pod", name))


def ticks(world: World, seconds: float = 60.0) -> None:
    world.clock.seconds += seconds
    while world.pipeline.tick():
        pass


NEW = "10.2.0.7"


def test_a_late_batch_is_divided_once_all_of_it_is_resolved() -> None:
    world = World()
    world.apply("n2", (P2, P1, 0))
    passes(world, 900)
    world.apply("n2", (NEW, P1, 1500), (P2, P1, 1500), (P2, OUT, 7), seconds=900.0)
    assert books(world, "n2") == {"seen": 3007, "attributed": 7}
    assert world.node_totals.of("n2").held.bytes == 3000
    put_pod(world, "new", "n2", NEW)
    ticks(world)
    assert books(world, "n2") == {"seen": 3007, "transit": 2400, "attributed": 607}
    assert (world.sent("p2"), world.sent("new")) == (2400 + 300, 300)


def test_of_a_late_batch_what_is_never_resolved_takes_no_part_in_the_division() -> None:
    world = World()
    world.apply("n2", (P2, P1, 0))
    passes(world, 900)
    world.apply("n2", (NEW, P1, 50), (P2, P1, 6000), seconds=900.0)
    ticks(world)
    ticks(world)
    counted = {"seen": 6050, "transit": 2400, "attributed": 3600, "unresolved unknown_source": 50}
    assert books(world, "n2") == counted
    assert world.node_totals.of("n2").held == Counts()
    passes(world, 10)
    world.apply("n2", (P2, P1, 100))  # not late
    assert world.sent("p2") == 6000 + 100


def test_a_late_batch_that_finds_no_room_in_the_queue_is_divided_at_once() -> None:
    world = World()
    world.pipeline.retry_queue = RetryQueue(1)
    world.apply("n2", (P2, P1, 0))
    passes(world, 900)
    world.apply("n2", (NEW, P1, 50), (P2, P1, 6000), seconds=900.0)
    counted = {"seen": 6050, "transit": 2400, "attributed": 3600, "unresolved unknown_source": 50}
    assert books(world, "n2") == counted
    assert world.pipeline.stats.retry_overflow_flows == 1


def test_what_cannot_be_told_is_unresolved_and_never_transit() -> None:
    world = World()
    world.apply("n2", (P2, P1, 0))
    passes(world, 900)
    world.apply("n2", (P2, P1, 2399), seconds=900.0)  # less than n1 counted
    assert books(world, "n2") == {"seen": 2399, "unresolved late": 2399}
    assert world.sent("p2") == 2400


def test_a_dormant_batch_that_may_overlap_is_unresolved() -> None:
    world = World()
    passes(world, 900)
    world.apply("n2", (P2, P1, 500), seconds=800.0, dormant=1)
    assert books(world, "n2")["unresolved late"] == 500


def test_a_batch_that_begins_within_a_counted_interval_is_unresolved_as_far_as_that() -> None:
    world = World()
    world.silence("n1", "n3")
    passes(world, 20)
    world.clock.seconds += 2.0
    world.apply("n2", (P2, P1, 250), seconds=7.0)  # began five seconds before n1's batch ended
    assert world.sent("p2") == 200 + 150
    assert books(world, "n2") == {"seen": 250, "attributed": 150, "unresolved late": 100}


def test_two_servers_with_a_static_topology_count_once() -> None:
    servers = World("auto"), World("auto")
    for _ in range(100):  # n1 and n2 report to a server each
        for world in servers:
            world.clock.seconds += 10.0
        servers[0].apply("n1", (P1, P2, 100))
        servers[1].apply("n2", (P1, P2, 100))
    assert [world.sent("p1") for world in servers] == [10_000, 0]
    assert [world.counts().without_agent for world in servers] == [0, 0]


def agent_on(world: World, node: str) -> None:
    pod = PodFacts(f"a-{node}", "kzn", f"a-{node}", node=node, host_network=True, account=AGENT)
    world.index.put_pod(pod, Workload("DaemonSet", "kzn-agent"))


def test_nodes_without_an_agent_pod_are_counted_elsewhere_where_agents_can_be_seen() -> None:
    world = World("auto")
    agent_on(world, "n1")
    world.silence("n1", "n3")
    world.apply("n1", (P2, P1, 100))
    assert world.sent("p2") == 100


@pytest.mark.parametrize("mode", ["auto", "off"])
def test_agents_elsewhere_prove_nothing_and_off_is_off(mode: StandIn) -> None:
    world = World(mode)
    agent_on(world, "n3" if mode == "auto" else "n1")  # n3 reports to another server
    world.silence("n1")
    world.apply("n1", (P2, P1, 100))
    assert (world.sent("p2"), world.counts().without_agent) == (0, 0)


def test_a_node_that_cannot_have_an_agent_is_counted_from_the_start_of_a_server() -> None:
    world = World("auto")
    facts = NodeFacts("fargate", "n2", "b", "r", is_agentless=True)
    world.index.put_node(facts)
    for _ in range(100):
        world.clock.seconds += 10.0
        world.apply("n1", (P2, P1, 100))
    assert world.sent("p2") == 10_000


def restarted(world: World, away: float) -> World:
    """A server that goes on with what ``world`` saved, after it was away for some time."""
    removed, rows = world.pipeline.reporting.changed(EPOCH)
    assert removed == []
    return World(clock=Clock(world.clock.seconds + away), saved=rows)


def test_a_restarted_server_knows_which_nodes_were_silent() -> None:
    world = World()
    world.apply("n2", (P2, P1, 0))
    passes(world, 700)
    assert world.sent("p2") == 400
    later = restarted(world, away=5.0)
    passes(later, 100)
    assert later.sent("p2") == 1000  # without a pause of eleven minutes
    later.apply("n2", (P2, P1, 8000), seconds=805.0)
    assert later.sent("p2") == 8000 - 400  # the others are the former server's


def test_the_time_without_a_server_is_not_silence() -> None:
    world = World()
    world.apply("n2", (P2, P1, 0))
    passes(world, 100)
    later = restarted(world, away=3600.0)
    passes(later, 100)
    assert later.sent("p2") == 0


def test_what_was_saved_of_a_node_is_saved_again_only_when_it_changed() -> None:
    world = World()
    world.apply("n2", (P2, P1, 0))
    reporting = world.pipeline.reporting
    assert {row.node for row in reporting.changed(0.0)[1]} == {"n1", "n2", "n3"}
    passes(world, 30)
    assert reporting.changed(0.0) == ([], [])
    passes(world, 40)
    assert {row.node for row in reporting.changed(0.0)[1]} == {"n1"}
    world.index.drop_node("static:n3")
    passes(world, 10)
    assert reporting.changed(0.0)[0] == ["n3"]
