"""kzn/topology/networks.py: Services, ranges of pods, networks and the world."""

from dataclasses import replace
from ipaddress import ip_network

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kzn.model.endpoint import EXTERNAL, UNKNOWN
from kzn.model.ip import pack
from kzn.topology.facts import Network, NodeFacts, PodFacts, ServiceFacts, Workload
from kzn.topology.index import AddressIndex
from kzn.topology.networks import IN_POD_CIDR, Networks
from kzn.topology.tables.endpoint_table import EndpointTable

NODE = NodeFacts(
    "N1", "n1", "a", "r", pod_cidrs=(ip_network("2600:1::/64"), ip_network("50.0.0.0/24"))
)


def index_of() -> AddressIndex:
    return AddressIndex(clock=lambda: 1000.0, wall=lambda: 1.7e9)


def what(index: AddressIndex, address: str, *, held: bool = False) -> str | int:
    row = np.frombuffer(pack(address), np.uint8).reshape(1, 16)
    found = int(index.lookup(row, 990.0, 1000.0, held=held)[0])
    return index.endpoint(found).name if found >= 0 else found


def test_a_global_address_in_a_nodes_pod_cidr_is_not_external() -> None:
    index = index_of()
    assert what(index, "2600:1::7") == EXTERNAL
    index.put_node(NODE)
    assert (what(index, "2600:1::7"), what(index, "50.0.0.9")) == (UNKNOWN, UNKNOWN)
    assert (what(index, "2600:1:0:1::7"), what(index, "50.0.1.9")) == (EXTERNAL, EXTERNAL)
    pod = PodFacts("p", "d", "web", "n1", (pack("2600:1::7"),))
    index.put_pod(pod, Workload("Pod", "web"))
    assert what(index, "2600:1::7") == "web"


def test_ranges_that_were_prepared_are_changed_and_not_made_anew() -> None:
    index = index_of()
    index.put_node(NODE)
    index.prepare()
    ranges = index.networks.prepare()
    index.put_node(replace(NODE, uid="N2", name="n2", pod_cidrs=(ip_network("50.0.1.0/24"),)))
    assert (what(index, "50.0.0.9"), what(index, "50.0.1.9")) == (UNKNOWN, UNKNOWN)
    assert what(index, "50.0.2.9") == EXTERNAL
    assert index.networks.prepare() is ranges


def test_a_pod_cidr_ends_with_its_last_node() -> None:
    index = index_of()
    index.put_node(NODE)
    index.put_node(replace(NODE, uid="N2", name="n2"))
    index.drop_node("N1")
    assert what(index, "50.0.0.9") == UNKNOWN
    index.put_node(replace(NODE, uid="N2", name="n2", pod_cidrs=()))
    assert what(index, "50.0.0.9") == EXTERNAL


def test_the_longer_of_network_and_pod_cidr_wins() -> None:
    index = index_of()
    index.put_node(NODE)
    index.put_networks(
        [
            Network("subnet", "Subnet", (ip_network("50.0.0.0/16"),)),
            Network("router", "Router", (ip_network("50.0.0.1/32"),)),
        ]
    )
    assert what(index, "50.0.9.9") == "subnet"
    assert what(index, "50.0.0.9") == UNKNOWN
    assert what(index, "50.0.0.1") == "router"


def test_a_service_is_found_until_it_is_deleted() -> None:
    index = index_of()
    first = ServiceFacts("s1", "d", "first", (pack("10.96.0.1"), pack("fd00::1")))
    index.networks.put_service(first)
    assert what(index, "10.96.0.1") == what(index, "fd00::1") == "first"
    assert index.counts().services == 1
    index.networks.put_service(replace(first, addresses=(pack("10.96.0.1"),)))
    assert (what(index, "10.96.0.1"), what(index, "fd00::1")) == ("first", UNKNOWN)
    index.networks.put_service(ServiceFacts("s2", "d", "second", (pack("10.96.0.1"),)))
    index.networks.drop_service("s1")
    assert what(index, "10.96.0.1") == "second"
    index.networks.drop_service("s2")
    index.networks.drop_service("s2")
    assert what(index, "10.96.0.1") == UNKNOWN


def test_a_pod_wins_over_a_service() -> None:
    index = index_of()
    index.networks.put_service(ServiceFacts("s1", "d", "service", (pack("10.96.0.1"),)))
    index.put_pod(PodFacts("p", "d", "pod", "n1", (pack("10.96.0.1"),)), Workload("Pod", "pod"))
    assert what(index, "10.96.0.1") == "pod"


def test_an_address_in_the_pod_cidr_of_one_node_is_its_own_once_held() -> None:
    index = index_of()
    index.put_node(NODE)
    assert (what(index, "50.0.0.0"), what(index, "50.0.0.0", held=True)) == (UNKNOWN, "n1")
    assert what(index, "2600:1::", held=True) == "n1"
    assert what(index, "50.0.1.0", held=True) == EXTERNAL
    index.put_pod(PodFacts("p", "d", "web", "n1", (pack("50.0.0.9"),)), Workload("Pod", "web"))
    assert (what(index, "50.0.0.9", held=True), what(index, "50.0.0.1", held=True)) == ("web", "n1")
    index.drop_node("N1")
    assert what(index, "50.0.0.0", held=True) == EXTERNAL


def test_an_address_in_the_pod_cidrs_of_two_nodes_is_neithers() -> None:
    index = index_of()
    index.put_node(NODE)
    index.put_node(replace(NODE, uid="N2", name="n2", pod_cidrs=(ip_network("50.0.0.0/24"),)))
    assert what(index, "50.0.0.0", held=True) == UNKNOWN
    assert what(index, "2600:1::", held=True) == "n1"
    index.drop_node("N2")
    assert what(index, "50.0.0.0", held=True) == "n1"


def test_a_pod_cidr_within_another_nodes_is_neithers() -> None:
    index = index_of()
    index.put_node(NODE)
    wide = (ip_network("50.0.0.0/16"), ip_network("50.2.0.0/24"))
    index.put_node(replace(NODE, uid="N2", name="n2", pod_cidrs=wide))
    assert what(index, "50.0.0.5", held=True) == UNKNOWN
    assert what(index, "50.0.1.5", held=True) == what(index, "50.2.0.5", held=True) == "n2"


def test_pod_cidrs_that_the_pods_do_not_use_say_nothing() -> None:
    index = index_of()
    index.put_node(NODE)
    index.put_pod(PodFacts("p", "d", "web", "n1", (pack("10.5.0.9"),)), Workload("Pod", "web"))
    assert what(index, "50.0.0.5", held=True) == UNKNOWN
    assert what(index, "2600:1::", held=True) == UNKNOWN


def test_in_a_gap_of_the_watch_a_pod_may_have_an_address_of_a_pod_cidr() -> None:
    index = index_of()
    index.put_node(NODE)
    index.pod_watch_lost(995.0)
    assert what(index, "50.0.0.5", held=True) == UNKNOWN


def test_what_an_annotation_names_is_the_nodes_unless_another_object_has_it() -> None:
    index = index_of()
    noted = (pack("10.7.0.1"), pack("10.7.0.2"), pack("10.7.0.3"))
    index.put_node(replace(NODE, noted_addresses=noted))
    index.put_node(NodeFacts("N2", "n2", "b", "r", (pack("10.7.0.2"),)))
    index.put_pod(PodFacts("p", "d", "web", "n2", (pack("10.7.0.3"),)), Workload("Pod", "web"))
    assert [what(index, f"10.7.0.{n}") for n in (1, 2, 3)] == ["n1", "n2", "web"]
    index.put_agent_addresses("n1", [pack("10.8.0.1")])
    assert (what(index, "10.7.0.1"), what(index, "10.8.0.1")) == ("n1", "n1")
    index.put_node(replace(NODE, noted_addresses=noted[1:]))
    assert (what(index, "10.8.0.1"), index.put_agent_addresses("n1", [])) == ("n1", ())
    assert what(index, "10.8.0.1", held=False) == "n1"  # until batches of before are resolved


def test_an_address_is_captured_as_long_as_a_service_says_so() -> None:
    index = index_of()
    rows = np.frombuffer(pack("8.8.4.4") + pack("8.8.8.8"), np.uint8).reshape(2, 16)
    assert index.captured(rows).tolist() == [False, False]
    outer = (pack("8.8.4.4"), pack("8.8.8.8"))
    service = ServiceFacts("s", "d", "s", outer_addresses=outer, captured_addresses=outer[:1])
    index.networks.put_service(service)
    assert index.captured(rows).tolist() == [True, False]
    index.networks.put_service(replace(service, captured_addresses=outer[1:]))
    assert index.captured(rows).tolist() == [False, True]
    index.networks.drop_service("s")
    assert index.captured(rows).tolist() == [False, False]


def test_an_address_that_services_share_is_theirs_until_the_last_is_gone() -> None:
    index = index_of()
    shared = tuple(map(pack, ("10.77.0.1", "fd00:77::1", "fd00:77:0::1")))
    rows = np.frombuffer(b"".join(shared[:2]), np.uint8).reshape(2, 16)
    tcp, udp, third = (
        ServiceFacts(name, "d", name, outer_addresses=shared, captured_addresses=shared)
        for name in ("tcp", "udp", "third")
    )
    for service in (tcp, udp, third):
        index.networks.put_service(service)
    index.networks.put_service(replace(udp, outer_addresses=shared[:1]))
    assert what(index, "10.77.0.1") == "udp"
    index.networks.drop_service("udp")
    index.networks.drop_service("tcp")
    assert what(index, "10.77.0.1") == what(index, "fd00:77::1") == "third"
    assert index.captured(rows).tolist() == [True, True]
    index.networks.put_service(tcp)
    index.networks.drop_service("tcp")
    assert what(index, "10.77.0.1") == what(index, "fd00:77::1") == "third"
    index.networks.drop_service("third")
    assert what(index, "10.77.0.1") == what(index, "fd00:77::1") == UNKNOWN
    assert index.captured(rows).tolist() == [False, False]


def test_an_address_of_a_load_balancer_is_its_services_unless_it_is_global_or_named() -> None:
    index = index_of()
    outer = tuple(map(pack, ("10.77.0.1", "10.77.0.2", "50.9.9.9", "10.9.0.1")))
    service = ServiceFacts("s", "d", "lb", (pack("10.96.0.1"),), outer_addresses=outer)
    index.networks.put_service(service)
    index.put_networks([Network("edge", "Balancer", (ip_network("10.9.0.0/24"),))])
    names = [what(index, a) for a in ("10.96.0.1", "10.77.0.1", "10.77.0.2", "10.9.0.1")]
    assert names == ["lb", "lb", "lb", "edge"]
    assert what(index, "50.9.9.9") == EXTERNAL
    index.put_node(NodeFacts("N3", "n3", "a", "r", (pack("10.77.0.2"),)))
    assert what(index, "10.77.0.2") == "n3"
    index.networks.put_service(replace(service, outer_addresses=()))
    assert what(index, "10.77.0.1") == UNKNOWN
    index.networks.drop_service("s")
    assert what(index, "10.96.0.1") == UNKNOWN


RANGES = [
    "10.1.0.0/24",
    "10.1.0.192/26",
    "10.1.0.0/16",
    "10.2.0.0/24",
    "2600:1::/64",
    "2600:1::/80",
]
ASKED = np.frombuffer(
    b"".join(
        pack(str(address))
        for text in RANGES
        for net in [ip_network(text)]
        for address in (net[0], net[-1], net[0] - 1, net[-1] + 1)
    ),
    np.uint8,
).reshape(-1, 16)


def networks_of(nodes: dict[str, tuple[str, ...]]) -> Networks:
    found = Networks(EndpointTable(), lambda _number: None)
    database = Network("Database", "db", (ip_network("10.1.0.64/26"),), "", "")
    found.put_networks([database])
    for name, texts in nodes.items():
        found.put_pod_cidrs(f"uid-{name}", name, tuple(map(ip_network, texts)))
    return found


def owners(networks: Networks) -> list[int | str]:
    codes = networks.lookup(ASKED).tolist()
    return [networks.node_of_range(code) if code <= IN_POD_CIDR else code for code in codes]


@example([("n1", ["10.1.0.0/24"]), ("n2", ["10.1.0.0/24"]), ("n3", ["10.1.0.192/26"])])
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["n1", "n2", "n3"]),
            st.lists(st.sampled_from(RANGES), max_size=2, unique=True),
        ),
        max_size=8,
    )
)
@settings(deadline=None, max_examples=200)
def test_nodes_that_come_and_go_leave_what_a_fresh_table_has(
    changes: list[tuple[str, list[str]]],
) -> None:
    living = networks_of({})
    nodes: dict[str, tuple[str, ...]] = {}
    for name, texts in changes:
        owners(living)  # makes the table that the change is added to
        nodes.pop(name, None)
        nodes |= {name: tuple(texts)} if texts else {}
        living.put_pod_cidrs(f"uid-{name}", name, tuple(map(ip_network, texts)))
        assert owners(living) == owners(networks_of(nodes))


@pytest.mark.parametrize("cidr", ["10.1.0.0/24", "10.1.0.0/16", "10.9.0.0/24"])
def test_networks_that_are_replaced_leave_pod_cidrs_as_they_were(cidr: str) -> None:
    living = networks_of({"n1": ("10.1.0.0/24",)})
    before = owners(living)
    original = Network("Database", "db", (ip_network("10.1.0.64/26"),), "", "")
    living.put_networks([Network("Database", "other", (ip_network(cidr),), "", "")])
    changed = owners(living)
    fresh = networks_of({"n1": ("10.1.0.0/24",)})
    fresh.put_networks([Network("Database", "other", (ip_network(cidr),), "", "")])
    assert changed == owners(fresh)
    living.put_networks([original])
    assert [_sort(one) for one in owners(living)] == [_sort(one) for one in before]


def _sort(owner: int | str) -> int | str:
    """The same for all ids of networks."""
    return "network" if isinstance(owner, int) and owner >= 0 else owner
