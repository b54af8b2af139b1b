"""Findings about uplinks and bypasses, from made-up devices and files."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from kzn.agent.devices.datapath import NODE_CONFIG, TCX, Facts, SwitchedUplink
from kzn.agent.doctor import bypass, network
from kzn.agent.doctor.attached import priorities
from kzn.agent.doctor.devices import Interface
from kzn.agent.doctor.finding import Host, State
from kzn.errors import KznError
from kzn.libbpf.links import NetfilterLinkInfo
from kzn.probes.postrouting import PRIORITIES, PROBE

ETH = Interface(2, "eth0", "", 1500, 65536, 65536)
POD = Interface(3, "veth1", "veth", 1500, 65536, 65536)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path / "proc", tmp_path / "sys", tmp_path / "run")


def put(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_uplinks_are_reported_with_their_mtu() -> None:
    uplinks, big = network.uplinks([ETH, POD], {2})
    assert (uplinks.state, uplinks.message) == ("ok", "leading off this node: eth0 (MTU 1500)")
    assert big.message.startswith("off: ")


def test_without_an_uplink_the_hint_is_to_use_the_nodes_namespace() -> None:
    [finding] = network.uplinks([POD], set())
    assert finding.state == "warn"
    assert "hostNetwork" in finding.hint


def test_any_number_of_uplinks_is_fine() -> None:
    many = [Interface(n, f"eth{n}", "", 1500) for n in range(40)]
    finding, _ = network.uplinks(many, set(range(40)))
    assert finding.state == "ok"
    assert "eth39" in finding.message


@pytest.mark.parametrize("sizes", [(524280, 65536), (65536, 180000)])
def test_big_tcp_is_reported_for_either_family(sizes: tuple[int, int]) -> None:
    _, finding = network.uplinks([Interface(2, "eth0", "", 1500, *sizes)], {2})
    assert finding.message.startswith("on for eth0")
    assert finding.state == "ok"


@pytest.mark.parametrize(
    ("is_tracked", "count", "state"),
    [
        (True, "0", "ok"),
        (False, "5", "warn"),
        (None, "5", "ok"),
        (None, "0", "warn"),
        (None, None, "warn"),
        (False, None, "warn"),
    ],
)
def test_conntrack_is_judged_by_the_packet_of_the_proof_before_the_entries(
    host: Host, is_tracked: bool | None, count: str | None, state: State
) -> None:
    if count is not None:
        put(host.proc / "sys/net/netfilter/nf_conntrack_count", count)
    [finding] = network.conntrack(host, is_tracked=is_tracked)
    assert finding.state == state


FLOWTABLES = """{"nftables": [{"metainfo": {"version": "1.0.6", "json_schema_version": 1}},
{"flowtable": {"family": "inet", "name": "f", "table": "t", "handle": 3, "hook": "ingress",
"prio": 0, "dev": ["eth0", "eth1"]}}, {"flowtable": {"family": "ip", "name": "g", "table": "t",
"handle": 4, "hook": "ingress", "prio": 0, "dev": "eth0"}},
{"flowtable": {"family": "ip", "name": "h", "table": "t", "handle": 5}}]}"""


def test_flowtables_are_listed_with_their_devices() -> None:
    assert network.listed_flowtables(FLOWTABLES) == [
        "inet t f on eth0 eth1",
        "ip t g on eth0",
        "ip t h on no device",
    ]
    assert network.listed_flowtables('{"nftables": []}') == []


@pytest.mark.parametrize(
    "text", ["", "[]", '{"nftables": [1]}', '{"nftables": [{"flowtable": 5}]}']
)
def test_output_that_is_not_a_list_of_flowtables_is_an_error(text: str) -> None:
    with pytest.raises(KznError, match="a list of flowtables"):
        network.listed_flowtables(text)


@pytest.mark.parametrize(
    ("flags", "words"), [("", "--probe tcx"), (', "flags": "offload"', "no probe sees")]
)
def test_a_flowtable_that_a_card_works_by_itself_is_seen_by_no_probe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: Host, flags: str, words: str
) -> None:
    table = '{"family": "inet", "name": "f", "table": "t", "handle": 3, "dev": "eth0"' + flags
    nft = tmp_path / "nft"
    nft.write_text(f'#!/bin/sh\necho \'{{"nftables": [{{"flowtable": {table}}}}}]}}\'\n')
    nft.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    [finding] = network.flowtables(host)
    assert finding.state == "warn"
    assert "inet t f on eth0" in finding.message
    assert ("(offload)" in finding.message) == bool(flags)
    assert words in finding.hint


@pytest.mark.parametrize(("loaded", "state"), [(False, "unknown"), (True, "warn")])
def test_without_nft_a_loaded_module_is_a_warning(
    host: Host, monkeypatch: pytest.MonkeyPatch, loaded: bool, state: State
) -> None:
    monkeypatch.setenv("PATH", "")
    if loaded:
        put(host.sys / "module/nf_flow_table/refcnt", "1")
    [finding] = network.flowtables(host)
    assert finding.state == state


def dev(name: str, kind: str = "veth") -> Interface:
    return Interface(9, name, kind, 1500)


def header(define: str) -> str:
    return f"#define ENCAP_IFINDEX 3\n{define}\n"


@pytest.mark.parametrize(
    ("devices", "config", "state", "words"),
    [
        ([], None, "ok", "neither its devices nor its maps exist"),
        ([dev("cilium_host"), dev("cilium_net")], None, "unknown", "native routing"),
        ([dev("cilium_host"), dev("cilium_vxlan", "vxlan")], "", "unknown", "tunnel routing"),
        ([dev("cilium_host")], "#define ENABLE_HOST_ROUTING 1", "warn", "eBPF host routing"),
        ([dev("cilium_host")], "#define ENABLE_HOST_ROUTING", "warn", "eBPF host routing"),
        ([dev("cilium_host")], "#define ENABLE_HOST_ROUTING 0", "unknown", "is not visible"),
        ([dev("cilium_host"), dev("lxc1", "netkit")], "", "warn", "netkit"),
    ],
)
def test_the_routing_mode_of_cilium(
    host: Host, devices: Sequence[Interface], config: str | None, state: State, words: str
) -> None:
    if config is not None:
        put(host.run / NODE_CONFIG, header(config))
    [finding] = bypass.cilium(host, devices)
    assert finding.state == state
    assert words in finding.message
    assert bool(finding.hint) == (state != "ok")


def test_cilium_is_also_found_by_its_pinned_maps(host: Host) -> None:
    put(host.sys / "fs/bpf/tc/globals/cilium_ipcache")
    [finding] = bypass.cilium(host, [])
    assert finding.state == "unknown"
    assert "cilium_ipcache" in finding.message


def states(host: Host, devices: Sequence[Interface]) -> dict[str, State]:
    return {finding.name: finding.state for finding in bypass.other_datapaths(host, devices)}


def test_other_datapaths_are_found_by_devices_and_modules(host: Host) -> None:
    names = ("Open vSwitch", "ipvlan, macvlan", "SR-IOV")
    assert states(host, [ETH, POD]) == dict.fromkeys(names, "ok")
    assert states(host, [dev("ovs-system", "openvswitch")])["Open vSwitch"] == "warn"
    assert states(host, [dev("mv0", "macvlan")])["ipvlan, macvlan"] == "warn"
    [finding] = [f for f in bypass.other_datapaths(host, [dev("mv0", "macvlan")]) if f.hint]
    assert "--probe tcx" in finding.hint
    put(host.sys / "module/ipvlan/refcnt")
    assert states(host, [ETH])["ipvlan, macvlan"] == "unknown"
    put(host.sys / "class/net/eth0/device/sriov_numvfs", "8\n")
    assert states(host, [ETH])["SR-IOV"] == "warn"


@pytest.mark.parametrize(
    ("facts", "name", "state", "words"),
    [
        (Facts(), "pods' devices", "ok", "no eBPF program"),
        (Facts(may_have_more=True), "pods' devices", "unknown", "not permitted"),
        (Facts(netkit=("lxc1",)), "pods' devices", "warn", "netkit (lxc1)"),
        (Facts(programs={"cali1": frozenset({TCX})}), "pods' devices", "unknown", "(cali1)"),
        (Facts(programs={"eni1": frozenset({"handle_egress"})}), "pods' devices", "ok", ""),
        (Facts(redirected={"veth1": ("eth0",)}), "pods' devices", "warn", "(veth1) by eth0"),
        (Facts(has_calico=True), "pods' devices", "unknown", "Calico"),
        (Facts(), "bridges", "ok", "none"),
        (
            Facts(switched=(SwitchedUplink("br1", "bridge", ("eth1",)),)),
            "bridges",
            "warn",
            "(br1 to eth1) bypasses netfilter: br_netfilter is off or not loaded",
        ),
    ],
)
def test_what_redirects_pods_packets_is_reported_with_what_to_do(
    facts: Facts, name: str, state: State, words: str
) -> None:
    [finding] = [finding for finding in bypass.redirects(facts) if finding.name == name]
    assert finding.state == state
    assert words in finding.message
    assert bool(finding.hint) == (state != "ok")


def link(priority: int, family: str = "ipv4", hook: int = 4) -> NetfilterLinkInfo:
    return NetfilterLinkInfo(1, 1, family, priority, hook)


def test_taken_priorities_of_the_hook_are_listed() -> None:
    ipv4, ipv6 = priorities(PROBE, [link(50), link(-200), link(50), link(51, hook=0)])
    assert (ipv4.state, ipv6.state) == ("ok", "ok")
    assert "BPF programs are at -200, 50 " in ipv4.message
    assert "no BPF program" in ipv6.message
    full, _ = priorities(PROBE, [link(priority) for priority in PRIORITIES])
    assert full.state == "warn"
