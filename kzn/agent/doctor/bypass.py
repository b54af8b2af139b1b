"""Findings about datapaths that bypass netfilter: Cilium, Open vSwitch, ipvlan, SR-IOV."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from kzn.agent.doctor.devices import Interface
from kzn.agent.doctor.finding import Finding, Host, text_of

NODE_CONFIG = "cilium/state/globals/node_config.h"
HOST_ROUTING = "#define ENABLE_HOST_ROUTING"
"""What Cilium's agent writes there when eBPF host routing is on, in releases before it became a
setting of the loaded programs (cilium/cilium pull request 46791)."""
USE_TCX = "count at the uplinks (--probe auto or tcx), or set bpf.hostLegacyRouting=true in helm"


def cilium(host: Host, devices: Sequence[Interface]) -> Iterator[Finding]:
    """Whether Cilium runs here, and whether the packets of its pods bypass netfilter."""
    own = sorted(device.name for device in devices if device.name.startswith("cilium_"))
    pins = _pins(host.sys / "fs/bpf")
    name = "Cilium"
    if not own and not pins:
        yield Finding(name, "ok", "not here: neither its devices nor its maps exist")
        return
    tunnel = [device for device in own if device in ("cilium_vxlan", "cilium_geneve")]
    seen = f"runs here ({', '.join(own) or pins}; {'tunnel' if tunnel else 'native'} routing)"
    config = text_of(host.run / NODE_CONFIG)
    if any(device.kind == "netkit" for device in devices):
        yield Finding(name, "warn", f"{seen} with netkit: pods' packets bypass netfilter", USE_TCX)
    elif config is not None and _defines(config):
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
        message = f"its datapath runs here ({', '.join(kinds)}): what it forwards is not counted"
        hint = "no probe of kzn counts it: keep in mind that it is missing"
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
        message = f"{', '.join(found)}: what pods send through such devices is not counted"
        return Finding(
            name,
            "warn",
            message,
            "give pods veth devices, or keep in mind that their traffic is missing",
        )
    loaded = [kind for kind in kinds if host.has_module(kind)]
    if loaded:
        message = f"{', '.join(loaded)} is loaded; devices inside pods are not visible from here"
        return Finding(
            name,
            "unknown",
            message,
            "check whether the CNI gives pods such devices: what they send is not counted",
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
        return Finding("SR-IOV", "warn", message, "keep in mind that their traffic is missing")
    return Finding("SR-IOV", "ok", "no network card has virtual functions")
