"""Addresses that agents told: whose they are, and everything that takes precedence over them."""

from ipaddress import ip_network
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kzn.model.endpoint import EXTERNAL, UNKNOWN
from kzn.model.ip import pack
from kzn.topology.agent_addresses import MAX_PUBLIC, MAX_WAITING, AgentAddresses
from kzn.topology.facts import Network, NodeFacts, PodFacts, ServiceFacts, Workload
from kzn.topology.index import AddressIndex
from kzn.topology.tables.address_table import UNOWNED

A, B = pack("10.0.0.1"), pack("10.0.0.2")
PUBLIC = pack("2600:1f16:1::2")
EPOCH = 1.7e9
HISTORY = 1800.0


class World:
    """Nodes n1 and n2 in an index whose clock the test moves."""

    def __init__(self, *nodes: str) -> None:
        self.now = 1000.0
        self.index = AddressIndex(clock=lambda: self.now, wall=lambda: EPOCH + self.now)
        for name in nodes or ("n1", "n2"):
            self.put_node(name)

    def put_node(self, name: str, *addresses: bytes, uid: str = "", cidr: str = "") -> None:
        cidrs = (ip_network(cidr),) if cidr else ()
        node = NodeFacts(uid or name, name, "a", "r", addresses, pod_cidrs=cidrs)
        self.index.put_node(node)

    def tell(self, node: str, *addresses: bytes) -> tuple[bytes, ...]:
        return self.index.put_agent_addresses(node, addresses)

    def who(self, address: bytes, node: str = "", opened: float | None = None) -> str | int:
        opened = self.now if opened is None else opened
        rows = np.frombuffer(address, np.uint8).reshape(1, 16)
        found = int(self.index.lookup(rows, opened, self.now, node=node)[0])
        return self.index.endpoint(found).name if found >= 0 else found

    @property
    def ignored(self) -> dict[str, int]:
        return {k: n for k, n in self.index.counts().ignored_addresses.items() if n}


def test_an_address_that_nothing_else_has_is_the_nodes_that_told_it() -> None:
    world = World()
    world.tell("n1", A, PUBLIC)
    assert (world.who(A), world.who(PUBLIC), world.who(B)) == ("n1", "n1", UNKNOWN)
    assert world.index.counts().agent_addresses == 2


def test_what_is_told_replaces_what_was_told_before_by_any_agent_of_the_node() -> None:
    world = World()
    world.tell("n1", A)
    world.now += 10
    world.tell("n1", B)
    world.now += 10
    assert (world.who(A), world.who(B)) == (UNKNOWN, "n1")
    assert world.who(A, opened=1005.0) == "n1"  # a batch that began before


OWNERS = ("pod", "node", "service", "network", "told")


def give(world: World, owner: str) -> None:
    match owner:
        case "pod":
            world.index.put_pod(PodFacts("p", "d", "pod", "n2", (A,)), Workload("Pod", "p"))
        case "node":
            world.put_node("node", A)
        case "service":
            world.index.networks.put_service(ServiceFacts("s", "d", "service", (A,)))
        case "network":
            network = Network("network", "Database", (ip_network("10.0.0.0/24"),))
            world.index.put_networks([network])
        case "told":
            world.tell("n1", A)
    world.now += 60


@pytest.mark.parametrize("owner", OWNERS[:-1])
def test_a_told_address_takes_none_from_another_owner_in_any_order(owner: str) -> None:
    for order in permutations([owner, "told"]):
        world = World()
        for one in order:
            give(world, one)
        assert world.who(A) == owner, order
        assert world.who(A, node="n1") == owner, order


@given(st.permutations(OWNERS))
def test_the_best_owner_has_the_address_in_every_order(order: list[str]) -> None:
    world = World()
    for count, owner in enumerate(order, 1):
        give(world, owner)
        best = min(order[:count], key=OWNERS.index)
        assert world.who(A) == ("n1" if best == "told" else best)


def test_a_pod_that_ends_leaves_the_address_to_the_node_that_told_it() -> None:
    world = World()
    world.tell("n1", A)
    give(world, "pod")
    assert world.who(A) == "pod"
    world.index.drop_pod("p")
    world.now += 60
    assert world.who(A) == "n1"


def test_an_address_that_two_nodes_tell_is_only_the_reporting_nodes_own() -> None:
    world = World("n1", "n2", "n3")
    world.tell("n1", A, PUBLIC)
    world.tell("n2", A, PUBLIC)
    assert [world.who(A, node) for node in ("n1", "n2", "n3", "")] == ["n1", "n2", UNKNOWN, UNKNOWN]
    assert world.who(PUBLIC, "n3") == EXTERNAL
    world.now += 10
    world.tell("n1")
    world.now += 10
    assert world.who(A, "n3") == "n2"
    assert world.who(A, "n3", opened=1005.0) == UNKNOWN  # either may have had it then


def test_an_address_in_another_nodes_pod_range_is_not_taken_and_in_its_own_is() -> None:
    world = World()
    world.tell("n1", A)
    world.put_node("n1", cidr="10.0.0.0/24")
    assert world.who(A) == "n1"
    world.put_node("n1")
    world.put_node("n2", cidr="10.0.0.0/24")
    assert world.who(A) == UNKNOWN
    world.index.drop_node("n2")
    assert world.who(A) == "n1"


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.1",
        "127.0.0.1",
        "169.254.1.1",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "ff02::1",
    ],
)
def test_an_address_that_is_no_hosts_own_for_others_is_ignored(address: str) -> None:
    world = World()
    world.tell("n1", pack(address))
    assert world.who(pack(address)) in (UNKNOWN, EXTERNAL)
    assert world.ignored == {"not_unicast": 1}


def test_the_globally_routable_addresses_of_a_node_are_few_and_reported_when_new() -> None:
    world = World()
    told = [pack(f"2600::{n:x}") for n in range(MAX_PUBLIC + 5)]
    assert world.tell("n1", A, *told) == tuple(told[:MAX_PUBLIC])
    assert world.tell("n1", *told) == ()
    assert world.who(told[-1]) == EXTERNAL
    assert world.ignored == {"public_limit": 10}


def test_a_globally_routable_address_of_the_nodes_own_object_is_not_reported() -> None:
    world = World()
    world.put_node("n1", A, PUBLIC)
    other = pack("2600:1f16:1::3")
    assert world.tell("n1", A, PUBLIC, other) == (other,)
    assert world.who(PUBLIC) == "n1"


def test_a_services_address_is_not_kept() -> None:
    world = World()
    give(world, "service")
    world.tell("n1", A)
    assert (world.ignored, world.index.counts().agent_addresses) == ({"service": 1}, 0)


def test_a_node_that_is_not_known_yet_has_its_addresses_once_it_is() -> None:
    world = World("n1")
    world.tell("late", A)
    assert world.who(A) == UNKNOWN
    world.put_node("late")
    assert world.who(A) == "late"


def test_invented_nodes_are_bounded_and_take_nothing_from_real_ones() -> None:
    world = World()
    for number in range(MAX_WAITING + 1):
        world.tell(f"invented-{number}", A)
    world.tell("n1", A)
    assert world.who(A) == "n1"
    world.put_node("invented-0")  # the oldest was forgotten
    assert world.who(A) == "n1"


def test_addresses_end_with_the_node_and_return_with_a_node_of_its_name() -> None:
    world = World()
    world.tell("n1", A)
    world.now += 10
    world.index.drop_node("n1")
    assert world.who(A, opened=1005.0) == "n1"
    world.now += 10
    assert (world.who(A), world.index.counts().agent_addresses) == (UNKNOWN, 0)
    world.put_node("n1", uid="again")
    assert world.who(A) == "n1"


def test_a_node_has_an_address_in_its_history_without_a_begin() -> None:
    world = World()
    world.tell("n1", A)
    [held] = world.index.intervals(A)
    assert (held.owner.name, held.begin, held.end) == ("n1", -np.inf, np.inf)


def test_all_addresses_together_are_bounded() -> None:
    told = AgentAddresses(HISTORY, max_told=3)
    addresses = [pack(f"10.0.0.{n}") for n in range(1, 6)]
    told.tell("n1", addresses[:2], lambda _address: False, 0.0)
    told.tell("n2", addresses[2:], lambda _address: False, 0.0)
    assert (len(told), told.ignored["limit"]) == (3, 2)
    told.tell("n1", [], lambda _address: False, 1.0)
    assert len(told) == 1


TELLS = st.lists(
    st.tuples(
        st.sampled_from(["n1", "n2"]),
        st.sets(st.sampled_from([pack(f"10.0.0.{n}") for n in range(1, 4)])),
        st.sampled_from([1.0, HISTORY / 2, 2 * HISTORY]),
    ),
    max_size=12,
)


@given(TELLS)
def test_after_any_tells_an_address_is_the_one_nodes_that_told_it_last(
    tells: list[tuple[str, set[bytes], float]],
) -> None:
    told = AgentAddresses(HISTORY)
    has: dict[str, set[bytes]] = {}
    now = 0.0
    for node, addresses, seconds in tells:
        told.tell(node, sorted(addresses), lambda _address: False, now)
        has[node] = addresses
        now += seconds
    assert len(told) == sum(map(len, has.values()))
    for address in (pack(f"10.0.0.{n}") for n in range(1, 4)):
        rows = np.frombuffer(address, np.uint8).reshape(1, 16)
        holders = [node for node, addresses in has.items() if address in addresses]
        found = int(told.find(rows, now)[0])
        assert (told.name(found) if found != UNOWNED else "") == (
            holders[0] if len(holders) == 1 else ""
        )
