"""The plan of a lab: addresses, commands, sizes that are refused."""

from ipaddress import ip_address

import pytest

from kzn.errors import UsageError
from kzn.lab.plan import (
    ULA,
    Fabric,
    LabSpec,
    Node,
    Pod,
    batches,
    host_pod,
    host_pod_batches,
    make_plan,
)
from kzn.lab.topology import topology
from kzn.topology.static.file import parse_static

LARGE = LabSpec(zones=("x", "y", "z"), nodes_per_zone=9, pods_per_node=20)

POD = """\
link set lo up
link set eth0 up
addr add 10.21.0.10/32 dev eth0
addr add fd6b:7a6e:0:21::a/128 dev eth0 nodad
neigh add 10.21.0.1 lladdr 02:6b:7a:00:02:03 dev eth0 nud permanent
route add 10.21.0.1 dev eth0
route add default via 10.21.0.1 dev eth0
neigh add fd6b:7a6e:0:21::1 lladdr 02:6b:7a:00:02:03 dev eth0 nud permanent
route add fd6b:7a6e:0:21::1 dev eth0
route add default via fd6b:7a6e:0:21::1 dev eth0"""


def test_a_pod_gets_its_addresses_and_a_permanent_neighbour() -> None:
    plan = make_plan(LabSpec("t", pods_per_node=1))
    assert "\n".join(dict(batches(plan))["t-b1-p1"]) == POD


def test_no_address_and_no_namespace_is_given_twice() -> None:
    plan = make_plan(LARGE)
    owners: list[Node | Pod | Fabric] = [*plan.nodes, *plan.pods, plan.fabric]
    addresses = [ip_address(text) for owner in owners for text in (owner.ipv4, owner.ipv6)]
    assert len(addresses) == 2 * (27 + 540 + 1)
    assert len(set(addresses)) == len(addresses)
    assert len(set(plan.namespaces)) == 27 + 540 + 1


def test_device_names_fit_the_kernel() -> None:
    plan = make_plan(LARGE)
    assert max(len(pod.veth) for pod in plan.pods) <= 15


def test_addresses_are_in_the_form_in_which_the_kernel_prints_them() -> None:
    plan = make_plan(LabSpec(nodes_per_zone=9, pods_per_node=90))
    owners: list[Node | Pod] = [*plan.nodes, *plan.pods]
    assert [str(ip_address(owner.ipv6)) for owner in owners] == [owner.ipv6 for owner in owners]


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({"zones": ()}, "zones 0"),
        ({"nodes_per_zone": 10}, "nodes per zone 10"),
        ({"pods_per_node": 91}, "pods per node 91"),
        ({"mtu": 1279}, "MTU 1279"),
    ],
)
def test_a_lab_that_cannot_be_built_is_refused(sizes: dict[str, int], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        LabSpec(**sizes)  # type: ignore[arg-type]


def test_a_host_outside_is_behind_the_fabric_and_of_no_zone() -> None:
    plan = make_plan(LabSpec("t", outside=True))
    assert plan.outside is not None
    assert (plan.outside.zone, plan.outside.node) == ("", "")
    assert plan.namespaces[-1] == "t-outside"
    lines = dict(batches(plan))
    assert "route add default via 10.0.0.1 dev eth0" in lines["t-outside"]
    assert f"route add {plan.outside.ipv4} dev outside" in lines["t-fabric"]
    assert "t-outside" not in dict(batches(make_plan(LabSpec("t"))))


def test_the_topology_file_is_one_that_the_server_reads() -> None:
    plan = make_plan(LARGE)
    found = parse_static("demo.yaml", topology(plan))
    assert [node.name for node in found.nodes] == [node.name for node in plan.nodes]
    assert {pod.name: pod.node for pod, _ in found.pods} == {
        pod.name: pod.node for pod in plan.pods
    }
    assert [network.name for network in found.networks] == ["kzn-server"]


def test_a_pod_on_a_nodes_network_has_addresses_that_need_no_arp() -> None:
    plan = make_plan(LabSpec("t", ("a",), nodes_per_zone=1))
    [node] = plan.nodes
    pod = host_pod(node, "edge")
    assert (pod.namespace, pod.ipv4, pod.ipv6) == ("t-a1", "10.0.1.3", f"{ULA}:f001::3")
    assert dict(host_pod_batches(plan, pod)) == {
        "t-a1": ["addr add 10.0.1.3/24 dev eth0", f"addr add {ULA}:f001::3/64 dev eth0 nodad"],
        "t-fabric": [
            f"neigh add {address} lladdr 02:6b:7a:00:01:02 dev a1 nud permanent"
            for address in (pod.ipv4, pod.ipv6)
        ],
    }
