"""kzn/topology/kube/controllers.py."""

from kzn.topology.facts import OwnerFacts, OwnerRef, PodFacts, Workload
from kzn.topology.kube.controllers import Controllers

DEPLOYMENT = OwnerRef("Deployment", "web", "d1")
REPLICASET = OwnerRef("ReplicaSet", "web-5d8f", "rs1")


def pod(controller: OwnerRef | None, uid: str = "p1") -> PodFacts:
    return PodFacts(uid=uid, namespace="shop", name="web-5d8f-x", controller=controller)


def test_a_bare_pod_is_its_own_workload() -> None:
    assert Controllers().workload(pod(None)) == Workload("Pod", "web-5d8f-x")


def test_a_replicaset_leads_to_its_controller_of_any_kind() -> None:
    owners = Controllers()
    owners.put(OwnerFacts("rs1", "web-5d8f", DEPLOYMENT))
    owners.put(OwnerFacts("rs2", "canary-1", OwnerRef("Rollout", "canary", "r1")))
    owners.put(OwnerFacts("rs3", "alone", None))
    assert owners.workload(pod(REPLICASET)) == Workload("Deployment", "web")
    canary = pod(OwnerRef("ReplicaSet", "canary-1", "rs2"))
    assert owners.workload(canary) == Workload("Rollout", "canary")
    alone = pod(OwnerRef("ReplicaSet", "alone", "rs3"))
    assert owners.workload(alone) == Workload("ReplicaSet", "alone")


def test_a_job_leads_to_its_cronjob() -> None:
    owners = Controllers()
    owners.put(OwnerFacts("j1", "backup-28", OwnerRef("CronJob", "backup", "c1")))
    assert owners.workload(pod(OwnerRef("Job", "backup-28", "j1"))) == Workload("CronJob", "backup")


def test_any_other_controller_is_the_workload() -> None:
    workload = Controllers().workload(pod(OwnerRef("StatefulSet", "db", "s1")))
    assert workload == Workload("StatefulSet", "db")


def test_a_controller_known_late_returns_the_pods_to_update() -> None:
    owners = Controllers()
    assert owners.workload(pod(REPLICASET)) == Workload("ReplicaSet", "web-5d8f")
    assert owners.put(OwnerFacts("rs1", "web-5d8f", DEPLOYMENT)) == {"p1"}
    assert owners.workload(pod(REPLICASET)) == Workload("Deployment", "web")
    assert owners.put(OwnerFacts("rs1", "web-5d8f", DEPLOYMENT)) == frozenset()


def test_pods_that_outlive_their_replicaset_keep_their_deployment() -> None:
    owners = Controllers()
    owners.put(OwnerFacts("rs1", "web-5d8f", DEPLOYMENT))
    owners.workload(pod(REPLICASET))
    owners.drop("rs1")
    assert owners.workload(pod(REPLICASET)) == Workload("Deployment", "web")
    owners.forget_pod(pod(REPLICASET))
    assert len(owners) == 0


def test_controllers_and_pods_that_ended_leave_nothing() -> None:
    owners = Controllers()
    owners.put(OwnerFacts("rs1", "web-5d8f", DEPLOYMENT))
    owners.workload(pod(REPLICASET))
    owners.forget_pod(pod(REPLICASET))
    owners.drop("rs1")
    assert len(owners) == 0
    assert owners.put(OwnerFacts("rs1", "web-5d8f", DEPLOYMENT)) == frozenset()


def test_a_cycle_of_controllers_ends() -> None:
    owners = Controllers()
    a, b = OwnerRef("ReplicaSet", "a", "a"), OwnerRef("ReplicaSet", "b", "b")
    owners.put(OwnerFacts("a", "a", b))
    owners.put(OwnerFacts("b", "b", a))
    assert owners.workload(pod(a)).kind == "ReplicaSet"
    owners.forget_pod(pod(a))
