"""Every probe with every kind of traffic counts the uplink's bytes exactly, or is refused."""

import socket
import subprocess
import sys
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cells import FAMILIES, PROBES, TRAFFIC
from matrix import REFUSED
from overlay import INNER_MTU, vxlan
from programs import Programs
from test_wire_bytes import super_packets

from kzn.lab import traffic
from kzn.lab.lab import Lab
from kzn.lab.traffic import Family
from kzn.lab.witness import WireKey
from kzn.probes.registry import find, installed

NUMBERS: dict[str, Family] = {"ipv4": 4, "ipv6": 6}
BULK = 2_000_000
MTU = 1500


@pytest.mark.parametrize("kind", TRAFFIC)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", PROBES)
def test_a_probe_counts_the_bytes_of_the_uplink_exactly_or_is_refused_with_a_reason(
    lab: Lab, programs: Programs, cell: dict[str, Any], name: str, family: str, kind: str
) -> None:
    cell |= {"probe": name, "family": family, "traffic": kind}
    if name in REFUSED:
        assert_refused(name)
        cell |= {"result": "refused", "reason": REFUSED[name]}
        return
    probe, node = find(name, installed()), lab.node("a1")
    overlay = vxlan(lab) if kind.startswith("vxlan") else nullcontext()
    with overlay, programs.attached(lab, node, probe) as counted:
        before = lab.uplink_counters(node)
        key, segmented = send(lab, NUMBERS[family], kind)
        sent = lab.uplink_counters(node).since(before)
        counted.drain()
    assert counted.by_key() == {key: sent.tx_wire}
    assert counted.missed("parse").packets == 0
    assert segmented, "packets were not segmented or fragmented as this kind of traffic requires"
    cell |= {"result": "exact", "packets": sent.tx_packets, "bytes": sent.tx_wire.bytes}


def send(lab: Lab, family: Family, kind: str) -> tuple[WireKey, bool]:
    """Send one kind of traffic; its flow, and whether it was cut up as the kind requires."""
    a, b = lab.pod("a1-p1"), lab.pod("b1-p1")
    here, there = traffic.addresses(a, b, family)
    mtu = INNER_MTU if kind.startswith("vxlan") else MTU
    if kind.endswith("tcp"):
        with super_packets(lab.node("a1")) as lengths:
            traffic.tcp_bulk(a, b, family, size=BULK)
            return WireKey(here, there, socket.IPPROTO_TCP), max(lengths()) > 2 * MTU
    size = 4000 if kind == "fragments" else 700
    [sent] = traffic.udp(a, b, family, datagrams=200, size=size, mtu=mtu)
    assert sent.wire is not None
    cut = sent.wire.packets > 200
    return WireKey(here, there, socket.IPPROTO_UDP), cut == (kind == "fragments")


@cache
def refusal(name: str) -> subprocess.CompletedProcess[str]:
    """The agent's exit code and output when started with a probe that this kernel lacks."""
    command = [sys.executable, "-m", "kzn.cli.main", "agent", "--print", "--probe", name]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def assert_refused(name: str) -> None:
    """Assert the exit code, the reason, a hint, and that nothing is pinned."""
    done = refusal(name)
    assert done.returncode == 3, done.stderr
    assert REFUSED[name] in done.stderr
    assert "hint:" in done.stderr
    assert "Traceback" not in done.stderr
    assert not Path("/sys/fs/bpf/kzn").exists()
