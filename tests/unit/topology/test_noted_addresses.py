"""Addresses that a pod's annotation has, through the index."""

from ipaddress import ip_network

import numpy as np
import pytest
from cluster import IndexWorld

from kzn.model.endpoint import AMBIGUOUS, UNKNOWN
from kzn.model.ip import pack
from kzn.topology.facts import (
    Network,
    NodeFacts,
    PodFacts,
    PodWithNetworks,
    ServiceFacts,
    Workload,
)
from kzn.topology.noted_addresses import NotedAddresses
from kzn.topology.ownership.intervals import Owner

PRIMARY, SECOND, THIRD = pack("10.0.0.1"), pack("172.20.0.5"), pack("fd00::5")


def pod(uid: str, primary: str, *noted: str, started: float | None = None) -> PodWithNetworks:
    return PodWithNetworks(
        uid,
        "d",
        uid,
        "n1",
        (pack(primary),),
        noted=tuple(map(pack, noted)),
        started=started,
    )


class World(IndexWorld):
    def put(self, facts: PodFacts) -> None:
        self.index.put_pod(facts, Workload("Pod", facts.name))

    def now_at(self, address: str) -> str | int:
        return self.owner(pack(address), self.now, self.now)


def test_a_pod_owns_the_addresses_of_its_further_interfaces() -> None:
    world = World()
    world.put(pod("p", "10.0.0.1", "172.20.0.5", "fd00::5"))
    assert [world.now_at(a) for a in ("10.0.0.1", "172.20.0.5", "fd00::5")] == ["p", "p", "p"]
    assert world.now_at("172.20.0.6") == UNKNOWN
    found = world.index.endpoint(world.id_at(pack("172.20.0.5"), world.now, world.now))
    assert (found.kind, found.workload, found.node) == ("Pod", "p", "n1")


@pytest.mark.parametrize("annotated_first", [True, False])
def test_an_address_of_any_other_object_is_not_taken(annotated_first: bool) -> None:
    world = World()
    annotated = pod("p", "10.0.0.1", "10.0.0.2", "192.0.2.1", "10.96.0.1", "10.9.0.1")
    if annotated_first:
        world.put(annotated)
    world.put(PodFacts("q", "d", "q", "n2", (pack("10.0.0.2"),)))
    world.index.put_node(NodeFacts("N", "n1", "a", "r", (pack("192.0.2.1"),)))
    world.index.networks.put_service(ServiceFacts("s", "d", "s", (pack("10.96.0.1"),)))
    world.index.put_networks([Network("db", "Database", (ip_network("10.9.0.0/24"),))])
    if not annotated_first:
        world.put(annotated)
    found = [world.now_at(a) for a in ("10.0.0.2", "192.0.2.1", "10.96.0.1", "10.9.0.1")]
    assert found == ["q", "N", "s", ""]
    world.index.drop_pod("q")
    world.now += 1.0
    assert world.now_at("10.0.0.2") == "p"


def test_an_address_that_two_pods_have_is_ambiguous_until_one_is_gone() -> None:
    world = World()
    world.put(pod("p", "10.0.0.1", "172.20.0.5"))
    world.put(pod("q", "10.0.0.2", "172.20.0.5"))
    assert world.now_at("172.20.0.5") == AMBIGUOUS
    world.now += 10.0
    world.index.drop_pod("q")
    world.now += 10.0
    assert world.now_at("172.20.0.5") == "p"
    assert world.owner(pack("172.20.0.5"), world.now - 15, world.now) == AMBIGUOUS


def test_a_late_batch_finds_the_pod_of_its_time() -> None:
    world = World(history=300.0)
    world.put(pod("p", "10.0.0.1", "172.20.0.5", started=world.EPOCH + world.now))
    world.now += 100.0
    world.index.drop_pod("p")
    world.now += 50.0
    world.put(pod("q", "10.0.0.2", "172.20.0.5", started=world.EPOCH + world.now))
    world.now += 10.0
    address = pack("172.20.0.5")
    assert world.owner(address, 1010.0, 1020.0) == "p"
    assert world.owner(address, 1120.0, 1130.0) == UNKNOWN
    assert world.now_at("172.20.0.5") == "q"
    world.now += 400.0
    world.put(pod("r", "10.0.0.3"))
    assert world.owner(address, 1010.0, 1020.0) == UNKNOWN


def test_an_address_that_leaves_the_annotation_ends() -> None:
    world = World()
    world.put(pod("p", "10.0.0.1", "172.20.0.5"))
    world.now += 100.0
    world.put(pod("p", "10.0.0.1", "172.20.0.6"))
    world.now += 1.0
    assert (world.now_at("172.20.0.5"), world.now_at("172.20.0.6")) == (UNKNOWN, "p")


def test_what_ended_leaves_nothing() -> None:
    noted = NotedAddresses(history=10.0)
    for number in range(100):
        owner = Owner(number, float(number))
        noted.put(owner, (SECOND, THIRD), float(number))
        noted.put(owner, (), number + 0.5)
        noted.expire(float(number))
    assert len(noted) == 2
    noted.expire(1000.0)
    assert (len(noted), noted.has_any) == (0, False)
    ids = np.full(1, UNKNOWN, np.int32)
    noted.fill_in(ids, np.zeros(1, np.int64), np.frombuffer(SECOND, np.uint8)[None], 0.0, 1e9)
    assert ids.tolist() == [UNKNOWN]
