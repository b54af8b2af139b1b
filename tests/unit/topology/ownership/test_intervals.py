"""kzn/topology/ownership/intervals.py: ending owners, and gaps in the pod watch."""

from dataclasses import replace
from math import inf

import pytest
from cluster import IndexWorld

from kzn.model.endpoint import AMBIGUOUS, UNKNOWN, UNSETTLED
from kzn.model.ip import pack
from kzn.topology.facts import PodFacts, Workload
from kzn.topology.index import HISTORY_SECONDS

A = pack("10.0.0.1")
EPOCH = 1.7e9


class World(IndexWorld):
    def put(self, uid: str, started: float, *, is_deleting: bool = False, listing: int = 0) -> None:
        pod = PodFacts(uid, "d", uid, "n", (A,), started=EPOCH + started)
        pod = replace(pod, is_deleting=is_deleting)
        self.index.put_pod(pod, Workload("Pod", uid), listing=listing)

    def who(self, opened: float, closed: float, *, final: bool = True) -> str | int:
        return self.owner(A, opened, closed, final=final)


@pytest.fixture
def world() -> World:
    world = World()
    world.put("old", 900.0)
    return world


def test_an_owner_that_stays_is_settled_at_once(world: World) -> None:
    assert world.who(990, 1000, final=False) == "old"


def test_an_owner_that_ended_within_the_interval_is_unsettled_unless_final(world: World) -> None:
    world.index.drop_pod("old")
    assert world.who(990, 1005, final=False) == UNSETTLED
    assert world.who(990, 1005) == "old"
    assert world.who(980, 990, final=False) == "old"


def test_a_terminating_owner_is_unsettled_unless_final(world: World) -> None:
    world.put("old", 900.0, is_deleting=True)
    assert world.who(990, 999, final=False) == "old"
    assert world.who(995, 1005, final=False) == UNSETTLED
    assert world.who(995, 1005) == "old"
    world.now = 1012.0
    world.put("new", 1009.0)
    assert world.who(1002, 1006) == "old"
    assert world.who(1002, 1012) == AMBIGUOUS
    assert world.who(1013, 1023, final=False) == "new"


def test_an_owner_that_terminates_for_long_stays_unsettled(world: World) -> None:
    world.index.drop_pod("old")
    world.now = 1010.0
    world.put("slow", 1010.0)
    world.put("slow", 1010.0, is_deleting=True)
    world.now += HISTORY_SECONDS + 60.0  # its own event expires the earlier owner
    world.put("slow", 1010.0, is_deleting=True)
    assert world.index.counts().ended_ownerships == 0
    assert world.who(world.now - 10.0, world.now, final=False) == UNSETTLED
    assert world.who(world.now - 10.0, world.now) == "slow"


def test_an_earlier_owner_seen_late_ends_when_the_next_was_seen() -> None:
    world = World()
    world.put("second", 995.0)
    world.now = 1020.0
    world.index.put_pod(
        PodFacts("first", "d", "first", "n", (A,), started=EPOCH + 900, version=1),
        Workload("Pod", "first"),
    )
    assert world.who(1005, 1015) == AMBIGUOUS  # without versions the later event wins
    world = World()
    second = PodFacts("second", "d", "second", "n", (A,), started=EPOCH + 995, version=2)
    world.index.put_pod(second, Workload("Pod", "second"))
    world.now = 1020.0
    world.index.put_pod(
        PodFacts("first", "d", "first", "n", (A,), started=EPOCH + 900, version=1),
        Workload("Pod", "first"),
    )
    assert world.who(1005, 1015) == "second"
    assert world.who(990, 999) == AMBIGUOUS
    assert world.who(950, 960) == "first"


def test_a_pod_listed_after_a_watch_gap_does_not_own_earlier_traffic() -> None:
    world = World()
    world.index.pod_watch_lost(980.0)
    world.now = 1000.0
    world.index.pod_list_begins()
    world.put("new", 995.0, listing=1)
    assert world.who(990, 1000) == AMBIGUOUS  # an unseen pod may have had it before
    assert world.who(1000, 1010) == "new"
    assert world.who(970, 980) == UNKNOWN


def test_a_pod_started_long_before_the_list_owns_its_traffic() -> None:
    world = World()
    world.index.pod_watch_lost(-inf)
    world.index.pod_list_begins()
    world.put("old", 100.0, listing=1)
    assert world.who(900, 910) == "old"


def test_an_address_freed_in_a_watch_gap_is_ambiguous(world: World) -> None:
    world.index.drop_pod("old")
    world.now = 1004.0
    world.index.pod_watch_lost(1004.0)
    assert world.who(990, 1005) == AMBIGUOUS
    assert world.who(980, 990) == "old"
    world.now = 1030.0
    world.index.pod_list_begins()
    assert world.who(990, 1005) == AMBIGUOUS
