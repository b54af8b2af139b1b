"""Findings about datapaths that bypass netfilter: Cilium, Open vSwitch, ipvlan, SR-IOV."""

from collections.abc import Iterator, Sequence

from kzn.agent.devices import datapath
from kzn.agent.devices.datapath import NODE_CONFIG, Facts
from kzn.agent.doctor.devices import Interface
from kzn.agent.doctor.finding import Finding, Host, text_of

AT_UPLINKS = (
    "count at the uplinks (--probe tcx), which see them but for what stays on the node;"
    " postrouting sees ipvlan in modes L3 and L3S alone"
)
USE_TCX = "count at the uplinks (--probe auto or tcx), or set bpf.hostLegacyRouting=true in helm"


def cilium(host: Host, devices: Sequence[Interface]) -> Iterator[Finding]:
    """Whether Cilium runs here, and whether the packets of its pods bypass netfilter."""
    pins = datapath.cilium_pins(host.sys / "fs/bpf")
    found = datapath.find_cilium(devices, pins, text_of(host.run / NODE_CONFIG))
    name = "Cilium"
    if found is None:
        yield Finding(name, "ok", "not here: neither its devices nor its maps exist")
        return
    tunnel = {"cilium_vxlan", "cilium_geneve"}.intersection(found.devices)
    seen = f"runs here ({found.traces}; {'tunnel' if tunnel else 'native'} routing)"
    if found.has_netkit:
        yield Finding(name, "warn", f"{seen} with netkit: pods' packets bypass netfilter", USE_TCX)
    elif found.has_host_routing:
        yield Finding(
            name, "warn", f"{seen} with eBPF host routing: it bypasses netfilter", USE_TCX
        )
    else:
        yield Finding(
            name,
            "unknown",
            f"{seen}; whether it bypasses netfilter by eBPF host routing is not visible",
            "cilium-dbg status in its pod: `Host: Legacy` passes netfilter, `Host: BPF` does not",
        )


def redirects(facts: Facts) -> Iterator[Finding]:
    """Programs at pods' devices and switched uplinks, by which packets of pods miss netfilter."""
    yield _programs(facts)
    yield _switched(facts)


def _programs(facts: Facts) -> Finding:
    name = "pods' devices"
    if facts.netkit:
        message = f"netkit ({', '.join(facts.netkit)}): pods' packets bypass netfilter"
        return Finding(name, "warn", message, "count at the uplinks (--probe auto or tcx)")
    if facts.redirected:
        to = sorted({device for devices in facts.redirected.values() for device in devices})
        message = (
            f"tc filters send what pods send ({', '.join(sorted(facts.redirected))}) by"
            f" {', '.join(to)}: it bypasses netfilter"
        )
        return Finding(name, "warn", message, "count at the uplinks (--probe auto or tcx)")
    if facts.programmed:
        message = (
            f"eBPF programs see what pods send ({', '.join(facts.programmed)}); whether they"
            " redirect it past netfilter is not visible"
        )
        hint = "--probe auto counts at the uplinks; --probe postrouting if they only drop"
        return Finding(name, "unknown", message, hint)
    if facts.has_calico:
        message = "the eBPF data plane of Calico runs here: pods' packets may bypass netfilter"
        return Finding(name, "unknown", message, "--probe auto counts at the uplinks")
    if facts.may_have_more:
        message = "could not be checked: listing the programs of tcx is not permitted"
        return Finding(name, "unknown", message, "run as root")
    return Finding(name, "ok", "no eBPF program can redirect what pods send")


def _switched(facts: Facts) -> Finding:
    bridges = [switch for switch in facts.switched if switch.kind == "bridge"]
    if not bridges:
        return Finding("bridges", "ok", "none passes packets to an uplink past netfilter")
    found = ", ".join(f"{bridge.name} to {' and '.join(bridge.uplinks)}" for bridge in bridges)
    return Finding(
        "bridges",
        "warn",
        f"what is bridged ({found}) bypasses netfilter: br_netfilter is off or not loaded",
        "count at the uplinks (--probe auto or tcx), or load br_netfilter and set"
        " net.bridge.bridge-nf-call-iptables=1 and bridge-nf-call-ip6tables=1",
    )


def other_datapaths(host: Host, devices: Sequence[Interface]) -> Iterator[Finding]:
    """OVS, ipvlan and macvlan, and virtual functions of network cards."""
    yield _ovs(host, devices)
    yield _children(host, devices)
    yield _virtual_functions(host, devices)


def _ovs(host: Host, devices: Sequence[Interface]) -> Finding:
    kinds = [device.name for device in devices if device.kind == "openvswitch"]
    if kinds:
        message = f"its datapath runs here ({', '.join(kinds)}): what it forwards skips netfilter"
        hint = (
            "count at the uplinks (--probe auto or tcx): a port of it that leads off, or a tunnel's"
        )
        return Finding("Open vSwitch", "warn", message, hint)
    if host.has_module("openvswitch"):
        message = "its module is loaded, but it has no device in this network namespace"
        return Finding("Open vSwitch", "ok", message)
    return Finding("Open vSwitch", "ok", "not here")


def _children(host: Host, devices: Sequence[Interface]) -> Finding:
    name = "ipvlan, macvlan"
    kinds = ("ipvlan", "ipvtap", "macvlan", "macvtap")
    found = [f"{device.name} ({device.kind})" for device in devices if device.kind in kinds]
    if found:
        message = f"{', '.join(found)}: what pods send through such devices passes netfilter by"
        return Finding(name, "warn", message, AT_UPLINKS)
    loaded = [kind for kind in kinds if host.has_module(kind)]
    if loaded:
        message = f"{', '.join(loaded)} is loaded; devices inside pods are not visible from here"
        return Finding(
            name, "unknown", message, f"if the CNI gives pods such devices: {AT_UPLINKS}"
        )
    return Finding(name, "ok", "none in this network namespace")


def _virtual_functions(host: Host, devices: Sequence[Interface]) -> Finding:
    found = []
    for device in devices:
        number = text_of(host.sys / "class/net" / device.name / "device/sriov_numvfs")
        if number not in (None, "", "0"):
            found.append(f"{device.name} ({number})")
    if found:
        message = f"virtual functions of {', '.join(found)}: pods that own one are not counted"
        hint = "keep in mind that their traffic is missing: no probe sees it"
        return Finding("SR-IOV", "warn", message, hint)
    return Finding("SR-IOV", "ok", "no network card has virtual functions")
