"""Explaining a packet: the verdict is that of resolving, and every part of it has its words."""

import numpy as np
import pytest
from cluster import Clock, cluster, flows_between, index_of, tunnelled
from decisions import (
    CELLS,
    ELSEWHERE,
    HERE,
    OUTSIDE,
    SERVICE,
    STATIC,
    TWO_OWNERS,
    UNOWNED,
    ZONES,
    World,
)
from hypothesis import given
from hypothesis import strategies as st

from kzn.client.explain import Explanation
from kzn.model.ip import pack
from kzn.server.resolve import verdict as v
from kzn.server.resolve.explain import (
    ADVICE,
    RULE_WORDS,
    SIDE_WORDS,
    VERDICT_WORDS,
    ExplainQuery,
    IndexWithHistory,
    explain,
)
from kzn.server.resolve.reporting import NONE_ABSENT, AbsentNodes
from kzn.server.resolve.resolve import resolve
from kzn.server.resolve.rules import SIDES, TABLE
from kzn.topology.facts import PodFacts, Workload
from kzn.topology.index import AddressIndex


def explained(
    index: IndexWithHistory,
    src: str,
    dst: str,
    *,
    node: str = "",
    at: float,
    absent: AbsentNodes = NONE_ABSENT,
    via: str = "",
) -> Explanation:
    query = ExplainQuery(pack(src), pack(dst), at, node, pack(via) if via else b"")
    return explain(query, index, lambda _: absent, lambda seconds: f"{seconds:.0f}")


def in_world(src: str, dst: str, node: str = "") -> Explanation:
    world = World()
    return explained(world.index, src, dst, node=node, at=world.clock.now())


def absent_of(index: IndexWithHistory, *names: str) -> AbsentNodes:
    by_code = np.zeros(10, np.bool_)
    by_code[[index.node_code(name) for name in names]] = True
    return AbsentNodes(by_code)


def test_every_side_rule_and_verdict_has_its_sentence() -> None:
    assert SIDE_WORDS.keys() == set(range(len(SIDES)))
    verdicts = set(range(len(v.NAMES)))
    assert VERDICT_WORDS.keys() == ADVICE.keys() == verdicts
    assert RULE_WORDS.keys() == set(TABLE.ravel().tolist()) - verdicts


def test_every_unresolved_verdict_has_advice() -> None:
    assert all(ADVICE[code] for code in range(v.TRANSIT, len(v.NAMES)))


@pytest.mark.parametrize("ends", CELLS)
def test_the_verdict_is_that_of_every_cell_of_the_table(ends: tuple[str, str]) -> None:
    found = in_world(*ends, node="n1")
    assert found.verdict == CELLS[ends]
    assert found.class_ == (found.verdict if found.verdict in v.CLASSES else "")
    assert found.reason == (found.verdict if found.verdict in v.REASONS else "")


@pytest.mark.parametrize("flow", ZONES)
def test_the_verdict_is_that_of_every_rule_of_zones(flow: tuple[str, str, str]) -> None:
    node, src, dst = flow
    assert in_world(src, dst, node).verdict == ZONES[flow]


ZONE = st.sampled_from(["-", "a", "b"])
REGION = st.sampled_from(["", "r", "s"])
NODES = ["n0", "n1", "n2"]
ADDRESSES = [
    *(f"10.0.0.{n}" for n in (1, 2, 3)),
    *(f"10.1.0.{n}" for n in range(4)),
    "10.9.0.1",
    OUTSIDE,
    UNOWNED,
]
ADDRESS = st.sampled_from(ADDRESSES)


@st.composite
def topologies(draw: st.DrawFn) -> AddressIndex:
    """Three nodes, pods of these, of a node that is not known and of none yet, and a network."""
    nodes = [f"{name} {draw(ZONE)} {draw(REGION)}" for name in NODES]
    network = f"db Database 10.9.0.0/24 {draw(ZONE)} {draw(REGION)}"
    index = index_of(cluster("\n".join(nodes), networks=network), Clock(100.0))
    homes = draw(st.lists(st.sampled_from([*NODES, "gone", ""]), max_size=4))
    for n, home in enumerate(homes):
        pod = PodFacts(f"p{n}", "d", f"p{n}", node=home, addresses=(pack(f"10.1.0.{n}"),))
        index.put_pod(pod, Workload("Deployment", "web"))
    return index


@pytest.mark.slow
@given(
    topologies(),
    ADDRESS,
    ADDRESS,
    st.sampled_from([*NODES, "gone"]),
    st.sets(st.sampled_from(NODES)),
    st.just("") | ADDRESS,
)
def test_in_any_small_world_the_verdict_is_that_of_resolving(
    index: AddressIndex,
    src: str,
    dst: str,
    node: str,
    without_agent: set[str],
    via: str,
) -> None:
    absent = absent_of(index, *without_agent)
    found = explained(index, src, dst, node=node, at=100.0, absent=absent, via=via)
    flows = tunnelled(flows_between((src, dst)), via)
    resolution = resolve(flows, node, index, 100.0, 100.0, absent=absent)
    assert found.verdict == v.NAMES[resolution.verdict[0]]
    assert (found.via is not None) == bool(via)
    assert found.why
    assert all([*found.why, *found.advice])
    text = " ".join([*found.why, *found.advice])
    assert not set("{}") & set(text)
    assert "  " not in text


def test_the_node_is_the_source_s_unless_given() -> None:
    found = in_world(ELSEWHERE, HERE)
    assert (found.node, found.node_chosen_by, found.verdict) == ("n2", "source", "cross_zone")
    found = in_world(ELSEWHERE, HERE, node="n1")
    assert (found.node, found.node_chosen_by, found.verdict) == ("n1", "query", "transit")
    assert found.advice == ("ask for the node that counts it: --node n2",)


def test_a_source_without_a_node_is_seen_by_the_destination_s() -> None:
    found = in_world(STATIC, HERE)
    assert (found.node, found.node_chosen_by) == ("n1", "destination")


def test_without_a_node_of_either_address_any_node_is_chosen() -> None:
    found = in_world(OUTSIDE, STATIC)
    assert found.node_chosen_by == "any"
    assert found.node in World().index.node_names()


def test_an_empty_topology_is_an_unknown_node() -> None:
    found = explained(index_of(cluster("")), HERE, OUTSIDE, at=100.0)
    assert (found.node, found.verdict) == ("", "unknown_node")


def test_what_a_node_without_an_agent_sends_is_explained_for_the_destination_s() -> None:
    index = World().index
    absent = absent_of(index, "n2")
    found = explained(index, ELSEWHERE, HERE, at=1200.0, absent=absent)
    assert (found.node, found.node_chosen_by) == ("n1", "destination")
    assert (found.verdict, found.src.side) == ("cross_zone", "no_agent")


def test_a_packet_that_no_node_reports_is_called_so() -> None:
    index = World().index
    absent = absent_of(index, "n2")
    at_the_source = explained(index, ELSEWHERE, OUTSIDE, at=1200.0, absent=absent)
    assert any("has no agent" in sentence for sentence in at_the_source.why)
    assert at_the_source.advice == ("run the agent on node n2",)
    elsewhere = explained(index, ELSEWHERE, OUTSIDE, node="n1", at=1200.0, absent=absent)
    assert elsewhere.verdict == "transit"
    assert "run the agent on node n2" in elsewhere.advice[0]


def test_a_tunnel_to_another_place_is_where_the_packet_goes() -> None:
    world = World()
    at = world.clock.now()
    found = explained(world.index, HERE, OUTSIDE, at=at, via="10.0.0.2")
    assert (found.verdict, found.node, found.charged_to) == ("cross_zone", "n1", "")
    assert found.via is not None
    assert (found.via.owner.name, found.via.side) == ("n2", "elsewhere")
    assert (found.dst.owner.address, found.dst.side) == (OUTSIDE, "outside")
    assert "10.0.0.2" in found.why[0]
    assert "n2" in " ".join(found.why)
    overlay = explained(world.index, HERE, ELSEWHERE, at=at, via="10.0.0.2")
    assert overlay.verdict == "cross_zone"
    assert "not known to be at another place" in overlay.why[0]
    mirror = explained(world.index, ELSEWHERE, HERE, node="n1", at=at, via="10.0.0.3")
    assert (mirror.verdict, mirror.charged_to) == ("same_zone", "n1")
    assert Explanation.from_json(found.to_json()) == found


def test_a_forwarded_packet_is_charged_to_its_node() -> None:
    found = in_world(OUTSIDE, ELSEWHERE, node="n1")
    assert (found.verdict, found.charged_to) == ("cross_zone", "n1")
    assert in_world(HERE, ELSEWHERE).charged_to == ""


def test_an_answer_of_a_service_is_to_be_asked_for_by_its_pod() -> None:
    found = in_world(SERVICE, HERE)
    assert (found.node, found.verdict) == ("n1", "transit")
    assert "10.96.0.10" in found.advice[0]
    assert "--node" not in found.advice[0]


def test_an_unknown_node_leaves_the_owners_known() -> None:
    found = in_world(HERE, ELSEWHERE, node="not-there")
    assert found.verdict == "unknown_node"
    assert (found.src.owner.name, found.dst.owner.name) == ("p1", "p2")


def test_the_history_of_an_address_names_its_owners_with_their_times() -> None:
    found = in_world(TWO_OWNERS, HERE)
    first, second = found.src.history
    assert (first.owner.name, first.since, first.until) == ("first", "1098", "1200")
    assert (second.owner.name, second.since, second.until) == ("second", "1198", "")
    assert found.dst.history[0].since == ""  # of the static file: always


def test_the_past_has_the_owner_of_that_time() -> None:
    index = World().index
    assert explained(index, TWO_OWNERS, OUTSIDE, at=1150.0).src.owner.name == "first"
    assert explained(index, TWO_OWNERS, OUTSIDE, at=1201.0).src.owner.name == "second"


def test_a_batch_that_spans_a_change_of_owners_is_mentioned() -> None:
    index = World().index
    found = explained(index, TWO_OWNERS, OUTSIDE, at=1201.0)
    assert found.verdict == "external"
    assert any("resolved as ambiguous" in sentence for sentence in found.why)
    later = explained(index, TWO_OWNERS, OUTSIDE, at=1250.0)
    assert not any("batch" in sentence for sentence in later.why)


def test_a_pod_that_is_being_deleted_is_retried_and_shown_so() -> None:
    world = World()
    pod = PodFacts("p", "d", "ends", node="n1", addresses=(pack(UNOWNED),), is_deleting=True)
    world.index.put_pod(pod, Workload("Pod", "ends"))
    world.clock.seconds += 5.0
    found = explained(world.index, UNOWNED, ELSEWHERE, at=world.clock.now())
    assert (found.verdict, found.retried) == ("cross_zone", True)
    assert found.src.history[0].deleting_since == "1200"
    assert in_world(HERE, ELSEWHERE).retried is False


def test_a_pod_without_a_workload_yet_is_named() -> None:
    world = World()
    pod = PodFacts("p", "d", "new", node="n1", addresses=(pack(UNOWNED),))
    world.index.put_pod(pod, None)
    found = explained(world.index, UNOWNED, OUTSIDE, at=world.clock.now())
    assert found.verdict == "unknown_source"
    assert any("d/new, of which the workload is not known yet" in one for one in found.why)


def test_a_pod_without_a_node_yet_is_named() -> None:
    world = World()
    pod = PodFacts("p", "d", "pending", addresses=(pack(UNOWNED),))
    world.index.put_pod(pod, Workload("Pod", "pending"))
    found = explained(world.index, HERE, UNOWNED, at=world.clock.now())
    assert (found.verdict, found.dst.side) == ("unknown_destination", "unknown")
    assert "d/pending, of which the node" in found.why[1]


@pytest.mark.parametrize(
    ("src", "is_named"),
    [(OUTSIDE, True), ("10.0.0.1", True), (HERE, False), (ELSEWHERE, False)],
)
def test_a_source_that_is_not_a_pods_may_have_a_sender(src: str, is_named: bool) -> None:
    why = " ".join(in_world(src, "10.9.2.1", node="n1").why)
    assert ("names that pod as the sender" in why) is is_named
