"""kzn doctor on a real node: its proof with a real packet, and its findings where that fails."""

import json
import os
import random
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from subprocess import CompletedProcess

import pytest
import site_of_a1 as sites
from counting import difference
from site_of_a1 import Site
from test_takeover import Node
from test_takeover import detach as remove_pins

from kzn.agent.doctor import process
from kzn.agent.doctor.devices import interfaces
from kzn.agent.doctor.finding import Finding
from kzn.agent.doctor.proof import prove
from kzn.agent.select.selftest import Net, Sent
from kzn.lab import namespaces, traffic
from kzn.lab.lab import Lab
from kzn.lab.witness import WireKey
from kzn.libbpf.links import NF_INET_POST_ROUTING, attach_netfilter, detach
from kzn.libbpf.pins import open_pin
from kzn.model.totals import Counts
from kzn.probes.attach import load
from kzn.probes.postrouting import PRIORITIES, PROBE
from kzn.probes.settings import Settings

UNPRIVILEGED = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--")
IPV4_HEADER = 20
IPV4_BYTES, IPV6_BYTES = 78, 98
"""A datagram of 50 bytes with its headers."""


@pytest.fixture
def site(lab: Lab) -> Iterator[Site]:
    """Node a1, with no agent yet."""
    with sites.made(lab, "doctor") as site:
        yield site


def run(site: Site, *options: str, prefix: tuple[str, ...] = ()) -> CompletedProcess[str]:
    """The doctor on node a1, which must log nothing."""
    done = site.kzn("doctor", "--pin-dir", str(site.pin_dir), *options, prefix=prefix)
    assert done.stderr == ""
    return done


def findings(done: CompletedProcess[str]) -> dict[str, Finding]:
    return {row["name"]: Finding(**row) for row in json.loads(done.stdout)}


@contextmanager
def rules(site: Site, *lines: str) -> Iterator[None]:
    """Rules of nftables on node a1, in a table of their own."""
    node = site.lab.node("a1").namespace
    text = ["add table inet doctor", *(f"add {line}" for line in lines)]
    done = site.lab.run(node, ["nft", "; ".join(text)])
    assert done.returncode == 0, done.stderr
    try:
        yield
    finally:
        site.lab.run(node, ["nft", "delete table inet doctor"])


@contextmanager
def taken(site: Site, priorities: tuple[int, ...]) -> Iterator[None]:
    """Programs of another owner at priorities of IPv4 POSTROUTING on node a1."""
    with ExitStack() as stack:
        stack.enter_context(namespaces.inside(site.lab.node("a1").namespace))
        program = stack.enter_context(load(PROBE, Settings(max_flows=16)))
        for priority in priorities:
            fd = program.program_fd("postrouting_ipv4")
            link = attach_netfilter(fd, "ipv4", NF_INET_POST_ROUTING, priority, "another")
            stack.callback(os.close, link)
        yield


OUTPUT = "chain inet doctor out { type filter hook output priority 0 ; }"


def sent_to_documentation(lab: Lab, before: Mapping[WireKey, Counts]) -> list[Counts]:
    """Packets sent over the wire to documentation addresses since then."""
    found = difference(before, lab.carried())
    return [n for key, n in found.items() if key.dst.startswith(("198.51.100.", "2001:db8:"))]


def test_the_proof_is_a_packet_on_the_wire_and_leaves_nothing_attached(site: Site) -> None:
    before, pinned = site.lab.carried(), sorted(site.pin_dir.parent.rglob("*"))
    done = run(site, "--json")
    found = findings(done)
    assert done.returncode == 0, done.stdout
    for family, size in (("ipv4", IPV4_BYTES), ("ipv6", IPV6_BYTES)):
        assert found[f"proof {family}"].state == "ok"
        assert found[f"proof {family}"].message.endswith(f"sent and counted: {size} bytes")
    assert sorted(sent_to_documentation(site.lab, before)) == [(1, IPV4_BYTES), (1, IPV6_BYTES)]
    assert sorted(site.pin_dir.parent.rglob("*")) == pinned
    with taken(site, PRIORITIES[:1]):  # EBUSY if the doctor's link were still there
        pass


def test_a_hash_that_is_nearly_full_is_a_warning(lab: Lab) -> None:
    node = Node(lab, lab.pin_dir(lab.node("a1")).parent / "filled", PROBE)
    maps, _ = node.start(Settings(max_flows=4))
    with maps:
        a, b = lab.pod("a1-p1"), lab.pod("b1-p1")
        for port in range(5400, 5430):
            traffic.udp(a, b, 4, datagrams=1, size=10, mtu=1500, port=port)
    [finding] = process.filled(node.pin_dir)
    assert (finding.name, finding.state) == ("filled postrouting", "warn")
    assert "8 of 8 rows and 4 of 4 entries" in finding.message
    remove_pins(node)


def test_an_agent_on_the_node_loses_nothing_by_the_proof(site: Site) -> None:
    server = site.server()
    site.agent()
    sent = site.send(20)
    found = findings(run(site, "--json"))
    assert found["proof ipv4"].state == found["proof ipv6"].state == "ok"
    assert found["pinned postrouting/ipv4"].state == found["pinned postrouting/ipv6"].state == "ok"
    assert found["pins"].message.endswith("postrouting (on 2 hooks)")
    assert found["filled postrouting"].state == "ok"
    assert "of 131072 rows" in found["filled postrouting"].message
    assert "are at 50" in found["priorities ipv4"].message
    more = site.send(7)
    assert server.gets(site.key, sent.plus(more))


def test_a_pinned_hook_that_was_detached_is_a_failure_although_the_probe_counts(site: Site) -> None:
    site.server()
    site.agent().kill()
    detach(open_pin(site.pin_dir / "postrouting" / "link_ipv4"), "link_ipv4")
    done = run(site, "--json")
    found = findings(done)
    assert found["pinned postrouting/ipv4"].state == "fail"
    assert "not counted by the programs pinned in" in found["pinned postrouting/ipv4"].message
    assert found["pinned postrouting/ipv6"].state == "ok"
    assert found["proof ipv4"].state == "ok"
    assert done.returncode == 3


def test_uplinks_are_reported_with_their_sizes(site: Site) -> None:
    node = site.lab.node("a1")
    found = findings(run(site, "--json", "--no-proof"))
    assert found["uplinks"].message == f"leading off this node: {node.uplink} (MTU 1500)"
    assert found["BIG TCP"].message.startswith("off: ")
    site.lab.configure(node.namespace, [f"link set {node.uplink} gso_max_size 200000"])
    try:
        found = findings(run(site, "--json", "--no-proof"))
        with namespaces.inside(node.namespace):
            [uplink] = [device for device in interfaces() if device.name == node.uplink]
    finally:
        site.lab.configure(node.namespace, [f"link set {node.uplink} gso_max_size 65536"])
    assert found["BIG TCP"].message.startswith(f"on for {node.uplink} (IPv6 200000, IPv4 ")
    assert (uplink.gso_max, uplink.gso_ipv4_max) == (200000, 65536)


def test_conntrack_is_checked_by_the_packet_of_the_proof(site: Site) -> None:
    assert findings(run(site, "--json"))["conntrack"].state == "warn"
    with rules(site, OUTPUT, "rule inet doctor out ct state new"):
        found = findings(run(site, "--json"))
    assert found["conntrack"].state == "ok"
    assert "the packet sent by the proof had an entry" in found["conntrack"].message


def test_a_firewall_that_forbids_the_packet_is_not_reported_as_a_broken_hook(site: Site) -> None:
    with rules(site, OUTPUT, "rule inet doctor out ip daddr 198.51.100.0/24 drop"):
        done = run(site, "--json")
    found = findings(done)
    assert found["proof ipv4"].state == "unknown"
    assert "Operation not permitted" in found["proof ipv4"].message
    assert found["proof ipv6"].state == "ok"
    assert done.returncode == 0


def test_a_packet_that_never_reaches_the_hook_is_a_failure(site: Site) -> None:
    def sent_nowhere(net: Net, dst: str, port: int) -> Sent:
        src = "10.0.1.2" if net.header == IPV4_HEADER else "fd00::2"
        return Sent(src, dst, port, send_error="")

    with namespaces.inside(site.lab.node("a1").namespace):
        proof = prove(PROBE, random.Random(1), sent_nowhere)
    assert [finding.state for finding in proof.findings] == ["fail", "fail"]
    assert "a packet from 10.0.1.2 to 198.51.100." in proof.findings[0].message
    assert "did not pass the hook" in proof.findings[0].message
    assert proof.is_tracked is None


def test_without_a_route_packets_over_loopback_are_the_proof(site: Site) -> None:
    node = site.lab.node("a1")
    site.lab.ip(["-n", node.namespace, "route", "del", "default"])
    try:
        before = site.lab.carried()
        found = findings(run(site, "--json"))
    finally:
        gateway = f"10.0.{node.number}.1"
        site.lab.ip(["-n", node.namespace, "route", "add", "default", "via", gateway])
    assert found["proof ipv4"].state == "ok"
    assert "no route leads off this node (Network is unreachable)" in found["proof ipv4"].message
    assert "packets over loopback passed the hook" in found["proof ipv4"].message
    assert sent_to_documentation(site.lab, before) == [(1, IPV6_BYTES)]


def test_the_proof_fails_with_a_reason_when_all_priorities_are_in_use(site: Site) -> None:
    with taken(site, PRIORITIES):
        done = run(site, "--json")
    found = findings(done)
    assert done.returncode == 3
    assert found["proof"].state == "fail"
    assert "priorities 1 to 99 are all taken" in found["proof"].message
    assert found["priorities ipv4"].state == "warn"


def test_without_capabilities_it_checks_the_rest_and_reports_what_it_could_not(site: Site) -> None:
    done = run(site, "--json", prefix=UNPRIVILEGED)
    found = findings(done)
    assert done.returncode == 3
    assert found["capabilities"].state == "fail"
    for name in ("load postrouting", "proof", "priorities", "flowtables"):
        assert found[name].state == "unknown", name
        assert found[name].hint
    assert found["uplinks"].state == "ok"


@pytest.mark.parametrize("columns", ["60", "80", "120"])
def test_the_table_fits_the_terminal_and_has_every_finding(site: Site, columns: str) -> None:
    done = run(site, "--no-proof", prefix=("env", f"COLUMNS={columns}"))
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= int(columns)
    names = [line.split("  ")[0] for line in lines if not line.startswith(" ")]
    assert {"BTF", "hook", "kfuncs", "capabilities", "bpffs", "proof", "Cilium"} <= set(names)
