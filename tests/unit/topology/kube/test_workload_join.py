"""kzn/topology/kube/workload_join.py."""

from dataclasses import dataclass, field, replace
from math import inf

import numpy as np
import pytest
from cluster import flows_between

from kzn.model.ip import pack
from kzn.server.resolve.resolve import resolve
from kzn.server.resolve.verdict import NAMES
from kzn.topology.facts import NodeFacts, OwnerFacts, OwnerRef, PodFacts, Workload
from kzn.topology.groups import WorkloadGroups
from kzn.topology.index import AddressIndex
from kzn.topology.kube.list_watch import Following
from kzn.topology.kube.workload_join import AWAY_SECONDS, LATE_SECONDS, WorkloadJoin

ADDRESS = pack("10.0.0.1")
POD = PodFacts(
    uid="p",
    namespace="shop",
    name="web-1",
    node="n1",
    addresses=(ADDRESS,),
    controller=OwnerRef("ReplicaSet", "web-5d8f", "rs"),
)
REPLICASET = OwnerFacts("rs", "web-5d8f", OwnerRef("Deployment", "web", "d"))


def workload(index: AddressIndex) -> tuple[str, str]:
    asked = np.frombuffer(ADDRESS, np.uint8).reshape(1, 16)
    endpoint = index.endpoint(int(index.lookup(asked, 100.0, 110.0)[0]))
    return endpoint.workload_kind, endpoint.workload


def new() -> tuple[AddressIndex, WorkloadJoin]:
    index = AddressIndex(clock=lambda: 100.0, wall=lambda: 1.7e9)
    return index, WorkloadJoin(index)


@dataclass
class Waiting:
    """An index and a join in which pods wait for ReplicaSets, on a clock that the test moves."""

    now: float = 100.0
    following: Following = field(default_factory=lambda: Following(since=0.0, lost=inf))
    waits: int = 0

    def __post_init__(self) -> None:
        groups = WorkloadGroups(("team",))
        self.index = AddressIndex(
            clock=lambda: self.now, wall=lambda: 1.7e9 + self.now, groups=groups
        )
        self.index.put_node(NodeFacts("N1", "n1", "a", "r"))
        self.join = WorkloadJoin(
            self.index,
            clock=lambda: self.now,
            following=lambda _kind: self.following,
            on_waiting=self._on_waiting,
        )

    def _on_waiting(self) -> None:
        self.waits += 1

    def after(self, seconds: float) -> bool:
        self.now += seconds
        return self.join.settle()

    def verdict(self) -> str:
        """Of what the pod sends to the outside."""
        flows = flows_between(("10.0.0.1", "8.8.8.8"))
        found = resolve(flows, "n1", self.index, 100.0, 100.0)
        return NAMES[int(found.verdict[0])]

    def workload(self) -> tuple[str, str]:
        asked = np.frombuffer(ADDRESS, np.uint8).reshape(1, 16)
        endpoint = self.index.endpoint(int(self.index.lookup(asked, 100.0, 100.0)[0]))
        return endpoint.workload_kind, endpoint.workload


def test_what_a_pod_sends_is_held_until_its_replicaset_is_known() -> None:
    world = Waiting()
    world.join.put_pod(POD, 0)
    assert (world.verdict(), world.waits) == ("unknown_source", 1)
    assert world.after(0.5)
    assert world.verdict() == "unknown_source"
    world.join.put_owner(REPLICASET, 0)
    assert (world.verdict(), world.workload()) == ("external", ("Deployment", "web"))
    assert not world.after(0.5)


def test_a_pod_of_a_replicaset_that_never_comes_waits_for_seconds_only() -> None:
    world = Waiting()
    world.join.put_pod(POD, 0)
    assert not world.after(LATE_SECONDS)
    assert (world.verdict(), world.workload()) == ("external", ("ReplicaSet", "web-5d8f"))
    world.join.put_pod(replace(POD, version=2), 0)
    assert (world.verdict(), world.waits) == ("external", 1)


def test_while_replicasets_are_not_followed_new_pods_wait_for_them() -> None:
    world = Waiting(following=Following(since=inf, lost=90.0))
    world.join.put_pod(POD, 0)
    assert world.after(40.0)
    assert world.verdict() == "unknown_source"
    world.following = Following(since=world.now, lost=inf)
    assert world.after(LATE_SECONDS / 2)
    world.join.put_owner(REPLICASET, 7)
    assert (world.verdict(), world.workload()) == ("external", ("Deployment", "web"))


def test_replicasets_that_are_away_for_long_are_not_waited_for() -> None:
    world = Waiting(following=Following(since=inf, lost=90.0))
    world.join.put_pod(POD, 0)
    assert not world.after(AWAY_SECONDS)
    assert world.workload() == ("ReplicaSet", "web-5d8f")
    world.join.put_pod(replace(POD, uid="q", addresses=(pack("10.0.0.2"),)), 0)
    assert world.waits == 1


def test_a_pod_that_was_known_keeps_its_deployment_while_replicasets_are_away() -> None:
    world = Waiting()
    world.join.put_owner(REPLICASET, 1)
    world.join.put_pod(POD, 1)
    world.following = Following(since=inf, lost=world.now)
    world.join.put_pod(replace(POD, version=3), 2)
    assert (world.verdict(), world.workload()) == ("external", ("Deployment", "web"))
    assert world.waits == 0


def test_a_pod_that_ended_before_its_replicaset_is_known_gets_its_deployment() -> None:
    for owner_comes in (True, False):
        world = Waiting()
        world.join.put_pod(POD, 0)
        world.join.drop_pod("p")
        assert world.verdict() == "unknown_source"
        if owner_comes:
            world.join.put_owner(REPLICASET, 0)
            assert world.workload() == ("Deployment", "web")
            world.join.drop_owner("rs")
        world.after(LATE_SECONDS)
        assert world.verdict() == "external"
        assert owner_comes or world.workload() == ("ReplicaSet", "web-5d8f")
        assert world.join.owners == 0


def test_an_address_of_a_pod_that_waits_is_taken_from_its_former_owner_at_once() -> None:
    world = Waiting()
    former = replace(POD, uid="former", controller=None, version=1)
    world.join.put_pod(former, 0)
    world.now += 1000.0
    world.join.put_pod(replace(POD, version=2), 0)
    world.now += 100.0
    asked = np.frombuffer(ADDRESS, np.uint8).reshape(1, 16)
    found = int(world.index.lookup(asked, world.now, world.now)[0])
    assert world.index.endpoint(found).uid == "p"


def test_a_pod_gets_its_deployment_in_any_order_of_events() -> None:
    index, join = new()
    join.put_owner(REPLICASET, 1)
    join.put_pod(POD, 1)
    assert workload(index) == ("Deployment", "web")
    index, join = new()
    join.put_pod(POD, 1)
    assert workload(index) == ("ReplicaSet", "web-5d8f")
    join.put_owner(REPLICASET, 0)
    assert workload(index) == ("Deployment", "web")


def test_a_pod_keeps_its_deployment_when_the_replicaset_is_deleted_first() -> None:
    index, join = new()
    join.put_owner(REPLICASET, 1)
    join.put_pod(POD, 1)
    join.drop_owner("rs")
    join.put_pod(replace(POD, is_deleting=True), 0)
    assert workload(index) == ("Deployment", "web")


def test_a_pod_that_changes_its_controller_changes_its_workload() -> None:
    index, join = new()
    join.put_owner(REPLICASET, 1)
    join.put_pod(POD, 1)
    join.put_pod(replace(POD, controller=None), 0)
    assert workload(index) == ("Pod", "web-1")
    join.put_owner(replace(REPLICASET, controller=None), 0)
    assert workload(index) == ("Pod", "web-1")


def test_controllers_are_dropped_with_their_last_pod() -> None:
    for last in (
        replace(POD, is_finished=True),
        replace(POD, controller=None),
    ):
        index, join = new()
        join.put_owner(REPLICASET, 1)
        join.put_pod(POD, 1)
        join.put_pod(last, 0)
        join.put_pod(last, 0)
        join.drop_owner("rs")
        assert join.owners == 0
        assert index.counts().pods == (0 if last.is_finished else 1)


def test_a_late_event_of_a_deleted_pod_keeps_no_controller() -> None:
    _, join = new()
    join.put_owner(REPLICASET, 1)
    join.put_pod(POD, 1)
    join.drop_pod("p")
    join.put_pod(POD, 0)
    join.drop_owner("rs")
    assert join.owners == 0


def test_a_deleted_pod_is_removed_from_index_and_controllers() -> None:
    index, join = new()
    join.put_pod(POD, 1)
    join.drop_pod("p")
    join.drop_pod("p")
    join.put_pod(POD, 0)  # a late event
    assert index.pod("p") is None
    join.put_owner(REPLICASET, 0)
    assert index.counts().pods == 0


@pytest.mark.parametrize("ago", [5.0, 90_000.0])
@pytest.mark.parametrize("host_network", [False, True])
def test_a_pod_that_ended_before_its_controller_was_known_has_its_group(
    ago: float, *, host_network: bool
) -> None:
    world = Waiting()
    ended = replace(
        POD,
        is_finished=True,
        finished=1.7e9 + world.now - ago,
        host_network=host_network,
        groups=("blue",),
    )
    world.join.put_pod(ended, 1)
    assert not world.index.groups.copy()
    world.join.put_owner(REPLICASET, 1)
    assert world.index.groups.of("shop", Workload("Deployment", "web")) == "blue"
