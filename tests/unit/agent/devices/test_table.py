"""Which devices keep a packet on the node, wrap it, or send it off."""

from dataclasses import replace

import pytest

from kzn.agent.devices.netlink import Routes
from kzn.agent.devices.netlink_messages import (
    Change,
    GatewayRoute,
    HostRoute,
    InterfaceAddress,
    Link,
    LinkGone,
    RouteKey,
)
from kzn.agent.devices.table import DeviceTable
from kzn.agent.maps.structs import Role
from kzn.model.ip import pack

LO = Link(1, "lo", is_ethernet=False, is_loopback=True)
ETH0 = Link(2, "eth0")
POD = Link(10, "veth1", kind="veth", peer_in_other_netns=True)


def address(index: int, text: str, prefix: int) -> InterfaceAddress:
    return InterfaceAddress(index, pack(text), ":" not in text, prefix, is_link_scope=False)


def table(
    *links: Link,
    addresses: tuple[InterfaceAddress, ...] = (),
    gateways: tuple[int, ...] = (2,),
    wanted: tuple[str, ...] = (),
    hosts: tuple[HostRoute, ...] = (),
) -> DeviceTable:
    found = DeviceTable(wanted)
    found.load((LO, ETH0, *links), addresses, Routes(frozenset(gateways), frozenset(hosts)))
    return found


def host(index: int, address: bytes, *, is_gone: bool = False) -> HostRoute:
    return HostRoute(index, RouteKey(address), is_gone=is_gone)


def outermost(devices: DeviceTable) -> list[str]:
    return [device.name for device in devices.outermost()]


@pytest.mark.parametrize(
    ("link", "role"),
    [
        (LO, Role.STAYS),
        (ETH0, Role.LEADS_OFF),
        (POD, Role.STAYS),
        (Link(9, "lxc1", kind="netkit", peer_in_other_netns=True), Role.STAYS),
        (Link(9, "veth0", kind="veth"), Role.LEADS_OFF),
        (Link(9, "cni0", kind="bridge"), Role.STAYS),
        (Link(9, "kube-ipvs0", kind="dummy"), Role.STAYS),
        (Link(9, "nodelocaldns", kind="dummy"), Role.STAYS),
        (Link(9, "ifb0", kind="ifb"), Role.STAYS),
        (Link(9, "flannel.1", kind="vxlan"), Role.TUNNEL),
        (Link(9, "tunl0", kind="ipip"), Role.TUNNEL),
        (Link(9, "genev_sys_6081", kind="geneve"), Role.TUNNEL),
        (Link(9, "wg0", kind="wireguard"), Role.TUNNEL | Role.ENCRYPTS),
        (Link(9, "vti0", kind="vti"), Role.TUNNEL | Role.ENCRYPTS),
        (Link(9, "tun0", kind="tun"), Role.LEADS_OFF),
        (Link(9, "blue", kind="vrf"), Role.PASSES_AGAIN),
        (Link(9, "ovn-k8s-mp0", kind="openvswitch"), Role.LEADS_OFF),
        (Link(9, "eth0.100", kind="vlan", lower=2), Role.LEADS_OFF),
        (Link(9, "bond0", kind="bond"), Role.LEADS_OFF),
        (Link(9, "eth9", is_up=False), Role.LEADS_OFF),
    ],
)
def test_the_role_of_a_device_follows_from_its_kind(link: Link, role: Role) -> None:
    assert table(link).roles()[link.index] == role


def test_a_veth_with_a_route_to_a_gateway_leads_off() -> None:
    assert table(POD, gateways=(2, 10)).roles()[10] == Role.LEADS_OFF


def test_a_veth_with_an_address_of_a_subnet_leads_off_and_one_with_a_host_address_stays() -> None:
    subnet = table(POD, addresses=(address(10, "10.51.1.2", 24),))
    host = table(POD, addresses=(address(10, "10.1.0.1", 32), address(10, "fd00::1", 128)))
    assert (subnet.roles()[10], host.roles()[10]) == (Role.LEADS_OFF, Role.STAYS)


def test_a_link_local_address_of_a_veth_is_not_a_subnet() -> None:
    link_local = InterfaceAddress(10, pack("fe80::1"), is_ipv4=False, prefix=64, is_link_scope=True)
    assert table(POD, addresses=(link_local,)).roles()[10] == Role.STAYS


@pytest.mark.parametrize(
    "above",
    [
        (Link(11, "veth1.100", kind="vlan", lower=10),),
        (Link(11, "macvlan0", kind="macvlan", lower=10),),
        (Link(11, "bond0", kind="bond"), replace(POD, master=11)),
        (Link(11, "team0", kind="team"), replace(POD, master=11)),
    ],
)
def test_a_veth_below_a_vlan_or_in_a_bond_leads_off_until_that_is_gone(
    above: tuple[Link, ...],
) -> None:
    found = table(POD, *above)
    assert found.roles()[10] == Role.LEADS_OFF
    assert outermost(found) == ["eth0", "veth1"]
    assert found.pods() == ()
    found.apply(LinkGone(11))
    assert found.roles()[10] == Role.STAYS
    found.apply(above[0])
    assert found.roles()[10] == Role.LEADS_OFF


def test_a_veth_beside_the_end_of_another_one_stays() -> None:
    """IFLA_LINK of a veth is its peer, which it does not send by."""
    found = table(POD, Link(11, "veth9", kind="veth", lower=10))
    assert found.roles()[10] == Role.STAYS


def test_a_bridge_stays_only_while_all_its_ports_are_pods() -> None:
    bridge = Link(9, "cni0", kind="bridge")
    port = Link(10, "veth1", kind="veth", master=9, peer_in_other_netns=True)
    assert table(bridge, port).roles()[9] == Role.STAYS
    uplink = Link(2, "eth0", master=9)
    assert table(bridge, port, uplink, gateways=(9,)).roles()[9] == Role.LEADS_OFF
    assert table(bridge, port, uplink, gateways=()).roles()[9] == Role.LEADS_OFF


@pytest.mark.parametrize(
    ("links", "names"),
    [
        ((Link(9, "eth1"),), ["eth0", "eth1"]),
        ((POD, Link(9, "flannel.1", kind="vxlan")), ["eth0"]),
        ((Link(9, "eth0.100", kind="vlan", lower=2),), ["eth0"]),
        ((Link(9, "bond0", kind="bond"), Link(3, "eth1", master=9)), ["eth0", "eth1"]),
        ((Link(9, "br0", kind="bridge"), Link(3, "eth1", master=9)), ["eth0", "eth1"]),
        ((Link(9, "blue", kind="vrf"), Link(3, "eth1", master=9)), ["eth0", "eth1"]),
        ((Link(9, "blue", kind="vrf"),), ["eth0"]),
        (
            (
                Link(8, "ovs-system", kind="openvswitch"),
                Link(9, "br-ex", kind="openvswitch"),
                Link(3, "eth1", master=8),
            ),
            ["eth0", "eth1"],
        ),
        (tuple(Link(20 + n, f"ifb{n}", kind="ifb", is_up=False) for n in range(20)), ["eth0"]),
        ((Link(9, "veth0", kind="veth"),), ["eth0"]),
        ((Link(9, "ppp0", kind="ppp", is_ethernet=False),), ["eth0"]),
    ],
)
def test_a_packet_leaves_by_one_device_last(links: tuple[Link, ...], names: list[str]) -> None:
    assert outermost(table(*links)) == names


def test_names_restrict_what_leads_off_and_leave_tunnels_and_what_lies_above() -> None:
    devices = table(
        Link(3, "eth1"),
        Link(9, "flannel.1", kind="vxlan"),
        Link(4, "eth0.100", kind="vlan", lower=2),
        POD,
        wanted=("eth0", "ens5"),
    )
    assert devices.roles() == {
        1: Role.STAYS,
        2: Role.LEADS_OFF,
        3: Role.STAYS,
        4: Role.LEADS_OFF,
        9: Role.TUNNEL,
        10: Role.STAYS,
    }
    assert outermost(devices) == ["eth0"]
    assert devices.unknown_names() == ("ens5",)


def test_a_veth_named_as_uplink_is_an_uplink() -> None:
    devices = table(POD, wanted=("eth0", "veth1"))
    assert (devices.roles()[10], outermost(devices)) == (Role.LEADS_OFF, ["eth0", "veth1"])


def test_a_master_of_a_named_device_leads_off_as_well() -> None:
    bond = Link(9, "bond0", kind="bond")
    devices = table(bond, Link(2, "eth0", master=9), wanted=("eth0",))
    assert (devices.roles()[9], devices.roles()[2]) == (Role.LEADS_OFF, Role.LEADS_OFF)


@pytest.mark.parametrize(
    "changes",
    [
        (POD, LinkGone(10)),
        (address(2, "192.0.2.1", 24),),
        (GatewayRoute((2,)),),
        (Link(9, "flannel.1", kind="vxlan"), LinkGone(9)),
    ],
)
def test_a_change_elsewhere_leaves_a_device_what_it_is(changes: tuple[Change, ...]) -> None:
    devices = table()
    before = devices.roles()
    for change in changes:
        devices.apply(change)
        assert {index: devices.roles()[index] for index in before} == before


def test_changes_one_by_one_lead_where_a_dump_does() -> None:
    devices = table()
    steps: list[Change] = [
        POD,
        address(10, "10.51.1.2", 24),
        Link(9, "flannel.1", kind="vxlan"),
        GatewayRoute((9,)),
    ]
    for change in steps:
        devices.apply(change)
    loaded = table(
        POD,
        Link(9, "flannel.1", kind="vxlan"),
        addresses=(address(10, "10.51.1.2", 24),),
        gateways=(2, 9),
    )
    assert devices.roles() == loaded.roles()
    gone = InterfaceAddress(
        10, pack("10.51.1.2"), is_ipv4=True, prefix=24, is_link_scope=False, is_gone=True
    )
    devices.apply(gone)
    assert devices.roles()[10] == Role.STAYS


def test_a_deleted_route_returns_the_devices_with_gateways_to_read_again() -> None:
    devices = table(POD, gateways=(2, 10))
    assert devices.apply(GatewayRoute((10, 9), is_gone=True)) == {10}
    devices.set_routes(10, Routes(frozenset(), frozenset()))
    assert devices.roles()[10] == Role.STAYS
    assert devices.apply(GatewayRoute((10,), is_gone=True)) == frozenset()
    assert devices.apply(GatewayRoute((2,), is_gone=True)) == frozenset()  # leads off anyway


def test_a_device_that_went_down_has_no_gateway_until_its_routes_are_read_when_it_is_up() -> None:
    devices = table(POD, gateways=(2, 10))
    assert devices.apply(replace(POD, is_up=False)) == frozenset()
    assert devices.roles()[10] == Role.STAYS
    assert devices.apply(POD) == {10}
    assert devices.apply(POD) == frozenset()
    devices.set_routes(10, Routes(frozenset({10}), frozenset()))
    assert devices.roles()[10] == Role.LEADS_OFF


def test_with_an_ipv4_address_go_routes_that_no_message_tells_of() -> None:
    pod, own = pack("10.1.0.5"), address(10, "169.254.1.1", 32)
    gone = replace(own, is_gone=True)
    sourced = HostRoute(11, RouteKey(pack("10.1.0.6")), source=own.address)
    other = replace(POD, index=11, name="veth11", peer_netns=9)
    devices = table(POD, other, addresses=(own,), hosts=(host(10, pod), sourced))
    assert devices.senders().pods == {10: (pod,), 11: (sourced.key.address,)}
    assert devices.apply(gone) == frozenset()
    assert devices.senders().pods == {}
    uplink = table(POD, addresses=(own,), gateways=(10,))
    assert uplink.apply(gone) == {10}


def test_a_point_to_point_address_stays_while_one_of_its_peers_is_left() -> None:
    first, second = (
        replace(address(10, "203.0.113.1", 32), peer=pack(f"10.1.0.{n}")) for n in (5, 6)
    )
    devices = table(POD, addresses=(first, second))
    devices.apply(replace(first, is_gone=True))
    assert devices.addresses() == {first.address}
    devices.apply(replace(second, is_gone=True))
    assert devices.addresses() == frozenset()


def test_a_replaced_route_returns_the_pods_devices_with_gateways_to_read_again() -> None:
    devices = table(POD, Link(9, "br0", kind="bridge"), gateways=(2, 9, 10))
    assert devices.apply(GatewayRoute((2,), replaces=True)) == {9, 10}
    assert devices.apply(GatewayRoute((10,), replaces=True)) == {9}
    assert devices.apply(GatewayRoute((2,))) == frozenset()


def test_a_nodes_own_addresses_are_those_of_all_its_devices_but_loopback_and_link_local() -> None:
    devices = table(
        Link(9, "flannel.1", kind="vxlan"),
        addresses=(
            address(1, "127.0.0.1", 8),
            address(2, "192.0.2.1", 24),
            address(2, "2001:db8::1", 64),
            address(2, "fe80::1", 64),
            address(2, "169.254.1.1", 16),
            address(9, "10.244.1.0", 32),
        ),
    )
    assert devices.addresses() == {pack("192.0.2.1"), pack("2001:db8::1"), pack("10.244.1.0")}
    devices.apply(LinkGone(9))
    assert pack("10.244.1.0") not in devices.addresses()


def test_the_server_is_told_all_addresses_but_those_of_services_and_of_dummies_last() -> None:
    devices = table(
        Link(9, "flannel.1", kind="vxlan"),
        Link(11, "kube-ipvs0", kind="dummy"),
        Link(12, "nodelocaldns", kind="dummy"),
        addresses=(
            address(1, "10.0.0.1", 32),
            address(2, "2600:1f16::2", 128),
            address(2, "192.168.0.2", 24),
            address(9, "10.244.1.0", 32),
            address(11, "10.96.0.1", 32),
            address(12, "10.0.0.10", 32),
        ),
    )
    told = ["10.244.1.0", "192.168.0.2", "2600:1f16::2", "10.0.0.10"]
    assert devices.told_addresses() == tuple(map(pack, told))


def test_addresses_behind_devices_of_one_namespace_are_of_one_sender() -> None:
    first, second = (replace(POD, index=n, name=f"veth{n}", peer_netns=4) for n in (10, 11))
    other = replace(POD, index=12, name="veth12", peer_netns=5)
    unnumbered = replace(POD, index=13, name="veth13")
    a, b, c, link_local = map(pack, ("10.1.0.5", "fd00::5", "10.1.0.6", "169.254.172.5"))
    routes = ((10, a), (11, b), (11, link_local), (12, c), (2, pack("10.0.0.9")))
    devices = table(
        *(first, second, other, unnumbered), hosts=tuple(host(*route) for route in routes)
    )
    assert devices.senders().pods == {10: (a, b), 11: (a, b), 12: (c,)}
    devices.apply(host(12, c, is_gone=True))
    devices.apply(host(13, c))
    devices.apply(LinkGone(11))
    assert devices.senders().pods == {10: (a,), 13: (c,)}
    devices.apply(replace(first, is_up=False))
    devices.apply(first)
    assert devices.senders().pods == {13: (c,)}


def test_devices_whose_numbers_in_keys_are_the_same_tell_no_sender() -> None:
    far = replace(POD, index=10 + (1 << 16), name="veth2")
    hosts = (host(10, pack("10.1.0.5")), host(far.index, pack("10.1.0.6")))
    assert table(POD, far, hosts=hosts).senders().pods == {}


def test_a_number_that_another_device_has_tells_no_sender_later_either() -> None:
    pod = pack("10.1.0.5")
    alone = table(POD, hosts=(host(10, pod),))
    before = alone.senders()
    assert before.pods == {10: (pod,)}
    uplink = Link(10 + (1 << 16), "eth1")
    alone.apply(uplink)
    assert alone.senders().pods == {}
    assert alone.senders().after(before).pods == {}
    alone.apply(LinkGone(10))
    assert alone.senders().after(before).pods == {}
    alone.apply(LinkGone(uplink.index))
    assert alone.senders().after(before).pods == {10: (pod,)}


def test_a_pods_device_that_only_lost_its_route_keeps_its_sender() -> None:
    pod = pack("10.1.0.5")
    devices = table(POD, hosts=(host(10, pod),))
    before = devices.senders()
    devices.apply(host(10, pod, is_gone=True))
    assert devices.senders().after(before).pods == {10: (pod,)}


def test_a_bridge_of_pods_is_asked_for_its_neighbours() -> None:
    bridge = Link(9, "cni0", kind="bridge")
    with_pods = table(bridge, replace(POD, master=9))
    assert with_pods.senders().bridges == {9: 9}
    assert table(bridge, replace(POD, master=9), Link(3, "eth1", master=9)).senders().bridges == {}
