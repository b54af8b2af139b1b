"""Devices and addresses as of common cluster networks: every byte is counted once.

The devices and addresses are kept by a `DeviceWatch`, as an agent does.
"""

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from counting import Counted, attached
from overlay import INNER_MTU, vxlan

from kzn.agent.devices.device_watch import DeviceWatch
from kzn.agent.devices.table import DeviceTable
from kzn.agent.maps.mapset import MapSet
from kzn.agent.maps.spool import Spool
from kzn.agent.maps.structs import Role
from kzn.lab import namespaces, traffic
from kzn.lab.lab import Lab
from kzn.lab.plan import Node
from kzn.lab.witness import WireKey
from kzn.model.totals import Counts
from kzn.probes import clsact, postrouting, tcx
from kzn.probes.declaration import Probe

WAIT = 20.0
VXLAN = 50
"""Bytes that VXLAN over IPv4 adds to the inner IP packet: 14 + 8 + 8 + 20."""
DATAGRAM = 28
on_devices = pytest.mark.parametrize("probe", [tcx.PROBE, clsact.PROBE], ids=lambda one: one.name)
every_probe = pytest.mark.parametrize(
    "probe", [postrouting.PROBE, tcx.PROBE, clsact.PROBE], ids=lambda one: one.name
)


class Attendant:
    """Keeps the devices of a node in the maps of a probe, from a thread in the node's namespace."""

    def __init__(self, node: Node, maps: MapSet, names: tuple[str, ...]) -> None:
        self._node, self._maps, self._names = node, maps, names
        self._changed = threading.Condition()
        self._table: DeviceTable | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._thread.start()
        self.until(bool)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(lambda: self._task and self._task.cancel())
        self._thread.join(WAIT)

    def until(self, condition: Callable[[dict[str, Role]], bool]) -> None:
        """Wait until the roles that were written satisfy a condition."""
        with self._changed:
            assert self._changed.wait_for(lambda: condition(self.roles()), WAIT), self.roles()

    def roles(self) -> dict[str, Role]:
        table = self._table
        return {table.name(i): role for i, role in table.roles().items()} if table else {}

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        with namespaces.inside(self._node.namespace):
            self._task = self._loop.create_task(DeviceWatch(self._names, self._apply).run())
            try:
                self._loop.run_until_complete(self._task)
            except asyncio.CancelledError:
                pass
            finally:
                self._loop.run_until_complete(self._loop.shutdown_default_executor())
                self._loop.close()

    async def _apply(self, table: DeviceTable, _filters: frozenset[int]) -> None:
        self._maps.set_devices(table.roles())
        self._maps.set_addresses(table.addresses())
        with self._changed:
            self._table = table
            self._changed.notify_all()


@contextmanager
def attended(
    node: Node, probe: Probe = postrouting.PROBE, names: tuple[str, ...] = ()
) -> Iterator[tuple[Counted, Attendant]]:
    """A probe on a node, with its uplinks kept up to date during the block."""
    with attached(node, probe=probe) as maps:
        attendant = Attendant(node, maps, names)
        attendant.start()
        try:
            yield Counted(Spool(maps)), attendant
        finally:
            attendant.stop()


@contextmanager
def links(lab: Lab, node: Node, *commands: str, remove: str = "") -> Iterator[None]:
    lab.configure(node.namespace, list(commands))
    try:
        yield
    finally:
        for name in remove.split():
            lab.ip(["-n", node.namespace, "link", "del", name])


def send(namespace: str, to: tuple[str, int], *, times: int = 20, source: str = "") -> None:
    """Datagrams of 1,000 bytes; nothing has to receive them."""
    with namespaces.inside(namespace):
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sender:
        if source:
            sender.setsockopt(socket.IPPROTO_IP, 15, 1)  # IP_FREEBIND
            sender.bind((source, 0))
        for _ in range(times):
            sender.sendto(bytes(1000), to)


def udp_rows(counted: Counted) -> dict[WireKey, Counts]:
    return {key: n for key, n in counted.by_key().items() if key.protocol == socket.IPPROTO_UDP}


def test_pods_that_start_and_end_do_not_double_the_traffic_of_an_overlay(
    make_lab: Callable[..., Lab],
) -> None:
    lab = make_lab(pods_per_node=1)
    node, a, b = lab.node("a1"), lab.pod("a1-p1"), lab.pod("b1-p1")
    with vxlan(lab), attended(node) as (counted, attendant):
        before = lab.uplink_counters(node)
        for number in range(10):
            new = f"veth add{number}"
            lab.configure(
                node.namespace, [f"link add {new.split()[1]} type veth peer name peer{number}"]
            )
            traffic.udp(a, b, 4, datagrams=20, size=1000, mtu=INNER_MTU)
            attendant.until(lambda roles, name=f"add{number}": name in roles)  # type: ignore[misc]
            lab.ip(["-n", node.namespace, "link", "del", f"add{number}"])
            traffic.udp(a, b, 4, datagrams=20, size=1000, mtu=INNER_MTU)
        sent = lab.uplink_counters(node).since(before).tx_wire
        counted.drain()
    assert udp_rows(counted) == {WireKey(a.ipv4, b.ipv4, socket.IPPROTO_UDP): sent}
    assert sent == Counts(400, 400 * (1000 + DATAGRAM + VXLAN))


def test_dozens_of_idle_devices_beside_an_overlay_change_nothing(
    make_lab: Callable[..., Lab],
) -> None:
    lab = make_lab(pods_per_node=1)
    node, a, b = lab.node("a1"), lab.pod("a1-p1"), lab.pod("b1-p1")
    idle = [f"link add idle{n} type veth peer name elidi{n}" for n in range(40)]
    with vxlan(lab), links(lab, node, *idle), attended(node) as (counted, _):
        traffic.udp(a, b, 4, datagrams=20, size=1000, mtu=INNER_MTU)
        counted.drain()
    size = 20 * (1000 + DATAGRAM + VXLAN)
    assert udp_rows(counted) == {WireKey(a.ipv4, b.ipv4, 17): Counts(20, size)}


@pytest.mark.parametrize("names", [(), ("eth0", "eth1")], ids=["found", "named"])
def test_a_second_veth_with_a_subnet_and_no_gateway_leads_off(
    make_lab: Callable[..., Lab], names: tuple[str, ...]
) -> None:
    lab = make_lab(pods_per_node=1)
    node, router = lab.node("a1"), lab.fabric.namespace
    with links(
        lab,
        node,
        f"link add eth1 type veth peer name store0 netns {router}",
        "addr add 10.60.1.2/16 dev eth1",
        "link set eth1 up",
    ):
        lab.configure(router, ["addr add 10.60.0.5/16 dev store0", "link set store0 up"])
        with attended(node, names=names) as (counted, _):
            send(node.namespace, ("10.60.0.5", 5301))
            counted.drain()
    assert udp_rows(counted)[WireKey("10.60.1.2", "10.60.0.5", 17)] == Counts(20, 20_560)
    assert counted.ignored("local") == Counts()


def test_names_of_uplinks_leave_an_overlay_what_it_is(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(pods_per_node=1)
    node, a, b = lab.node("a1"), lab.pod("a1-p1"), lab.pod("b1-p1")
    with vxlan(lab), attended(node, names=("eth0",)) as (counted, _):
        traffic.udp(a, b, 4, datagrams=20, size=1000, mtu=INNER_MTU)
        counted.drain()
    size = 20 * (1000 + DATAGRAM + VXLAN)
    assert udp_rows(counted) == {WireKey(a.ipv4, b.ipv4, 17): Counts(20, size)}


def test_a_device_that_comes_while_no_agent_is_there_is_counted(
    make_lab: Callable[..., Lab],
) -> None:
    lab = make_lab(pods_per_node=1)
    node, a, router = lab.node("a1"), lab.pod("a1-p1"), lab.fabric.namespace
    with attached(node) as maps:
        attendant = Attendant(node, maps, ())
        attendant.start()
        attendant.stop()
        counted = Counted(Spool(maps))
        with links(
            lab,
            node,
            f"link add eth1 type veth peer name late0 netns {router}",
            "addr add 10.61.0.2/24 dev eth1",
            "link set eth1 up",
        ):
            lab.configure(router, ["addr add 10.61.0.1/24 dev late0", "link set late0 up"])
            lab.configure(node.namespace, ["route add 10.9.0.0/24 via 10.61.0.1 dev eth1"])
            send(a.namespace, ("10.9.0.5", 5432))
            counted.drain()
    assert udp_rows(counted) == {WireKey(a.ipv4, "10.9.0.5", 17): Counts(20, 20_560)}
    assert counted.ignored("local") == Counts()


@pytest.mark.parametrize("address", ["240.20.0.10", "255.0.0.1", "223.255.255.1"])
@every_probe
def test_class_e_is_unicast(make_lab: Callable[..., Lab], probe: Probe, address: str) -> None:
    lab = make_lab(pods_per_node=1)
    node, a = lab.node("a1"), lab.pod("a1-p1")
    with attended(node, probe) as (counted, _):
        send(a.namespace, (address, 5301))
        counted.drain()
    assert udp_rows(counted) == {WireKey(a.ipv4, address, 17): Counts(20, 20_560)}
    assert counted.ignored("multicast") == Counts()


def test_what_a_pod_sends_from_a_link_local_address_is_counted_with_its_answers(
    make_lab: Callable[..., Lab],
) -> None:
    """IPv6 clusters give a pod 169.254.x for IPv4 and translate it to the node's address."""
    lab = make_lab(pods_per_node=1)
    pod, node, router = lab.pod("a1-p1"), lab.node("a1"), lab.fabric.namespace
    near, far = "169.254.172.2", "10.9.0.5"
    lab.configure(router, [f"addr add {far}/32 dev lo"])
    lab.configure(pod.namespace, [f"addr add {near}/32 dev {pod.device}"])
    mac = Path(lab.directory, "mac")
    mac.write_text(lab.run(pod.namespace, ["cat", f"/sys/class/net/{pod.device}/address"]).stdout)
    lab.configure(
        node.namespace,
        [
            f"route add {near} dev {pod.veth}",
            f"neigh add {near} lladdr {mac.read_text().strip()} dev {pod.veth} nud permanent",
        ],
    )
    rules = Path(lab.directory, "snat.nft")
    rules.write_text(
        "table ip nat {\nchain post {\ntype nat hook postrouting priority srcnat\n"
        f"ip saddr {near} oifname {node.uplink} snat to {node.ipv4}\n}}\n}}\n"
    )
    assert lab.run(node.namespace, ["nft", "-f", str(rules)]).returncode == 0
    with attended(node) as (counted, _):
        exchange(pod.namespace, router, (far, 5432), source=near)
        counted.drain()
    assert udp_rows(counted) == {
        WireKey(near, far, 17): Counts(20, 20_560),
        WireKey(far, near, 17): Counts(20, 20 * (500 + DATAGRAM)),
    }
    assert counted.ignored("link_local") == Counts()


def test_what_is_sent_to_a_link_local_address_stays_ignored(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(pods_per_node=1)
    node, a = lab.node("a1"), lab.pod("a1-p1")
    with attended(node) as (counted, _):
        send(a.namespace, ("169.254.169.254", 80))
        counted.drain()
    assert udp_rows(counted) == {}
    assert counted.ignored("link_local") == Counts(20, 20_560)


@pytest.mark.parametrize("port", [4789, 8472, 6081])
@every_probe
def test_a_pod_cannot_charge_another_by_what_it_sends_to_the_port_of_a_tunnel(
    make_lab: Callable[..., Lab], probe: Probe, port: int
) -> None:
    lab = make_lab(pods_per_node=2)
    node, a, victim, b = lab.node("a1"), *map(lab.pod, ("a1-p1", "a1-p2", "b1-p1"))
    payload = forged(port, victim.ipv4, b.ipv4)
    with attended(node, probe) as (counted, _):
        with namespaces.inside(a.namespace):
            sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with sender:
            for _ in range(20):
                sender.sendto(payload, (b.ipv4, port))
        counted.drain()
    size = 20 * (DATAGRAM + len(payload))
    assert udp_rows(counted) == {WireKey(a.ipv4, b.ipv4, 17): Counts(20, size)}


def forged(port: int, src: str, dst: str) -> bytes:
    """A VXLAN or Geneve payload that names other ends, with an inner length that fits."""
    inner = 20 + 8 + 100
    ip = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, inner, 0, 0, 64, 17, 0, *map(socket.inet_aton, (src, dst))
    )
    frame = bytes(12) + b"\x08\x00" + ip + struct.pack("!HHHH", 1, 2, 108, 0) + bytes(100)
    head = (
        bytes((0, 0, 0x65, 0x58, 0, 0, 7, 0)) if port == 6081 else bytes((8, 0, 0, 0, 0, 0, 7, 0))
    )
    return head + frame


@on_devices
def test_a_tunnel_of_a_pod_is_the_pods_with_the_bytes_of_its_segments(
    make_lab: Callable[..., Lab], probe: Probe
) -> None:
    lab = make_lab(pods_per_node=1)
    node, a, b = lab.node("a1"), lab.pod("a1-p1"), lab.pod("b1-p1")
    for here, there, number in ((a, b, 1), (b, a, 2)):
        lab.configure(
            here.namespace,
            [
                f"link add own0 mtu {INNER_MTU} type vxlan id 9 local {here.ipv4}"
                f" remote {there.ipv4} dstport 8472",
                "link set own0 up",
                f"addr add 192.0.2.{number}/24 dev own0",
            ],
        )
    with attended(node, probe) as (counted, _):
        before = lab.uplink_counters(node)
        pour(a.namespace, b.namespace, ("192.0.2.2", 5401), 4_000_000)
        sent = lab.uplink_counters(node).since(before).tx_wire
        counted.drain()
    assert udp_rows(counted) == {WireKey(a.ipv4, b.ipv4, 17): sent}
    assert sent.bytes > 4_000_000


def pour(
    sender: str,
    receiver: str,
    to: tuple[str, int],
    size: int,
    at: tuple[str, int] | None = None,
) -> None:
    """One TCP stream of ``size`` bytes; ``at`` is where the receiver listens, if not at ``to``."""
    with namespaces.inside(receiver):
        listener = socket.create_server(at or to)
    with namespaces.inside(sender):
        client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    client.settimeout(WAIT)
    with listener, client:
        client.connect(to)
        server, _ = listener.accept()
        server.settimeout(WAIT)
        with server:
            feeding = threading.Thread(target=client.sendall, args=(bytes(size),))
            feeding.start()
            left = size
            while left:
                left -= len(server.recv(min(left, 1 << 20)))
            feeding.join(WAIT)


def exchange(sender: str, receiver: str, to: tuple[str, int], *, source: str) -> None:
    """Twenty datagrams of 1,000 bytes one by one, each answered by one of 500."""
    with namespaces.inside(sender):
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with namespaces.inside(receiver):
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with client, server:
        client.settimeout(WAIT)
        server.settimeout(WAIT)
        client.setsockopt(socket.IPPROTO_IP, 15, 1)  # IP_FREEBIND
        client.bind((source, 0))
        server.bind(to)
        for _ in range(20):
            client.sendto(bytes(1000), to)
            _, peer = server.recvfrom(65535)
            server.sendto(bytes(500), peer)
            client.recv(65535)
