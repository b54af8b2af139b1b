"""Which devices lead off the node: all but those that certainly do not."""

import pytest

from kzn.agent.devices.uplinks import Device, egress_devices, index_with_flags, tc_attachable
from kzn.agent.maps.structs import ENCRYPTS, TUNNEL


def device(
    index: int, name: str, kind: str = "", *, master: int = 0, peer_in_other_netns: bool = False
) -> Device:
    return Device(
        index=index, name=name, kind=kind, master=master, peer_in_other_netns=peer_in_other_netns
    )


LO = device(1, "lo")
ETH = device(2, "eth0")


def names(*devices: Device, gateways: frozenset[int] = frozenset({2})) -> list[str]:
    return [found.name for found in egress_devices(devices, gateways)]


def test_hardware_leads_off_and_loopback_does_not() -> None:
    assert names(LO, ETH, device(3, "eth1")) == ["eth0", "eth1"]


@pytest.mark.parametrize("kind", ["veth", "netkit"])
def test_a_veth_of_a_pod_stays_on_the_node(kind: str) -> None:
    assert names(LO, ETH, device(5, "pod0", kind, peer_in_other_netns=True)) == ["eth0"]


def test_a_veth_with_its_peer_on_the_node_may_lead_off() -> None:
    assert names(ETH, device(5, "cilium_host", "veth")) == ["eth0", "cilium_host"]


def test_the_veth_of_a_node_in_a_container_is_its_uplink() -> None:
    uplink = device(2, "eth0", "veth", peer_in_other_netns=True)
    pod = device(5, "veth1", "veth", peer_in_other_netns=True)
    assert names(LO, uplink, pod) == ["eth0"]


@pytest.mark.parametrize("kind", ["vxlan", "geneve", "ipip", "sit", "wireguard", "vlan", "bond"])
def test_tunnels_and_stacked_devices_lead_off(kind: str) -> None:
    assert names(ETH, device(9, "over", kind)) == ["eth0", "over"]


def test_a_bridge_of_pods_stays() -> None:
    ports = [device(n, f"veth{n}", "veth", master=4, peer_in_other_netns=True) for n in (5, 6)]
    assert names(ETH, device(4, "cni0", "bridge"), *ports) == ["eth0"]


def test_a_bridge_with_hardware_in_it_leads_off() -> None:
    assert names(device(2, "eth0", master=4), device(4, "br0", "bridge")) == ["eth0", "br0"]


def test_a_bridge_that_leads_to_a_gateway_leads_off() -> None:
    port = device(5, "veth5", "veth", master=4, peer_in_other_netns=True)
    assert names(device(4, "br0", "bridge"), port, gateways=frozenset({4})) == ["br0"]


def attachable(*devices: Device) -> list[str]:
    return [found.name for found in tc_attachable(egress_devices(devices, frozenset({2})))]


@pytest.mark.parametrize("kind", ["vxlan", "geneve", "ipip", "wireguard", "tun", "dummy"])
def test_tunnels_and_devices_without_egress_are_not_outermost(kind: str) -> None:
    assert attachable(ETH, device(9, "over", kind)) == ["eth0"]


def test_of_a_vlan_the_lower_device_is_outermost() -> None:
    vlan = Device(
        index=9, name="eth0.5", kind="vlan", master=0, peer_in_other_netns=False, lower_device=2
    )
    assert attachable(ETH, vlan) == ["eth0"]


@pytest.mark.parametrize("kind", ["bond", "bridge", "vrf", "team"])
def test_of_a_device_with_ports_the_ports_are_outermost(kind: str) -> None:
    ports = [device(2, "eth0", master=4), device(3, "eth1", master=4)]
    assert attachable(*ports, device(4, "upper", kind)) == ["eth0", "eth1"]


def test_a_vlan_over_a_device_of_another_namespace_is_outermost() -> None:
    vlan = Device(index=2, name="net1", kind="vlan", master=0, peer_in_other_netns=True)
    assert attachable(vlan) == ["net1"]


def test_a_veth_with_both_ends_on_the_node_is_not_outermost() -> None:
    assert attachable(ETH, device(5, "cilium_host", "veth")) == ["eth0"]


def test_a_device_without_ethernet_header_is_not_attachable() -> None:
    ppp = Device(index=9, name="ppp0", kind="", master=0, peer_in_other_netns=False, ethernet=False)
    assert attachable(ETH, ppp) == ["eth0"]


@pytest.mark.parametrize(
    ("kind", "flags"),
    [
        ("vxlan", TUNNEL),
        ("ipip", TUNNEL),
        ("wireguard", TUNNEL | ENCRYPTS),
        ("xfrm", TUNNEL | ENCRYPTS),
        ("tun", 0),
        ("", 0),
    ],
)
def test_tunnels_with_recognizable_outer_packets_are_flagged(kind: str, flags: int) -> None:
    assert index_with_flags(device(9, "over", kind)) == 9 | flags
