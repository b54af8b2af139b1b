"""kzn/topology/networks.py: Services, ranges of pods, networks and the world."""

from dataclasses import replace
from ipaddress import ip_network

import numpy as np

from kzn.model.endpoint import EXTERNAL, UNKNOWN
from kzn.model.ip import pack
from kzn.topology.facts import Network, NodeFacts, PodFacts, ServiceFacts, Workload
from kzn.topology.index import AddressIndex

NODE = NodeFacts(
    "N1", "n1", "a", "r", pod_cidrs=(ip_network("2600:1::/64"), ip_network("50.0.0.0/24"))
)


def index_of() -> AddressIndex:
    return AddressIndex(clock=lambda: 1000.0, wall=lambda: 1.7e9)


def what(index: AddressIndex, address: str) -> str | int:
    row = np.frombuffer(pack(address), np.uint8).reshape(1, 16)
    found = int(index.lookup(row, 990.0, 1000.0)[0])
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
