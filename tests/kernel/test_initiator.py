"""Which end opened a connection, without conntrack: by handshakes, known endpoints, sockets."""

import os
import socket
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest
from counting import Counted, attached, counting, device, difference, tell_devices
from overlay import vxlan
from test_wire_bytes import ip_frame

from kzn.agent.maps import structs
from kzn.agent.maps.columns import by_lower_port
from kzn.agent.maps.mapset import MapSet
from kzn.agent.maps.spool import Spool
from kzn.agent.pins import directory, install
from kzn.agent.select.takeover import install_or_replace
from kzn.errors import UnsupportedError
from kzn.lab import namespaces, traffic
from kzn.lab.lab import Lab
from kzn.lab.plan import Node, Pod
from kzn.lab.traffic import Family
from kzn.lab.witness import WireKey
from kzn.libbpf.library import check, ffi, libbpf
from kzn.libbpf.testrun import run_netfilter, run_tc
from kzn.model import ip
from kzn.model.flows import INITIATOR_DESTINATION, INITIATOR_SOURCE
from kzn.model.totals import Counts
from kzn.probes import clsact, postrouting, support, tcx
from kzn.probes.attach import MAPS, load
from kzn.probes.declaration import Probe
from kzn.probes.settings import Settings


def at_uplinks() -> Probe:
    """The faster to attach of the two probes that have the same program, if this kernel has it."""
    try:
        support.require(tcx.PROBE)
    except UnsupportedError:
        return clsact.PROBE
    return tcx.PROBE


UPLINKS = at_uplinks()
PROBES = [UPLINKS, postrouting.PROBE]
probes = pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.name)
families = pytest.mark.parametrize("family", [4, 6])
AF = {4: socket.AF_INET, 6: socket.AF_INET6}
SYN, SYN_ACK, ACK = 0x02, 0x12, 0x10
ECE, ECN = 0x40, 0xC0
INIT, INIT_ACK, DATA = 1, 2, 0
NEW_ENDPOINTS = 2048
"""Of one source in a window (bpf/src/endpoints.bpf.h)."""
SIZE = structs.ENDPOINT_SIZES[0]

Place = Node | Pod


def address(place: Place, family: Family) -> str:
    """The address of a pod or a node."""
    return place.ipv4 if family == 4 else place.ipv6


class Connection:
    """An open TCP connection; the bytes of `talk` have arrived when it returns."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self._ends = client, server

    def talk(self, times: int = 5) -> None:
        """Send in both directions."""
        client, server = self._ends
        for _ in range(times):
            for speaker, listener in ((client, server), (server, client)):
                speaker.sendall(b"kzn")
                assert listener.recv(3) == b"kzn"
                listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)  # none is late


def bound(place: Place, family: Family, port: int) -> socket.socket:
    """A TCP socket of a pod or a node at a port, 0 for any."""
    with namespaces.inside(place.namespace):
        made = socket.socket(AF[family], socket.SOCK_STREAM)
    made.settimeout(10)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.bind((address(place, family), port))
    return made


@contextmanager
def listening(place: Place, family: Family, port: int) -> Iterator[socket.socket]:
    """A listening socket of a pod or a node."""
    with bound(place, family, port) as listener:
        listener.listen()
        yield listener


@contextmanager
def connected(
    client: Place, listener: socket.socket, family: Family, port: int
) -> Iterator[Connection]:
    """A connection from a port to a listening socket; it is reset on exit."""
    with ExitStack() as stack:
        caller = stack.enter_context(bound(client, family, port))
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        caller.connect(listener.getsockname()[:2])
        answerer = stack.enter_context(listener.accept()[0])
        yield Connection(caller, answerer)


def flows_of(counted: Counted, src: str) -> dict[tuple[str, int, int, int], Counts]:
    """What a source sent by destination, ports and flags."""
    found: dict[tuple[str, int, int, int], Counts] = {}
    for row in counted.rows:
        if row.src == src:
            key = (row.dst, row.src_port, row.dst_port, row.flags)
            found[key] = found.get(key, Counts()).plus(row.counts)
    return found


def lower_port(counted: Counted) -> Mapping[str, Counts]:
    """What had the lower port taken for its service's, in all batches."""
    found = {"tcp": Counts(), "udp": Counts(), "other": Counts()}
    for batch in counted.batches:
        for protocol, counts in by_lower_port(batch.flows).items():
            found[protocol] = found[protocol].plus(counts)
    return {protocol: counts for protocol, counts in found.items() if counts.packets}


def total(flows: Mapping[tuple[str, int, int, int], Counts]) -> Counts:
    """The sum of flows."""
    found = Counts()
    for counts in flows.values():
        found = found.plus(counts)
    return found


def known(maps: MapSet) -> int:
    """How many endpoints a set knows."""
    return len(maps.endpoints.keys(SIZE))


HERE, THERE = "10.1.0.1", "10.2.0.1"
ENDS: dict[Family, tuple[str, str]] = {4: (HERE, THERE), 6: ("fd00:1::1", "fd00:2::1")}
HIGH, LOW = 50051, 8080
CALLS = [(HIGH, 40000), (HIGH, 60000), (HIGH, 700), (LOW, 2000), (LOW, 40000)]
"""Port of the service, and of a client that the lower port gets wrong or right."""


@pytest.mark.parametrize(
    ("probe", "family"),
    [
        (tcx.PROBE, 4),
        (tcx.PROBE, 6),
        (clsact.PROBE, 4),
        (postrouting.PROBE, 4),
        (postrouting.PROBE, 6),
    ],
    ids=lambda value: str(getattr(value, "name", value)),
)
def test_the_service_is_known_to_the_nodes_of_both_ends(
    lab: Lab, probe: Probe, family: Family
) -> None:
    a, b = lab.pod("a1-p1"), lab.pod("b1-p1")
    here, there = traffic.addresses(a, b, family)
    before = lab.carried()
    with (
        counting(lab.node("a1"), probe=probe) as near,
        counting(lab.node("b1"), probe=probe) as far,
        listening(b, family, HIGH) as high,
        listening(b, family, LOW) as low,
    ):
        for port, client in CALLS:
            with connected(a, high if port == HIGH else low, family, client) as connection:
                connection.talk()
                near.drain()  # what follows is in the other buffer
                far.drain()
                connection.talk()
        carried = difference(before, lab.carried())
        near.drain()
        far.drain()
    sent, answered = flows_of(near, here), flows_of(far, there)
    assert set(sent) == {(there, 0, port, INITIATOR_SOURCE) for port in (HIGH, LOW)}
    assert set(answered) == {(here, port, 0, INITIATOR_DESTINATION) for port in (HIGH, LOW)}
    assert total(sent) == carried[WireKey(here, there, socket.IPPROTO_TCP)]
    assert total(answered) == carried[WireKey(there, here, socket.IPPROTO_TCP)]
    assert lower_port(near) == lower_port(far) == {}


@probes
def test_a_connection_that_is_older_than_the_probe_is_known_from_the_batch_after_the_next_one_on(
    lab: Lab, probe: Probe
) -> None:
    a, b, c = lab.pod("a1-p1"), lab.pod("b1-p1"), lab.pod("a1-p2")
    with ExitStack() as stack:
        listener = stack.enter_context(listening(b, 4, 50051))
        old = stack.enter_context(connected(a, listener, 4, 40000))
        before = lab.carried()
        near = stack.enter_context(counting(lab.node("a1"), probe=probe))
        far = stack.enter_context(counting(lab.node("b1"), probe=probe))
        old.talk(3)
        unknown = difference(before, lab.carried())
        stack.enter_context(connected(c, listener, 4, 41000)).talk(1)
        near.drain()  # a flow that is unknown stays so until its buffer is drained
        far.drain()
        before = lab.carried()
        old.talk(4)
        known_later = difference(before, lab.carried())
        near.drain()
        far.drain()
        sent, answered = (WireKey(*pair, 6) for pair in ((a.ipv4, b.ipv4), (b.ipv4, a.ipv4)))
        assert flows_of(near, a.ipv4) == {
            (b.ipv4, 40000, 0, 0): unknown[sent],
            (b.ipv4, 0, 50051, INITIATOR_SOURCE): known_later[sent],
        }
        assert {key: n for key, n in flows_of(far, b.ipv4).items() if key[0] == a.ipv4} == {
            (a.ipv4, 0, 40000, 0): unknown[answered],
            (a.ipv4, 50051, 0, INITIATOR_DESTINATION): known_later[answered],
        }
        if probe is not postrouting.PROBE:  # which sees both ways
            assert lower_port(near) == {"tcp": unknown[sent]}
            assert lower_port(far) == {"tcp": unknown[answered]}


@families
def test_an_older_connection_of_the_host_is_known_by_its_sockets(lab: Lab, family: Family) -> None:
    node, pod = lab.node("a1"), lab.pod("b1-p1")
    here, there = address(node, family), address(pod, family)
    with ExitStack() as stack:
        served = stack.enter_context(listening(node, family, 50051))
        remote = stack.enter_context(listening(pod, family, 50052))
        as_server = stack.enter_context(connected(pod, served, family, 40000))
        as_client = stack.enter_context(connected(node, remote, family, 700))
        counted = stack.enter_context(counting(node, probe=UPLINKS))
        as_server.talk()
        as_client.talk()
        counted.drain()
        assert set(flows_of(counted, here)) == {
            (there, 50051, 0, INITIATOR_DESTINATION),
            (there, 0, 50052, INITIATOR_SOURCE),
        }
        assert lower_port(counted) == {}


@probes
def test_datagrams_have_the_lower_port_for_the_services(lab: Lab, probe: Probe) -> None:
    a, b = lab.pod("a1-p1"), lab.pod("b1-p1")
    with counting(lab.node("a1"), probe=probe) as counted:
        [sent] = traffic.udp(a, b, 4, datagrams=7, size=100, mtu=1500, port=53)
        counted.drain()
    assert flows_of(counted, a.ipv4) == {(b.ipv4, 0, 53, 0): sent.wire}
    assert lower_port(counted) == {"udp": sent.wire}


@probes
def test_a_port_that_is_listened_on_and_connected_from_is_told_apart(
    lab: Lab, probe: Probe
) -> None:
    node, a, b, c = lab.node("a1"), lab.pod("a1-p1"), lab.pod("b1-p1"), lab.pod("b1-p2")
    with ExitStack() as stack:
        maps = stack.enter_context(attached(node, probe=probe))
        tell_devices(maps, node, skip_inbound=False)
        counted = Counted(Spool(maps))
        both = stack.enter_context(listening(a, 4, 7000))
        other = stack.enter_context(listening(c, 4, 8000))
        stack.enter_context(connected(b, both, 4, 40000)).talk()
        before = lab.carried()
        connection = stack.enter_context(connected(a, other, 4, 7000))
        connection.talk()
        counted.drain()
        connection.talk()  # without the flow of the SYN
        carried = difference(before, lab.carried())[WireKey(a.ipv4, c.ipv4, 6)]
        counted.drain()
    found = flows_of(counted, a.ipv4)
    assert set(found) == {
        (b.ipv4, 7000, 0, INITIATOR_DESTINATION),
        (c.ipv4, 0, 8000, INITIATOR_SOURCE),
    }
    assert found[c.ipv4, 0, 8000, INITIATOR_SOURCE] == carried


CALLED, ACCEPTED, CALLING = 1, 2, 4  # KZN_ENDPOINT_*


KNOWN = [
    (0, 0, 0),
    (CALLED, 0, INITIATOR_DESTINATION),
    (ACCEPTED | CALLING, 0, INITIATOR_DESTINATION),
    (0, CALLED | CALLING, INITIATOR_SOURCE),
    (CALLED, CALLED, 0),
    (ACCEPTED, CALLED, INITIATOR_DESTINATION),
    (CALLED, ACCEPTED, INITIATOR_SOURCE),
    (CALLED, CALLED | ACCEPTED | CALLING, INITIATOR_DESTINATION),
    (ACCEPTED | CALLING, CALLED, INITIATOR_SOURCE),
    (ACCEPTED | CALLING, CALLED | CALLING, 0),
]
"""What is known of a packet's source and destination, and the initiator."""


@probes
def test_what_is_known_of_both_ends_decides(probe: Probe) -> None:
    expected = set()
    with program(probe) as (run, maps):
        for case, (source, dest, initiator) in enumerate(KNOWN):
            ports = 7000 + case, 8000 + case
            for address, port, state in zip((HERE, THERE), ports, (source, dest), strict=True):
                if state:
                    maps.endpoints.put(endpoint(address, port), struct.pack("<I", state))
            packet = segment(socket.IPPROTO_TCP, *ports, ACK)
            run(ip_frame(4, bytes(6), HERE, THERE, socket.IPPROTO_TCP, packet))
            kept = (0, ports[1]) if initiator == INITIATOR_SOURCE else (ports[0], 0)
            expected.add((THERE, *kept, initiator))
        counted = Counted(Spool(maps)).drain()
    assert set(flows_of(counted, HERE)) == expected


@families
@probes
def test_inside_a_tunnel_the_service_is_known(lab: Lab, probe: Probe, family: Family) -> None:
    a, b = lab.pod("a1-p1"), lab.pod("b1-p1")
    here, there = traffic.addresses(a, b, family)
    with ExitStack() as stack:
        stack.enter_context(vxlan(lab))
        counters = {}
        for node in (lab.node("a1"), lab.node("b1")):
            maps = stack.enter_context(attached(node, probe=probe))
            tell_devices(maps, node, skip_inbound=True)
            counters[node.name] = Counted(Spool(maps))
        listener = stack.enter_context(listening(b, family, HIGH))
        stack.enter_context(connected(a, listener, family, 40000)).talk()
        near, far = (counted.drain() for counted in counters.values())
    assert set(flows_of(near, here)) == {(there, 0, HIGH, INITIATOR_SOURCE)}
    assert set(flows_of(far, there)) == {(here, HIGH, 0, INITIATOR_DESTINATION)}
    assert "tcp" not in {*lower_port(near), *lower_port(far)}


def segment(protocol: int, source: int, dest: int, kind: int) -> bytes:
    """A TCP segment with flags, or an SCTP packet with a chunk."""
    if protocol == socket.IPPROTO_TCP:
        return struct.pack("!HHIIBBHHH", source, dest, 1, 1, 5 << 4, kind, 500, 0, 0)
    return struct.pack("!HHIIBBH", source, dest, 0, 0, kind, 0, 4)


@contextmanager
def program(probe: Probe, family: Family = 4) -> Iterator[tuple[Callable[[bytes], object], MapSet]]:
    """A probe's program that is not attached, to run on frames, and its maps."""
    with load(probe, Settings()) as found:
        is_netfilter = probe is postrouting.PROBE
        hook = probe.hooks[1 if is_netfilter and family == 6 else 0]
        chosen = found.program_fd(hook.program)
        run = (
            partial(run_netfilter, chosen, family=family)
            if is_netfilter
            else partial(run_tc, chosen)
        )
        with MapSet({name: os.dup(found.map_fd(name)) for name in MAPS}) as maps:
            yield run, maps


def endpoint(address: str, port: int) -> bytes:
    """A key of the map of endpoints, of TCP."""
    return ip.pack(address) + struct.pack("<HBxI", port, socket.IPPROTO_TCP, 0)


def others(maps: MapSet) -> int:
    """What programs noted of flows of another initiator than the presumed one."""
    key, value = ffi.new("__u32 *"), ffi.new("char[]", structs.CONTROL_SIZE)
    check(libbpf().bpf_map_lookup_elem(maps.fds()["control"], key, value), "read control")
    return structs.Control.unpack(bytes(ffi.buffer(value))).others


@contextmanager
def raw(pod: Pod, protocol: int) -> Iterator[socket.socket]:
    """A raw socket of a pod."""
    with namespaces.inside(pod.namespace):
        made = socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol)
    with made:
        yield made


@probes
@pytest.mark.parametrize(
    ("protocol", "calls", "accepts", "data"),
    [
        (socket.IPPROTO_TCP, SYN | ECN, SYN_ACK | ECE, ACK),
        (socket.IPPROTO_SCTP, INIT, INIT_ACK, DATA),
    ],
    ids=["tcp", "sctp"],
)
def test_what_a_handshake_tells_holds_for_later_packets(
    probe: Probe, protocol: int, calls: int, accepts: int, data: int
) -> None:
    with program(probe) as (run, maps):
        for source, dest, kinds in (
            (40000, 50000, (calls, calls, data)),
            (50001, 40001, (accepts, data, data, data)),
            (40002, 50002, (data,)),
        ):
            for kind in kinds:
                packet = segment(protocol, source, dest, kind)
                run(ip_frame(4, bytes(6), HERE, THERE, protocol, packet))
        counted = Counted(Spool(maps)).drain()
    assert {key: n.packets for key, n in flows_of(counted, HERE).items()} == {
        (THERE, 0, 50000, INITIATOR_SOURCE): 3,
        (THERE, 50001, 0, INITIATOR_DESTINATION): 4,
        (THERE, 40002, 0, 0): 1,
    }


@families
@probes
def test_a_flow_keeps_its_packets_when_what_is_known_of_its_ends_changes(
    probe: Probe, family: Family
) -> None:
    here, there = ENDS[family]
    with program(probe, family) as (run, maps):

        def send(source: int, dest: int, kind: int) -> None:
            packet = segment(socket.IPPROTO_TCP, source, dest, kind)
            run(ip_frame(family, bytes(6), here, there, socket.IPPROTO_TCP, packet))

        send(40000, 443, SYN)
        send(40000, 443, ACK)
        assert others(maps) == 0
        send(40001, 50001, SYN)
        send(40001, 50001, ACK)
        for key in maps.endpoints.keys(SIZE):
            maps.endpoints.remove(key)
        send(40000, 443, ACK)
        send(40001, 50001, ACK)
        send(40002, 50002, ACK)  # of none
        maps.endpoints.put(endpoint(there, 50002), struct.pack("<I", CALLED))
        send(40002, 50002, ACK)
        counted = Counted(Spool(maps)).drain()
        assert others(maps) == 0  # the other buffer has no flows
        send(40003, 50003, ACK)
        assert probe is not postrouting.PROBE or others(maps) == 1
    assert {key: n.packets for key, n in flows_of(counted, here).items()} == {
        (there, 0, 443, INITIATOR_SOURCE): 3,
        (there, 0, 50001, INITIATOR_SOURCE): 3,
        (there, 40002, 0, 0): 2,
    }


@probes
def test_a_flood_of_handshakes_adds_a_bounded_number_of_endpoints(lab: Lab, probe: Probe) -> None:
    a, b, c = lab.pod("a1-p1"), lab.pod("b1-p1"), lab.pod("a1-p2")
    flood = 3 * NEW_ENDPOINTS
    with ExitStack() as stack:
        maps = stack.enter_context(attached(lab.node("a1"), probe=probe))
        counted = Counted(Spool(maps))
        listener = stack.enter_context(listening(b, 4, 50051))
        connection = stack.enter_context(connected(a, listener, 4, 40000))
        sender = stack.enter_context(raw(c, socket.IPPROTO_TCP))
        for port in range(1000, 1000 + flood):
            sender.sendto(segment(socket.IPPROTO_TCP, 900, port, SYN), (b.ipv4, 0))
        counted.drain()
        assert known(maps) <= 1 + 2 * NEW_ENDPOINTS  # a window may have begun meanwhile
        connection.talk()
        counted.drain()
        assert set(flows_of(counted, a.ipv4)) == {(b.ipv4, 0, 50051, INITIATOR_SOURCE)}
        sent = sum(n.packets for n in flows_of(counted, c.ipv4).values())
        assert sent == flood


@probes
def test_packets_that_arrive_add_no_endpoints(lab: Lab, probe: Probe) -> None:
    node, a, b = lab.node("a1"), lab.pod("a1-p1"), lab.pod("b1-p1")
    with attached(node, probe=probe) as maps, raw(b, socket.IPPROTO_TCP) as sender:
        tell_devices(maps, node, skip_inbound=False)
        for port in range(1000, 1020):
            for kind in (SYN, SYN_ACK):
                sender.sendto(segment(socket.IPPROTO_TCP, port, port + 100, kind), (a.ipv4, 0))
        assert known(maps) == 0


@probes
def test_with_ports_none_nothing_is_asked_and_nothing_kept(lab: Lab, probe: Probe) -> None:
    a, b = lab.pod("a1-p1"), lab.pod("b1-p1")
    with ExitStack() as stack:
        maps = stack.enter_context(attached(lab.node("a1"), Settings(ports="none"), probe))
        counted = Counted(Spool(maps))
        listener = stack.enter_context(listening(b, 4, 50051))
        stack.enter_context(connected(a, listener, 4, 40000)).talk()
        counted.drain()
        assert set(flows_of(counted, a.ipv4)) == {(b.ipv4, 0, 0, 0)}
        assert (known(maps), maps.endpoints.info().max_entries) == (0, 1)
        assert lower_port(counted) == {}


def test_programs_that_replace_others_know_what_these_knew(
    lab: Lab, request: pytest.FixtureRequest
) -> None:
    node, a, b = lab.node("a1"), lab.pod("a1-p1"), lab.pod("b1-p1")
    pin_dir: Path = lab.pin_dir(node).parent / "initiator"
    with namespaces.inside(node.namespace):
        request.addfinalizer(lambda: detach(node, pin_dir))
    with ExitStack() as stack:
        listener = stack.enter_context(listening(b, 4, 50051))
        stack.enter_context(namespaces.inside(node.namespace))
        stack.enter_context(directory.locked(pin_dir))
        uplinks = [device(node.uplink)]
        install.install(UPLINKS, Settings(), pin_dir, uplinks).close()
        connection = stack.enter_context(connected(a, listener, 4, 40000))
        maps = stack.enter_context(
            install_or_replace(UPLINKS, Settings(max_flows=1000), pin_dir, uplinks)[0]
        )
        connection.talk()
        counted = Counted(Spool(maps)).drain()
        assert set(flows_of(counted, a.ipv4)) == {(b.ipv4, 0, 50051, INITIATOR_SOURCE)}


def detach(node: Node, pin_dir: Path) -> None:
    """Remove what a test has pinned."""
    with namespaces.inside(node.namespace):
        install.detach_all(pin_dir)
