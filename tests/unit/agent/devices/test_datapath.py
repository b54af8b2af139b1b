"""What is known to carry pods' packets past netfilter, from made-up devices and files."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from kzn.agent.devices.datapath import (
    BRIDGE_SYSCTLS,
    TCX,
    Cilium,
    Facts,
    SwitchedUplink,
    cilium_pins,
    find_cilium,
    find_redirected,
    find_switched,
    read_bridge_netfilter,
)
from kzn.agent.devices.netlink import Routes
from kzn.agent.devices.netlink_messages import IngressFilters, InterfaceAddress, Link
from kzn.agent.devices.table import DeviceTable
from kzn.model.ip import pack

ETH0, ETH1 = Link(2, "eth0"), Link(3, "eth1")
LXC = Link(20, "lxc1", kind="netkit", peer_in_other_netns=True)


def bridge(*, calls_netfilter: bool = False) -> Link:
    return Link(9, "br1", kind="bridge", calls_netfilter=calls_netfilter)


def port(index: int, kind: str = "", *, peer: bool = False) -> Link:
    return Link(index, f"port{index}", kind=kind, master=9, peer_in_other_netns=peer)


NIC, POD, TAP, VXLAN = port(3), port(10, "veth", peer=True), port(11, "tun"), port(12, "vxlan")


@pytest.mark.parametrize(
    ("facts", "sentences"),
    [
        (Facts(), []),
        (
            Facts(Cilium(("cilium_host",), has_host_routing=True)),
            ["pods' packets bypass netfilter: eBPF host routing of Cilium"],
        ),
        (
            Facts(Cilium(("cilium_host",), has_netkit=True), netkit=("lxc1",)),
            [
                "pods' packets bypass netfilter: Cilium with netkit",
                "pods' packets bypass netfilter: netkit devices (lxc1)",
            ],
        ),
        (
            Facts(Cilium((), "/sys/fs/bpf/cilium")),
            ["pods' packets may bypass netfilter: Cilium runs here (/sys/fs/bpf/cilium)"],
        ),
        (
            Facts(programs={f"veth{n}": frozenset({TCX}) for n in range(5)}),
            [
                "pods' packets may bypass netfilter: eBPF programs at pods' devices"
                " (veth0, veth1, veth2 and 2 more) can redirect them"
            ],
        ),
        (
            Facts(redirected={"veth1": ("eth0",), "veth2": ("eth1",)}),
            [
                "pods' packets bypass netfilter: tc filters at pods' devices (veth1, veth2) send"
                " them by eth0, eth1"
            ],
        ),
        (
            Facts(has_calico=True),
            ["pods' packets may bypass netfilter: the eBPF data plane of Calico runs here"],
        ),
        (Facts(programs={"eni1": frozenset({"handle_egress"})}), []),
        (
            Facts(Cilium(("cilium_host",)), switched=(SwitchedUplink("br1", "bridge", ("eth1",)),)),
            [
                "pods' packets bypass netfilter: bridge br1 passes them to eth1, with br_netfilter"
                " off",
                "pods' packets may bypass netfilter: Cilium runs here (cilium_host)",
            ],
        ),
    ],
)
def test_facts_say_which_packets_netfilter_misses_the_certain_ones_first(
    facts: Facts, sentences: list[str]
) -> None:
    assert [bypass.sentence() for bypass in facts.bypasses()] == sentences


@pytest.mark.parametrize(
    ("devices", "pins", "config", "found"),
    [
        ([ETH0, LXC], "", None, None),
        ([ETH0], "", "#define ENABLE_HOST_ROUTING 1", None),
        ([Link(5, "cilium_net"), Link(6, "cilium_host")], "", None, ("cilium_host, cilium_net", 0)),
        ([Link(5, "cilium_net")], "", "#define ENABLE_HOST_ROUTING 1", ("cilium_net", 1)),
        ([Link(5, "cilium_net")], "", "#define ENABLE_HOST_ROUTING 0", ("cilium_net", 0)),
        ([ETH0], "/sys/fs/bpf/cilium", None, ("/sys/fs/bpf/cilium", 0)),
    ],
)
def test_cilium_is_found_by_devices_or_pins_and_its_routing_by_its_header(
    devices: Sequence[Link], pins: str, config: str | None, found: tuple[str, int] | None
) -> None:
    cilium = find_cilium(devices, pins, config)
    assert (cilium and (cilium.traces, cilium.has_host_routing)) == found


def test_pins_of_cilium_are_found_where_it_has_put_them(tmp_path: Path) -> None:
    assert cilium_pins(tmp_path) == ""
    (tmp_path / "cilium").mkdir()
    assert cilium_pins(tmp_path) == str(tmp_path / "cilium")


def table(*links: Link, gateways: tuple[int, ...] = (2,)) -> DeviceTable:
    found = DeviceTable()
    found.load((ETH0, *links), (), Routes(frozenset(gateways), frozenset()))
    return found


@pytest.mark.parametrize(
    ("ports", "uplinks"),
    [
        ((NIC, POD), "port3"),
        ((NIC, TAP), "port3"),
        ((NIC, VXLAN, POD), "port3"),
        ((NIC,), None),  # the node's own packets, which its stack sends
        ((NIC, port(4)), None),
        ((POD, port(13, "veth", peer=True)), None),
        ((VXLAN, POD), None),  # what leaves the tunnel passes netfilter
        ((), None),
    ],
)
def test_a_bridge_with_an_uplink_and_other_ports_passes_packets_by_netfilter(
    ports: tuple[Link, ...], uplinks: str | None
) -> None:
    def found(*, on: bool | None, bridges_own: bool = False) -> list[str]:
        bridges = table(bridge(calls_netfilter=bridges_own), *ports)
        return [",".join(s.uplinks) for s in find_switched(bridges, bridge_netfilter=on)]

    expected = [uplinks] if uplinks else []
    assert found(on=False) == found(on=None) == found(on=None, bridges_own=True) == expected
    assert found(on=True) == found(on=False, bridges_own=True) == []


def test_an_uplink_that_is_a_veth_is_known_by_its_subnet_or_by_the_bridges_gateway() -> None:
    found = DeviceTable()
    subnet = InterfaceAddress(13, pack("10.97.0.1"), True, 24, is_link_scope=False)
    ports = (POD, port(13, "veth", peer=True))
    found.load((ETH0, bridge(), *ports), [subnet], Routes(frozenset({2}), frozenset()))
    [switched] = find_switched(found, bridge_netfilter=False)
    assert switched.uplinks == ("port13",)
    [switched] = find_switched(table(bridge(), *ports, gateways=(9,)), bridge_netfilter=False)
    assert switched.uplinks == ("br1",)


def test_open_vswitch_with_an_uplink_passes_by_netfilter_even_before_there_are_pods() -> None:
    ovs = Link(9, "ovs-system", kind="openvswitch")
    [switched] = find_switched(table(ovs, NIC), bridge_netfilter=True)
    assert switched.reason == "Open vSwitch (ovs-system) passes them to port3"
    geneve = port(12, "geneve")
    assert find_switched(table(ovs, geneve, POD), bridge_netfilter=True) == ()


def test_filters_that_send_to_an_uplink_bypass_netfilter_and_those_that_shape_do_not() -> None:
    devices = table(Link(5, "ifb0", kind="ifb"), LXC)
    filters = {
        "shaped": IngressFilters(redirects=frozenset({5})),
        "to a pod": IngressFilters(redirects=frozenset({LXC.index})),
        "past": IngressFilters(redirects=frozenset({2, 5})),
        "watched": IngressFilters(programs=frozenset({"x"})),
    }
    assert find_redirected(devices, filters) == {"past": ("eth0",)}


@pytest.mark.parametrize(
    ("values", "on"),
    [(("1", "1"), True), (("0", "1"), False), (("1", "0"), False), (("1",), None), ((), None)],
)
def test_br_netfilter_is_on_when_both_families_are(
    tmp_path: Path, values: tuple[str, ...], on: bool | None
) -> None:
    folder = tmp_path / "sys/net/bridge"
    folder.mkdir(parents=True)
    for name, value in zip(BRIDGE_SYSCTLS, values, strict=False):
        (folder / name).write_text(f"{value}\n")
    assert read_bridge_netfilter(tmp_path) is on
