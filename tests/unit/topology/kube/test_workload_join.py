"""kzn/topology/kube/workload_join.py."""

from dataclasses import replace

import numpy as np

from kzn.model.ip import pack
from kzn.topology.facts import OwnerFacts, OwnerRef, PodFacts
from kzn.topology.index import AddressIndex
from kzn.topology.kube.workload_join import WorkloadJoin

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
