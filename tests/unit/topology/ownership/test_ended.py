"""kzn/topology/ownership/ended.py."""

from math import inf

from cluster import IndexWorld

from kzn.model.endpoint import Endpoint
from kzn.model.ip import pack
from kzn.topology.facts import NodeFacts, PodFacts, Workload
from kzn.topology.ownership.ended import EndedOwners

A = pack("10.0.0.1")


class World(IndexWorld):
    def pod_of_three_seconds(self) -> None:
        pod = PodFacts("p", "shop", "web-1", "n1", (A,), started=self.EPOCH + self.now)
        self.index.put_pod(pod, Workload("Deployment", "web"))
        self.now += 3.0
        self.index.drop_pod("p")

    def node(self, uid: str, zone: str, version: int) -> None:
        self.index.put_node(NodeFacts(uid, "n1", zone, "r1", started=-inf, version=version))

    def owner_then(self) -> Endpoint:
        return self.index.endpoint(self.id_at(A, 1000.0, 1003.0))


def test_a_pod_that_ended_before_its_node_was_known_gets_its_zone_later() -> None:
    world = World()
    world.pod_of_three_seconds()
    assert world.owner_then().zone == ""
    world.now += 5.0
    world.node("u1", "", 1)
    assert world.owner_then().zone == ""
    world.node("u1", "a", 2)
    assert (world.owner_then().uid, world.owner_then().zone) == ("p", "a")


def test_an_ended_pod_keeps_its_zone_when_its_node_is_recreated_in_another() -> None:
    world = World()
    world.node("u1", "a", 1)
    world.pod_of_three_seconds()
    world.index.drop_node("u1")
    world.node("u2", "b", 2)
    assert world.owner_then().zone == "a"


def test_ids_of_pods_described_after_their_end_are_freed_once() -> None:
    world = World()
    for _ in range(3):
        world.pod_of_three_seconds()
        world.node("u1", "a", 1)
        world.now += 4000.0
        world.index.drop_node("u1")
        world.now += 4000.0
        world.index.drop_pod("absent")
        assert world.index.counts().endpoints == 0


def test_uids_and_records_expire_at_their_time() -> None:
    ended: EndedOwners[str] = EndedOwners()
    ended.remember_pod("a", 10.0)
    ended.remember_without_zone("b", "record of b", "n1", 20.0)
    ended.remember_without_zone("c", "record of c", "n1", 30.0)
    ended.remember_node("n", 40.0)
    assert ended.expire(20.0) == ["a", "b"]
    assert [uid in ended for uid in "abcn"] == [False, False, True, False]
    assert ended.take_without_zone("n1") == ["record of c"]
    assert ended.take_without_zone("n1") == []
    assert ended.expire(40.0) == ["c", "n"]
    assert "c" not in ended
