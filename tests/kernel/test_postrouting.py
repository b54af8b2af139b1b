"""The probe `postrouting` on real packets: its counts equal the bytes on the wire."""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack

import pytest
from counting import Counted, attached, by_key, counting, difference, tell_devices

from kzn.agent.maps.spool import Spool
from kzn.errors import KernelError
from kzn.lab import namespaces, traffic
from kzn.lab.lab import Lab
from kzn.lab.traffic import Family
from kzn.lab.witness import WireKey
from kzn.model.flows import (
    INITIATOR_DESTINATION,
    INITIATOR_SOURCE,
)
from kzn.model.totals import Counts
from kzn.probes.attach import attach, load
from kzn.probes.postrouting import PRIORITIES, PROBE
from kzn.probes.settings import CLOCK_MONOTONIC_COARSE, Settings

FAMILIES: tuple[Family, Family] = (4, 6)
families = pytest.mark.parametrize("family", FAMILIES)


@families
@pytest.mark.parametrize("size", [0, 1, 1472, 1473, 2953, 4000, 60000])
def test_udp_counts_payload_and_headers_of_every_fragment(
    lab: Lab, family: Family, size: int
) -> None:
    a, b = lab.pod("a1-p1"), lab.pod("b1-p2")
    with counting(lab.node("a1")) as counted:
        [sent] = traffic.udp(a, b, family, datagrams=40, size=size, mtu=1500)
        counted.drain()
    assert counted.by_key() == {WireKey(sent.src, sent.dst, sent.protocol): sent.wire}


@families
def test_echo_counts_both_directions(lab: Lab, family: Family) -> None:
    a, b = lab.pod("a1-p1"), lab.pod("b1-p1")
    with counting(lab.node("a1")) as counted:
        sent = traffic.echo(a, b, family, requests=50, size=56, mtu=1500)
        counted.drain()
    assert counted.by_key() == {WireKey(s.src, s.dst, s.protocol): s.wire for s in sent}


@families
@pytest.mark.parametrize("mtu", [1500, 9001])
def test_tcp_super_packets_count_what_the_uplink_sent_in_segments(
    make_lab: Callable[..., Lab], family: Family, mtu: int
) -> None:
    lab = make_lab(mtu=mtu, pods_per_node=1)
    node, a, b = lab.node("a1"), lab.pod("a1-p1"), lab.pod("b1-p1")
    with counting(node) as counted:
        before = lab.uplink_counters(node)
        traffic.tcp_bulk(a, b, family, size=64_000_000)
        sent = lab.uplink_counters(node).since(before)
        counted.drain()
    there = WireKey(*traffic.addresses(a, b, family), socket.IPPROTO_TCP)
    assert counted.by_key()[there] == sent.tx_wire
    assert sent.tx_dropped == 0


@families
def test_every_pair_equals_the_witness(lab: Lab, family: Family) -> None:
    a, b, c = lab.pod("a1-p1"), lab.pod("b1-p1"), lab.pod("a1-p2")
    with counting(lab.node("a1")) as counted:
        before = lab.carried()
        traffic.tcp_calls(a, b, family, calls=50, ask=300, answer=40_000)
        traffic.tcp_calls(b, c, family, calls=50, ask=300, answer=40_000)
        traffic.udp(c, b, family, datagrams=100, size=900, mtu=1500)
        carried = difference(before, lab.carried())
        counted.drain()
    assert counted.by_key() == carried


def test_traffic_between_pods_of_one_node_is_counted(lab: Lab) -> None:
    a, b = lab.pod("a1-p1"), lab.pod("a1-p2")
    with counting(lab.node("a1")) as counted:
        [sent] = traffic.udp(a, b, 4, datagrams=10, size=100, mtu=1500)
        counted.drain()
    assert counted.by_key() == {WireKey(sent.src, sent.dst, sent.protocol): sent.wire}


def test_with_a_full_map_new_flows_are_counted_as_missed(lab: Lab) -> None:
    a, b = lab.pod("a1-p1"), lab.pod("b1-p1")
    flows, limit, size = 200, 32, 120
    with counting(lab.node("a1"), Settings(max_flows=limit)) as counted:
        for port in range(20_000, 20_000 + flows):
            traffic.udp(a, b, 4, datagrams=2, size=size, mtu=1500, port=port)
        counted.drain()
    kept = len(counted.rows)
    assert limit < kept <= 3 * limit  # in rows, of which some find no place, and in the hash
    assert counted.seen == Counts(flows * 2, flows * 2 * (size + 28))
    assert counted.accounted == Counts(kept * 2, kept * 2 * (size + 28))
    assert counted.missed("map_full") == Counts(
        (flows - kept) * 2, (flows - kept) * 2 * (size + 28)
    )


def test_a_full_map_is_empty_again_after_a_drain(lab: Lab) -> None:
    a, b = lab.pod("a1-p1"), lab.pod("b1-p1")
    with counting(lab.node("a1"), Settings(max_flows=4)) as counted:
        for round_ in range(4):
            for port in range(8):
                first = 20_000 + round_ * 8
                traffic.udp(a, b, 4, datagrams=1, size=10, mtu=1500, port=first + port)
            counted.drain()
    assert len(counted.rows) == 32
    assert counted.missed("map_full") == Counts()


def test_a_thousand_switches_under_two_busy_senders_lose_no_byte(lab: Lab) -> None:
    pairs = [(lab.pod("a1-p1"), lab.pod("b1-p1")), (lab.pod("a1-p2"), lab.pod("b1-p2"))]
    stop = threading.Event()
    sent = [0, 0]

    def send(number: int) -> None:
        a, b = pairs[number]
        while not stop.is_set():
            traffic.udp(a, b, 4, datagrams=500, size=300, mtu=1500)
            sent[number] += 500

    with counting(lab.node("a1")) as counted:
        senders = [threading.Thread(target=send, args=(number,)) for number in (0, 1)]
        for sender in senders:
            sender.start()
        try:
            for _ in range(1000):
                counted.drain()  # each batch must add up
        finally:
            stop.set()
            for sender in senders:
                sender.join()
        counted.drain()
    expected = {
        WireKey(a.ipv4, b.ipv4, socket.IPPROTO_UDP): Counts(n, n * 328)
        for (a, b), n in zip(pairs, sent, strict=True)
    }
    assert counted.by_key() == expected
    assert counted.seen == counted.accounted
    assert sum(1 for batch in counted.batches if len(batch.flows)) > 100


def test_an_unacknowledged_batch_is_cut_again_unchanged(lab: Lab) -> None:
    a, b = lab.pod("a1-p1"), lab.pod("b1-p1")
    with attached(lab.node("a1")) as maps:
        traffic.udp(a, b, 4, datagrams=5, size=100, mtu=1500)
        first = Spool(maps).cut()
        traffic.udp(a, b, 4, datagrams=7, size=100, mtu=1500)
        again = Counted(Spool(maps)).drain()  # another process would see the same maps
        rest = Counted(Spool(maps)).drain()
    assert (first.sequence, again.batches[0].sequence, rest.batches[0].sequence) == (1, 1, 2)
    assert again.seen == Counts(5, 5 * 128)
    assert rest.seen == Counts(7, 7 * 128)


def test_multicast_and_link_local_packets_are_counted_as_ignored(lab: Lab) -> None:
    node = lab.node("a1")
    with counting(node) as counted:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.setsockopt(
                socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(node.ipv4)
            )
            for _ in range(3):
                sender.sendto(bytes(50), ("239.1.2.3", 9))
        counted.drain()
    assert counted.rows == []
    assert counted.ignored("multicast") == counted.seen == Counts(3, 3 * 78)


def test_packets_to_the_node_itself_are_counted_as_ignored_loopback(lab: Lab) -> None:
    node = lab.node("a1")
    with counting(node) as counted:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for _ in range(4):
                sender.sendto(bytes(50), (node.ipv4, 9))
        counted.drain()
    assert counted.rows == []
    assert counted.ignored("loopback").packets >= 4  # each is answered by an ICMP error
    assert counted.ignored("loopback") == counted.seen


@families
def test_with_ports_service_the_server_port_is_kept(lab: Lab, family: Family) -> None:
    a, b = lab.pod("a1-p1"), lab.pod("b1-p1")
    with counting(lab.node("a1")) as counted:
        traffic.tcp_calls(a, b, family, calls=3, ask=10, answer=10, port=5500)
        counted.drain()
    here, there = traffic.addresses(a, b, family)
    ports = {(row.src, row.src_port, row.dst, row.dst_port) for row in counted.rows}
    assert ports == {(here, 0, there, 5500), (there, 5500, here, 0)}


@families
def test_conntrack_gives_the_initiator_and_the_service_port_even_if_high(
    lab: Lab, family: Family
) -> None:
    node, a, b = lab.node("a1"), lab.pod("a1-p1"), lab.pod("b1-p1")
    rules = "type filter hook prerouting priority 0; ct state new accept"
    made = lab.run(node.namespace, ["nft", f"table inet tracked {{ chain seen {{ {rules}; }}\n}}"])
    assert made.returncode == 0, made.stderr
    try:
        with counting(node) as counted:
            traffic.tcp_calls(a, b, family, calls=3, ask=10, answer=10, port=65500)
            counted.drain()
    finally:
        lab.run(node.namespace, ["nft", "delete table inet tracked"])
    here, there = traffic.addresses(a, b, family)
    assert {(r.src, r.src_port, r.dst_port, r.flags) for r in counted.rows} == {
        (here, 0, 65500, INITIATOR_SOURCE),
        (there, 65500, 0, INITIATOR_DESTINATION),
    }


def test_no_ports_are_kept_with_ports_none(lab: Lab) -> None:
    a, b = lab.pod("a1-p1"), lab.pod("b1-p1")
    with counting(lab.node("a1"), Settings(ports="none")) as counted:
        for port in (5500, 5501, 5502):
            traffic.tcp_calls(a, b, 4, calls=1, ask=10, answer=10, port=port)
        counted.drain()
    assert [(row.src_port, row.dst_port) for row in counted.rows] == [(0, 0), (0, 0)]


def test_both_ports_are_kept_with_ports_all(lab: Lab) -> None:
    a, b = lab.pod("a1-p1"), lab.pod("b1-p1")
    with counting(lab.node("a1"), Settings(ports="all")) as counted:
        traffic.tcp_calls(a, b, 4, calls=1, ask=10, answer=10, port=5500)
        counted.drain()
    there, back = sorted(counted.rows, key=lambda row: row.src)
    assert there.dst_port == back.src_port == 5500
    assert there.src_port == back.dst_port != 0


def test_the_next_priority_is_tried_when_one_is_in_use(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    a, b = lab.pod("a1-p1"), lab.pod("b1-p1")
    with counting(lab.node("a1")) as first, counting(lab.node("a1")) as second:
        [sent] = traffic.udp(a, b, 4, datagrams=5, size=100, mtu=1500)
        key = WireKey(sent.src, sent.dst, sent.protocol)
        assert by_key(first.drain().rows)[key] == by_key(second.drain().rows)[key] == sent.wire
    assert "other programs have priority 50 of postrouting/ipv4" in caplog.text


def test_with_all_priorities_in_use_the_error_names_them(lab: Lab) -> None:
    [ipv4, _] = PROBE.netfilter_hooks()
    with ExitStack() as stack:
        stack.enter_context(namespaces.inside(lab.node("a1").namespace))
        program = stack.enter_context(load(PROBE, Settings())).program_fd(ipv4.program)
        for _ in PRIORITIES:
            stack.callback(os.close, attach(PROBE, ipv4, program))
        with pytest.raises(KernelError, match="priorities 1 to 99 are all taken") as raised:
            attach(PROBE, ipv4, program)
    assert "kzn detach" in raised.value.hint


def test_with_known_uplinks_traffic_on_the_node_makes_no_flow(lab: Lab) -> None:
    node, a, b, far = (lab.node("a1"), *map(lab.pod, ("a1-p1", "a1-p2", "b1-p1")))
    with attached(node) as maps:
        tell_devices(maps, node, skip_inbound=False)
        counted = Counted(Spool(maps))
        [stays] = traffic.udp(a, b, 4, datagrams=10, size=100, mtu=1500)
        [leaves] = traffic.udp(a, far, 4, datagrams=20, size=100, mtu=1500)
        [arrives] = traffic.udp(far, a, 4, datagrams=30, size=100, mtu=1500)
        counted.drain()
    assert counted.ignored("local") == stays.wire
    assert counted.by_key() == {
        WireKey(s.src, s.dst, s.protocol): s.wire for s in (leaves, arrives)
    }


@families
def test_with_skip_inbound_arriving_traffic_makes_no_flow(lab: Lab, family: Family) -> None:
    node, a, far = lab.node("a1"), lab.pod("a1-p1"), lab.pod("b1-p1")
    with attached(node) as maps:
        tell_devices(maps, node, skip_inbound=True)
        counted = Counted(Spool(maps))
        [leaves] = traffic.udp(a, far, family, datagrams=20, size=100, mtu=1500)
        [arrives] = traffic.udp(far, a, family, datagrams=30, size=100, mtu=1500)
        counted.drain()
    assert counted.ignored("inbound") == arrives.wire
    assert counted.by_key() == {WireKey(leaves.src, leaves.dst, leaves.protocol): leaves.wire}


def test_a_switch_of_buffers_keeps_the_roles_of_devices(lab: Lab) -> None:
    node, a, b = lab.node("a1"), lab.pod("a1-p1"), lab.pod("a1-p2")
    with attached(node) as maps:
        tell_devices(maps, node, skip_inbound=False)
        counted = Counted(Spool(maps)).drain().drain()
        [stays] = traffic.udp(a, b, 4, datagrams=10, size=100, mtu=1500)
        assert counted.drain().ignored("local") == stays.wire


def test_a_program_that_is_not_drained_goes_dormant_until_the_next_drain(lab: Lab) -> None:
    a, b = lab.pod("a1-p1"), lab.pod("b1-p1")
    tick = time.clock_getres(CLOCK_MONOTONIC_COARSE)
    with counting(lab.node("a1"), Settings(dormant_seconds=2 * tick)) as counted:
        [first] = traffic.udp(a, b, 4, datagrams=1, size=100, mtu=1500)
        began = time.monotonic()
        while time.monotonic() < began + 8 * tick:
            pass  # until enough jiffies have passed
        [late] = traffic.udp(a, b, 4, datagrams=10, size=100, mtu=1500, port=20_001)
        [more] = traffic.udp(a, b, 4, datagrams=1, size=100, mtu=1500)
        counted.drain()
        assert counted.missed("dormant") == late.wire
        assert counted.accounted == first.wire.plus(more.wire)
        traffic.udp(a, b, 4, datagrams=1, size=100, mtu=1500)
        assert counted.drain().accounted == Counts(3, 3 * 128)
