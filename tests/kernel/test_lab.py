"""The lab: its witness counts exactly, and nothing is left behind."""

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kzn.lab import traffic
from kzn.lab.lab import Lab
from kzn.lab.namespaces import NAMES
from kzn.lab.traffic import Family
from kzn.lab.witness import WireKey
from kzn.model.totals import Counts

MOUNTS = Path("/proc/self/mounts")
FAMILIES: tuple[Family, Family] = (4, 6)


def tcp_key(lab: Lab, family: Family) -> WireKey:
    src, dst = traffic.addresses(lab.pod("a1-p1"), lab.pod("b1-p1"), family)
    return WireKey(src, dst, socket.IPPROTO_TCP)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("size", [0, 1, 1472, 1473, 4000, 60000])
def test_the_witness_counts_udp_as_computed_from_payload_and_headers(
    lab: Lab, family: Family, size: int
) -> None:
    before = lab.carried()
    [sent] = traffic.udp(
        lab.pod("a1-p1"), lab.pod("b1-p2"), family, datagrams=40, size=size, mtu=1500
    )
    key = WireKey(sent.src, sent.dst, sent.protocol)
    was, now = before.get(key, Counts()), lab.carried()[key]
    assert Counts(now.packets - was.packets, now.bytes - was.bytes) == sent.wire


@pytest.mark.parametrize("family", FAMILIES)
def test_the_witness_counts_echo_in_both_directions(lab: Lab, family: Family) -> None:
    there, back = traffic.echo(
        lab.pod("a1-p2"), lab.pod("b1-p1"), family, requests=50, size=2000, mtu=1500
    )
    carried = lab.carried()
    for sent in (there, back):
        assert carried[WireKey(sent.src, sent.dst, sent.protocol)] == sent.wire


@pytest.mark.parametrize("mtu", [1500, 9001])
@pytest.mark.parametrize("family", FAMILIES)
def test_tcp_leaves_the_pod_in_super_packets_and_the_node_in_segments(
    make_lab: Callable[..., Lab], mtu: int, family: Family
) -> None:
    lab = make_lab(mtu=mtu, pods_per_node=1)
    source, node = lab.pod("a1-p1"), lab.node("a1")
    traffic.tcp_bulk(source, lab.pod("b1-p1"), family, size=20_000_000)
    carried = lab.carried()[tcp_key(lab, family)]
    segment = mtu - traffic.IP_HEADER[family] - 32
    assert carried.packets >= 20_000_000 // segment
    assert carried.bytes == 20_000_000 + carried.packets * (mtu - segment) + 8
    assert super_packets(lab, source.veth) * 3 < carried.packets
    uplink = lab.uplink_counters(node)
    assert uplink.tx_wire == lab.carried_by(node)
    assert uplink.tx_wire.packets <= carried.packets + 8  # and a few multicast reports


def super_packets(lab: Lab, veth: str) -> int:
    listed = lab.run(
        lab.node("a1").namespace, ["cat", f"/sys/class/net/{veth}/statistics/rx_packets"]
    )
    return int(listed.stdout)


@pytest.mark.parametrize("family", FAMILIES)
def test_both_counters_of_the_witness_agree_to_the_byte(lab: Lab, family: Family) -> None:
    for source, target in (("a1-p1", "b1-p1"), ("b1-p2", "a1-p2")):
        pods = lab.pod(source), lab.pod(target)
        traffic.tcp_calls(*pods, family, calls=50, ask=100, answer=20_000)
        traffic.udp(*pods, family, datagrams=50, size=3000, mtu=1500)
    for node in lab.nodes:
        assert lab.uplink_counters(node).tx_wire == lab.carried_by(node)


def test_pods_of_one_node_do_not_use_the_uplink(lab: Lab) -> None:
    before = {node.name: lab.uplink_counters(node).tx_wire for node in lab.nodes}
    traffic.udp(lab.pod("a1-p1"), lab.pod("a1-p2"), 4, datagrams=10, size=100, mtu=1500)
    assert {node.name: lab.uplink_counters(node).tx_wire for node in lab.nodes} == before


def test_each_node_has_a_pin_directory_on_a_bpffs(lab: Lab) -> None:
    for node in lab.nodes:
        found = lab.run(node.namespace, ["stat", "-f", "-c", "%T", str(lab.pin_dir(node).parent)])
        assert found.stdout.strip() == "bpf_fs"


HOLDER = """
import sys
from kzn.lab.lab import Lab
with Lab("kzntesthold", pods_per_node=1) as lab:
    child = lab.popen(lab.node("a1").namespace, ["sleep", "1000"])
    print(child.pid, flush=True)
    sys.stdin.read()
"""


@pytest.mark.usefixtures("lab")
@pytest.mark.parametrize("how", [None, signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_of_the_lab_is_left_after_any_end_of_its_owner(how: signal.Signals | None) -> None:
    mounts, names = MOUNTS.read_text(), known_namespaces()
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as holder:
        assert holder.stdout is not None
        child = int(holder.stdout.readline())
        watch = os.pidfd_open(child)
        if how is not None:
            holder.send_signal(how)
        holder.communicate(timeout=20)
    assert ended(watch)
    assert MOUNTS.read_text() == mounts
    assert known_namespaces() == names


def known_namespaces() -> set[str]:
    return {entry.name for entry in NAMES.iterdir()}


def ended(pidfd: int) -> bool:
    readable, _, _ = select.select([pidfd], [], [], 10)
    return bool(readable)
