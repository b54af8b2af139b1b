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


RUNNER = OwnerRef("EphemeralRunner.v1alpha1.actions.github.com", "runner-x", "er")
RUNNER_SET = OwnerRef("EphemeralRunnerSet.v1alpha1.actions.github.com", "set-abc", "ers")
SCALE_SET = OwnerRef("AutoscalingRunnerSet.v1alpha1.actions.github.com", "ci", "ars")


def test_a_chain_of_any_kinds_is_followed_to_its_end() -> None:
    met: list[str] = []

    def is_new(kind: str) -> bool:
        met.append(kind)
        return True

    owners = Controllers(is_new)
    assert owners.workload(pod(RUNNER)) == Workload("EphemeralRunner", "runner-x")
    assert owners.missing(pod(RUNNER)) == RUNNER.kind
    assert owners.put(OwnerFacts("er", "runner-x", RUNNER_SET)) == {"p1"}
    assert owners.workload(pod(RUNNER)) == Workload("EphemeralRunnerSet", "set-abc")
    owners.put(OwnerFacts("ers", "set-abc", SCALE_SET))
    owners.put(OwnerFacts("ars", "ci", None))
    assert owners.workload(pod(RUNNER)) == Workload("AutoscalingRunnerSet", "ci")
    assert owners.missing(pod(RUNNER)) == ""
    assert met == [RUNNER.kind, RUNNER_SET.kind, SCALE_SET.kind]
    owners.drop("er")
    owners.forget_pod(pod(RUNNER))
    assert len(owners) == 2


def test_a_kind_that_is_not_followed_ends_the_chain_and_nothing_is_missing() -> None:
    owners = Controllers()
    assert owners.workload(pod(RUNNER)) == Workload("EphemeralRunner", "runner-x")
    assert owners.missing(pod(RUNNER)) == ""


def test_owners_of_a_kind_that_is_followed_no_more_stay_known() -> None:
    owners = Controllers(lambda _kind: True)
    owners.workload(pod(RUNNER))
    owners.put(OwnerFacts("er", "runner-x", RUNNER_SET))
    owners.followed.discard(RUNNER.kind)
    assert owners.workload(pod(RUNNER)) == Workload("EphemeralRunnerSet", "set-abc")


def test_a_static_pod_is_its_own_workload() -> None:
    owner = OwnerRef("Node", "n1", "u")
    assert Controllers().workload(pod(owner)) == Workload("Pod", "web-5d8f-x")
