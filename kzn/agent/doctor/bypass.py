"""Findings about datapaths that take packets past netfilter: Cilium, OVS, ipvlan, SR-IOV."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from kzn.agent.doctor.devices import Interface
from kzn.agent.doctor.finding import Finding, Host, text_of

NODE_CONFIG = "cilium/state/globals/node_config.h"
HOST_ROUTING = "#define ENABLE_HOST_ROUTING"
"""What Cilium's agent writes there when eBPF host routing is on (releases before it became a
setting of the loaded programs, cilium/cilium pull request 46791)."""
LEGACY = "helm: bpf.hostLegacyRouting=true; else the traffic of pods is not counted here"


def cilium(host: Host, devices: Sequence[Interface]) -> Iterator[Finding]:
    """Whether Cilium is there, and whether it sends packets of pods past netfilter."""
    own = sorted(device.name for device in devices if device.name.startswith("cilium_"))
    pins = _pins(host.sys / "fs/bpf")
    name = "Cilium"
    if not own and not pins:
        yield Finding(name, "ok", "neither its devices nor its maps are here")
        return
    tunnel = [device for device in own if device in ("cilium_vxlan", "cilium_geneve")]
    seen = f"is here ({', '.join(own) or pins}; {'tunnel' if tunnel else 'native'} routing)"
    config = text_of(host.run / NODE_CONFIG)
    if any(device.kind == "netkit" for device in devices):
        yield Finding(name, "warn", f"{seen} with netkit: pods' packets bypass netfilter", LEGACY)
    elif config is not None and _defines(config):
        yield Finding(name, "warn", f"{seen} with eBPF host routing: it bypasses netfilter", LEGACY)
    else:
        yield Finding(
            name,
            "unknown",
            f"{seen}; whether it routes by eBPF, past netfilter, cannot be seen from here",
            "cilium-dbg status in its pod: `Host: Legacy` is what kzn can count, `Host: BPF` not",
        )


def _defines(config: str) -> bool:
    lines = (line.strip() for line in config.splitlines())
    return any(line.startswith(HOST_ROUTING) and not line.endswith(" 0") for line in lines)


def _pins(bpffs: Path) -> str:
    folder = bpffs / "tc/globals"
    found = next(folder.glob("cilium_*"), None) or next(bpffs.glob("cilium"), None)
    return str(found) if found else ""


def other_datapaths(host: Host, devices: Sequence[Interface]) -> Iterator[Finding]:
    """OVS, ipvlan and macvlan, and virtual functions of network cards."""
    yield _ovs(host, devices)
    yield _children(host, devices)
    yield _virtual_functions(host, devices)


def _ovs(host: Host, devices: Sequence[Interface]) -> Finding:
    kinds = [device.name for device in devices if device.kind == "openvswitch"]
    if kinds:
        message = f"its datapath is here ({', '.join(kinds)}): what it forwards is not counted"
        hint = "kzn counts only what the host's IP stack routes; know what is missing"
        return Finding("Open vSwitch", "warn", message, hint)
    if host.has_module("openvswitch"):
        message = "its module is loaded, and it has no device in this network namespace"
        return Finding("Open vSwitch", "ok", message)
    return Finding("Open vSwitch", "ok", "is not here")


def _children(host: Host, devices: Sequence[Interface]) -> Finding:
    name = "ipvlan, macvlan"
    kinds = ("ipvlan", "ipvtap", "macvlan", "macvtap")
    found = [f"{device.name} ({device.kind})" for device in devices if device.kind in kinds]
    if found:
        message = f"{', '.join(found)}: what pods send through such devices is not counted"
        return Finding(name, "warn", message, "give pods veth devices, or know what is missing")
    loaded = [kind for kind in kinds if host.has_module(kind)]
    if loaded:
        message = f"{', '.join(loaded)} is loaded; devices inside pods cannot be seen from here"
        return Finding(name, "unknown", message, "does the CNI give pods such devices?")
    return Finding(name, "ok", "none in this network namespace")


def _virtual_functions(host: Host, devices: Sequence[Interface]) -> Finding:
    found = []
    for device in devices:
        number = text_of(host.sys / "class/net" / device.name / "device/sriov_numvfs")
        if number not in (None, "", "0"):
            found.append(f"{device.name} ({number})")
    if found:
        message = f"virtual functions are on: {', '.join(found)}; pods that own one are not counted"
        return Finding("SR-IOV", "warn", message, "know what is missing")
    return Finding("SR-IOV", "ok", "no network card has virtual functions on")
