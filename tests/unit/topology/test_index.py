"""kzn/topology/index.py, ownership/claims.py and intervals.py: who had an address when."""

import sys
from dataclasses import replace
from ipaddress import ip_network
from math import inf

import numpy as np
import pytest
from cluster import IndexWorld
from hypothesis import given, settings
from hypothesis import strategies as st

from kzn.errors import KznError
from kzn.model.endpoint import AMBIGUOUS, NO_CODE, NODE, UNKNOWN, EndpointIndex
from kzn.model.ip import pack
from kzn.topology.facts import Network, NodeFacts, PodFacts, Workload

EPOCH = 1.7e9
WEB = Workload("Deployment", "web")
A, B, V6 = pack("10.0.0.1"), pack("10.0.0.2"), pack("fd00::1")


class World(IndexWorld):
    """With a short history."""

    def __init__(
        self, history: float = 300.0, recycle: float = 900.0, max_history: int = 1000
    ) -> None:
        super().__init__(history=history, recycle=recycle, max_history=max_history)
        self.history, self.recycle = history, recycle

    def put(self, pod: PodFacts, *, listing: int = 0) -> None:
        self.index.put_pod(pod, WEB, listing=listing)

    def who(self, address: bytes, opened: float, closed: float) -> str | int:
        return self.owner(address, opened, closed)

    def who_now(self, address: bytes) -> str | int:
        return self.who(address, self.now, self.now)


def pod(uid: str, *addresses: bytes, started: float | None = None, version: int = 0) -> PodFacts:
    """A pod of node n1; ``started`` on the test's clock."""
    return PodFacts(
        uid=uid,
        namespace="shop",
        name=f"web-{uid}",
        node="n1",
        addresses=addresses,
        started=None if started is None else EPOCH + started,
        version=version,
    )


def node(uid: str, name: str = "n1", zone: str = "a", *addresses: bytes) -> NodeFacts:
    return NodeFacts(uid, name, zone, "r1", addresses, started=-inf)


def test_an_address_index_is_an_endpoint_index() -> None:
    index: EndpointIndex = World().index
    assert index.columns.node.shape == (0,)
    assert index.lookup(np.zeros((0, 16), np.uint8), 0.0, 1.0).shape == (0,)


def test_a_pod_is_found_by_both_its_addresses_with_its_nodes_zone() -> None:
    world = World()
    world.index.put_node(node("N1", "n1", "a", pack("192.0.2.1")))
    world.put(pod("p", A, V6))
    found = world.id_at(A, 1000, 1010)
    assert found == world.id_at(V6, 1000, 1010)
    endpoint = world.index.endpoint(found)
    assert (endpoint.node, endpoint.zone, endpoint.region) == ("n1", "a", "r1")
    assert (endpoint.workload_kind, endpoint.workload) == ("Deployment", "web")
    columns = world.index.columns
    assert columns.node[found] == world.index.node_code("n1")
    assert columns.zone[found] == columns.zone[world.index.node_endpoint("n1")]


def test_a_zone_known_late_applies_to_the_past_too() -> None:
    world = World()
    world.put(pod("p", A))
    before = world.id_at(A, 1000, 1000)
    assert world.index.columns.zone[before] == NO_CODE
    world.now += 10
    world.index.put_node(node("N1"))
    after = world.id_at(A, 1000, 1000)
    assert world.index.endpoint(after).zone == "a"
    assert world.index.endpoint(before).zone == ""  # the facts behind an id never change


def test_an_update_without_changes_keeps_the_id() -> None:
    world = World()
    world.index.put_node(node("N1"))
    world.put(pod("p", A))
    first, own = world.id_at(A, 1000, 1000), world.index.node_endpoint("n1")
    world.index.put_node(node("N1"))
    world.put(pod("p", A))
    assert (world.id_at(A, 1000, 1000), world.index.node_endpoint("n1")) == (first, own)


def test_a_node_owns_its_addresses_and_a_host_network_pod_none() -> None:
    world = World()
    world.index.put_node(node("N1", "n1", "a", A))
    world.put(replace(pod("p", A, B), host_network=True))
    assert world.index.endpoint(world.id_at(A, 1000, 1000)).kind == NODE
    assert world.who_now(B) == UNKNOWN
    assert world.index.counts().pods == 1


def test_traffic_between_a_pods_start_and_its_first_event_is_the_pods() -> None:
    world = World()
    world.now = 1020.0
    world.put(pod("p", A, started=1002.0))
    assert world.who(A, 1000, 1010) == "p"


def test_traffic_long_before_a_pod_began_is_not_the_pods() -> None:
    world = World()
    world.put(pod("p", A, started=900.0))
    assert world.who(A, 889, 899) == "p"  # clocks may differ by CLOCK_MARGIN
    assert world.who(A, 885, 895) == UNKNOWN


def test_a_deleted_pod_owns_its_past_traffic_until_history_expires() -> None:
    world = World()
    world.put(pod("p", A))
    world.now = 1003.0
    world.index.drop_pod("p")
    world.now = 1300.0
    assert world.who(A, 1000, 1010) == "p"
    assert world.who(A, 1004, 1014) == UNKNOWN
    world.now = 1304.0
    world.put(pod("q", B))  # any event expires history
    assert world.who(A, 1000, 1010) == UNKNOWN
    assert world.index.counts().addresses == 1


def test_a_reused_address_is_the_new_pods_before_the_delete_of_the_old_arrives() -> None:
    world = World()
    world.put(pod("old", A, started=0.0))
    world.now = 1050.0
    world.put(pod("new", A, started=1045.0))
    world.now = 1060.0
    world.index.drop_pod("old")
    assert world.who(A, 1055, 1065) == "new"
    assert world.who(A, 1000, 1010) == "old"
    assert world.who(A, 1040, 1050) == AMBIGUOUS


def test_the_intervals_of_an_address_name_its_owners_until_history_ends() -> None:
    world = World()
    assert world.index.intervals(A) == []
    world.put(pod("old", A, started=900.0))
    (only,) = world.index.intervals(A)
    assert (only.owner.uid, only.begin, only.end) == ("old", 898.0, inf)
    world.now += 100.0
    world.put(pod("new", A, started=1090.0))
    old, new = world.index.intervals(A)
    assert (old.owner.uid, old.end) == ("old", 1100.0)
    assert (new.owner.uid, new.begin, new.end) == ("new", 1088.0, inf)
    world.now += world.index.history + 1.0
    world.put(pod("other", B))
    assert [found.owner.uid for found in world.index.intervals(A)] == ["new"]


def test_a_late_update_of_the_old_pod_does_not_take_the_address_back() -> None:
    world = World()
    world.put(pod("old", A, version=1))
    world.put(pod("new", A, version=2))
    world.now = 1100.0
    world.put(replace(pod("old", A, version=3), is_deleting=True))
    assert world.who_now(A) == "new"
    world.put(replace(pod("old", A, version=4), is_finished=True))
    assert world.who_now(A) == "new"


def test_a_finished_pod_owns_no_address_from_then_on() -> None:
    world = World()
    world.put(pod("job", A))
    world.now = 1100.0
    world.put(replace(pod("job", A), is_finished=True, finished=EPOCH + 1090.0))
    assert world.who(A, 1080, 1090) == "job"
    assert world.who(A, 1093, 1103) == UNKNOWN
    world.put(pod("job", A))  # a late event from before its end
    assert world.who_now(A) == UNKNOWN
    assert world.index.counts().pods == 0


def test_a_pod_first_seen_finished_owns_its_past_traffic() -> None:
    world = World()
    world.put(pod("new", A, started=960.0))
    short = replace(pod("short", A, started=950.0), is_finished=True, finished=EPOCH + 953.0)
    world.put(short)
    assert world.who(A, 948, 955) == "short"
    assert world.who_now(A) == "new"


def test_a_finished_pod_without_end_time_or_long_ended_is_ignored() -> None:
    world = World()
    world.put(replace(pod("no-end", A, started=0.0), is_finished=True))
    world.put(replace(pod("old", B, started=0.0), is_finished=True, finished=EPOCH + 10.0))
    assert (world.who(A, 0, 1000), world.who(B, 0, 1000)) == (UNKNOWN, UNKNOWN)
    assert world.index.counts().endpoints == 0


def test_in_one_list_the_pod_that_is_not_terminating_has_the_address() -> None:
    for order in ((0, 1), (1, 0)):
        world = World()
        live = pod("live", A, started=900.0, version=5)
        dying = replace(pod("dying", A, started=800.0, version=9), is_deleting=True)
        for position in order:
            world.put((live, dying)[position], listing=3)
        assert world.who_now(A) == AMBIGUOUS  # the address passes on at this instant
        world.now += 1
        assert world.who_now(A) == "live"


def test_in_one_list_the_pod_that_started_last_has_the_address() -> None:
    for order in ((0, 1), (1, 0)):
        world = World()
        both = pod("late", A, started=900.0), pod("early", A, started=800.0)
        for position in order:
            world.put(both[position], listing=3)
        world.now += 1
        assert world.who_now(A) == "late"


def test_a_claim_of_an_older_version_does_not_take_the_address() -> None:
    world = World()
    world.put(pod("new", A, version=20))
    world.put(pod("old", A, version=10))
    world.now += 1
    assert world.who_now(A) == "new"


def test_an_older_version_of_a_pod_changes_nothing() -> None:
    world = World()
    world.put(pod("p", A, version=20))
    world.put(pod("p", B, version=10))
    assert (world.who_now(A), world.who_now(B)) == ("p", UNKNOWN)


def test_a_pod_recreated_under_its_name_is_another_owner() -> None:
    world = World()
    world.put(replace(pod("first", A), name="db-0"))
    world.now = 1100.0
    world.index.drop_pod("first")
    world.put(replace(pod("second", B), name="db-0"))
    assert world.who(A, 1000, 1010) == "first"
    assert world.who_now(B) == "second"


def test_an_address_gained_later_is_the_pods_only_from_about_then() -> None:
    world = World()
    world.put(pod("p", A, started=0.0))
    world.now = 1200.0
    world.put(pod("p", B, started=0.0))  # a recreated sandbox
    assert world.who(B, 1180, 1190) == "p"
    assert world.who(B, 1000, 1100) == UNKNOWN
    assert world.who(A, 1190, 1200) == "p"
    assert world.who(A, 1201, 1210) == UNKNOWN


def test_a_node_recreated_in_another_zone_moves_its_pods() -> None:
    world = World()
    world.index.put_node(node("N1", zone="a"))
    world.put(pod("p", A))
    world.index.drop_node("N1")
    assert world.index.endpoint(world.id_at(A, 1000, 1000)).zone == "a"
    world.index.put_node(node("N2", zone="b"))
    assert world.index.endpoint(world.id_at(A, 1000, 1000)).zone == "b"
    assert world.index.counts().nodes == 1


def test_a_pod_of_a_deleted_node_keeps_its_zone_when_updated() -> None:
    world = World()
    world.index.put_node(node("N1", zone="a"))
    world.put(pod("p", A))
    world.index.drop_node("N1")
    world.put(replace(pod("p", A), is_deleting=True))
    assert world.index.endpoint(world.id_at(A, 1000, 1000)).zone == "a"


def test_a_late_event_of_the_earlier_node_does_not_take_the_name_back() -> None:
    world = World()
    world.index.put_node(replace(node("N1", zone="a"), version=1))
    world.index.put_node(replace(node("N2", zone="b"), version=5))
    world.index.put_node(replace(node("N1", zone="a", name="n1"), version=2))
    assert world.index.endpoint(world.index.node_endpoint("n1")).uid == "N2"
    world.index.drop_node("N1")
    assert world.index.endpoint(world.index.node_endpoint("n1")).uid == "N2"


def test_an_id_is_reused_only_after_the_recycle_time() -> None:
    world = World()
    world.put(pod("p", A))
    number = world.id_at(A, 1000, 1000)
    world.index.drop_pod("p")
    world.now += world.recycle - 1
    world.put(pod("q", B))
    assert world.index.endpoint(number).uid == "p"
    assert world.id_at(B, world.now, world.now) != number
    world.now += 1
    world.put(pod("r", A))
    assert world.id_at(A, world.now, world.now) == number


def test_a_node_is_found_by_name_for_a_while_after_its_deletion() -> None:
    world = World()
    world.index.put_node(node("N1"))
    world.index.drop_node("N1")
    assert world.index.endpoint(world.index.node_endpoint("n1")).uid == "N1"
    world.now += world.recycle
    world.index.put_node(node("N2", "n2"))
    assert world.index.node_endpoint("n1") == UNKNOWN
    assert world.index.node_code("n1") == NO_CODE
    assert world.index.counts().nodes == 1


def test_an_endpoint_ends_with_its_uid_and_not_with_its_name() -> None:
    world = World()
    world.index.put_node(node("N1", "n1", "a", V6))
    world.put(pod("p", A))
    at_a, at_v6 = (world.index.endpoint(world.id_at(x, 1000, 1000)) for x in (A, V6))
    assert (world.index.lives(at_a), world.index.lives(at_v6)) == (True, True)
    world.index.drop_pod("p")
    world.index.drop_node("N1")
    world.put(replace(pod("q", A), name=at_a.name))
    assert (world.index.lives(at_a), world.index.lives(at_v6)) == (False, False)


def test_a_networks_endpoint_ends_with_its_name() -> None:
    world = World()
    network = Network("db", "Database", (ip_network("10.9.0.0/24"),), "a", "r")
    world.index.put_networks([network])
    found = world.index.endpoint(world.id_at(pack("10.9.0.1"), 1000, 1000))
    assert world.index.lives(found)
    world.index.put_networks([replace(network, zone="b")])
    assert world.index.lives(found)
    world.index.put_networks([replace(network, name="orders")])
    assert not world.index.lives(found)


def test_history_is_bounded_and_early_evictions_are_counted() -> None:
    world = World(max_history=10)
    for number in range(25):
        world.put(pod(f"p{number}", pack(f"10.0.1.{number}")))
        world.index.drop_pod(f"p{number}")
    world.put(pod("last", A))
    counts = world.index.counts()
    assert (counts.ended_ownerships, counts.evicted_ownerships) == (10, 15)
    assert world.who(pack("10.0.1.24"), 1000, 1000) == "p24"
    assert world.who(pack("10.0.1.0"), 1000, 1000) == UNKNOWN


def test_memory_is_bounded_under_churn() -> None:
    world = World(history=10.0, recycle=20.0)
    for number in range(500):
        world.now += 1
        world.put(pod(f"p{number}", pack(f"10.0.0.{number % 7}"), V6))
        world.index.drop_pod(f"p{number - 3}")
    counts = world.index.counts()
    assert counts.pods == 3
    assert counts.endpoints <= 30
    assert counts.ended_ownerships <= 40
    assert counts.addresses <= 8
    with pytest.raises(KznError):
        world.index.endpoint(10_000)


def test_a_delete_after_the_history_expired_leaves_no_address() -> None:
    world = World()
    world.put(pod("old", A))
    world.put(pod("new", A))
    world.index.drop_pod("new")
    world.now += world.history + 1
    world.put(pod("other", B))
    world.index.drop_pod("old")
    assert world.index.counts().addresses == 1


def test_an_address_gained_later_keeps_its_begin_when_its_former_owner_expires() -> None:
    world = World()
    world.put(pod("p", B, started=0.0))
    world.put(pod("q", A, started=0.0))
    world.index.drop_pod("q")
    world.now = 1200.0
    world.put(pod("p", A, B, started=0.0))
    world.now += world.history
    world.put(pod("other", V6))
    assert world.index.counts().ended_ownerships == 0
    assert world.who(A, 1180, 1190) == "p"
    assert world.who(A, 1000, 1100) == UNKNOWN


ADDRESSES = [pack(f"10.0.0.{n}") for n in range(3)]
STEP = st.tuples(
    st.sampled_from(["put", "put", "put", "finish", "drop"]),
    st.integers(0, 4),
    st.sets(st.sampled_from(ADDRESSES), max_size=2),
    st.sampled_from([0.0, 1.0, 7.0, 40.0, 200.0]),
)


class Naive:
    """The same rules over one flat list of claims that never expire."""

    def __init__(self) -> None:
        self.claims: list[dict[str, object]] = []
        self.began: dict[str, float] = {}
        self.held: dict[str, set[bytes]] = {}
        self.dead: set[str] = set()

    def put(self, uid: str, addresses: set[bytes], now: float) -> None:
        if uid in self.dead:
            return
        had = self.held.get(uid, set())
        if addresses and uid not in self.began:
            self.began[uid] = now - 2
        for address in had - addresses:
            self.end(address, uid, now)
        for address in addresses - had:
            begin = max(self.began[uid], now - 30) if had else self.began[uid]
            self.end(address, None, now)
            self.claims.append({"uid": uid, "at": address, "begin": begin, "end": inf})
        self.held[uid] = set(addresses)

    def end(self, address: bytes, uid: str | None, now: float) -> None:
        for claim in self.claims:
            if claim["at"] == address and claim["end"] == inf and uid in {None, claim["uid"]}:
                claim["end"] = now

    def drop(self, uid: str, now: float) -> None:
        for address in self.held.pop(uid, set()):
            self.end(address, uid, now)
        self.dead.add(uid)

    def who(self, address: bytes, opened: float, closed: float, kept: float) -> str | int:
        mine = [c for c in self.claims if c["at"] == address and float(str(c["end"])) >= kept]
        found = {
            str(c["uid"])
            for c in mine
            if float(str(c["begin"])) <= closed and float(str(c["end"])) >= opened
        }
        if len(found) > 1:
            return AMBIGUOUS
        return found.pop() if found else UNKNOWN


@pytest.mark.slow
@settings(max_examples=300)
@given(st.lists(STEP, max_size=30), st.data())
def test_history_agrees_with_a_naive_model(
    steps: list[tuple[str, int, set[bytes], float]], data: st.DataObject
) -> None:
    world, naive = World(recycle=1e9), Naive()
    for verb, number, addresses, pause in steps:
        uid = f"p{number}"
        if verb == "put":
            world.put(pod(uid, *sorted(addresses), started=world.now))
            naive.put(uid, addresses, world.now)
        elif world.index.pod(uid) is not None:
            if verb == "finish":
                world.put(replace(pod(uid, *naive.held[uid]), is_finished=True))
            else:
                world.index.drop_pod(uid)
            naive.drop(uid, world.now)
        world.now += pause
    world.index.drop_pod("absent")  # any event expires history
    kept = world.now - world.history
    for address in ADDRESSES:
        opened = kept + data.draw(st.floats(0.0, 300.0))
        closed = opened + data.draw(st.sampled_from([0.0, 3.0, 10.0]))
        assert world.who(address, opened, closed) == naive.who(address, opened, closed, kept)


@pytest.mark.slow
def test_a_lookup_makes_no_call_per_address() -> None:
    world = World()
    keys = [pack(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}") for n in range(50_000)]
    for number, key in enumerate(keys):
        world.put(pod(f"p{number}", key))
    asked = np.frombuffer(b"".join(keys[::50]), np.uint8).reshape(-1, 16)
    world.index.lookup(asked[:1], 1000.0, 1010.0)  # copies what changed to the tables
    calls: list[str] = []
    sys.setprofile(lambda _frame, event, _argument: calls.append(event))
    try:
        found = world.index.lookup(asked, 1000.0, 1010.0)
    finally:
        sys.setprofile(None)
    assert (found >= 0).all()
    assert len(calls) < 200
