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


def test_a_pod_gets_its_deployment_whichever_comes_first() -> None:
    index, feed = new()
    feed.put_owner(REPLICASET, 1)
    feed.put_pod(POD, 1)
    assert workload(index) == ("Deployment", "web")
    index, feed = new()
    feed.put_pod(POD, 1)
    assert workload(index) == ("ReplicaSet", "web-5d8f")
    feed.put_owner(REPLICASET, 0)
    assert workload(index) == ("Deployment", "web")


def test_a_pod_keeps_its_deployment_when_the_replicaset_goes_first() -> None:
    index, feed = new()
    feed.put_owner(REPLICASET, 1)
    feed.put_pod(POD, 1)
    feed.drop_owner("rs")
    feed.put_pod(replace(POD, is_deleting=True), 0)
    assert workload(index) == ("Deployment", "web")


def test_a_pod_that_changes_its_controller_changes_its_workload() -> None:
    index, feed = new()
    feed.put_owner(REPLICASET, 1)
    feed.put_pod(POD, 1)
    feed.put_pod(replace(POD, controller=None), 0)
    assert workload(index) == ("Pod", "web-1")
    feed.put_owner(replace(REPLICASET, controller=None), 0)
    assert workload(index) == ("Pod", "web-1")


def test_owners_are_forgotten_once_neither_they_nor_their_pods_are_left() -> None:
    for last in (
        replace(POD, is_finished=True),
        replace(POD, controller=None),
    ):
        index, feed = new()
        feed.put_owner(REPLICASET, 1)
        feed.put_pod(POD, 1)
        feed.put_pod(last, 0)
        feed.put_pod(last, 0)
        feed.drop_owner("rs")
        assert feed.owners == 0
        assert index.counts().pods == (0 if last.is_finished else 1)


def test_a_late_word_of_a_dead_pod_keeps_no_owner() -> None:
    _, feed = new()
    feed.put_owner(REPLICASET, 1)
    feed.put_pod(POD, 1)
    feed.drop_pod("p")
    feed.put_pod(POD, 0)
    feed.drop_owner("rs")
    assert feed.owners == 0


def test_a_deleted_pod_is_gone_from_index_and_owners() -> None:
    index, feed = new()
    feed.put_pod(POD, 1)
    feed.drop_pod("p")
    feed.drop_pod("p")
    feed.put_pod(POD, 0)  # a late word
    assert index.pod("p") is None
    feed.put_owner(REPLICASET, 0)
    assert index.counts().pods == 0
