"""Runs every check of `kzn doctor` once; a check that fails to run is a finding as well.

In: an `Examination`. Out: findings. Never: a change to the node that remains.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kzn.agent.config import PIN_DIR
from kzn.agent.devices.datapath import read_facts
from kzn.agent.devices.table import read_devices
from kzn.agent.doctor import bypass, kernel, network, process
from kzn.agent.doctor.attached import priorities
from kzn.agent.doctor.devices import Interface, interfaces
from kzn.agent.doctor.finding import Finding, Host, checked
from kzn.agent.doctor.proof import Proof, prove
from kzn.agent.select.preview import preview_auto
from kzn.errors import UsageError
from kzn.libbpf.links import all_netfilter_links
from kzn.probes import registry
from kzn.probes.declaration import Probe


@dataclass(frozen=True, slots=True)
class Examination:
    """The options of an examination; without ``proof`` nothing is attached or sent."""

    pin_dir: Path = PIN_DIR
    probe: str = "auto"
    proof: bool = True
    host: Host = Host()


def examine(wanted: Examination) -> list[Finding]:
    """All findings, the most basic first. UsageError for a probe that is not installed."""
    candidates = registry.candidates(wanted.probe, registry.installed())
    selected, why = preview_auto(candidates, wanted.pin_dir)
    probe = selected or next(iter(candidates), None)
    if probe is None:
        raise UsageError(why, hint="name a probe: --probe NAME; kzn probes lists them")
    proof = _proof(wanted, probe)
    return [
        *_machine(wanted, probe),
        *proof.findings,
        *_network(wanted, proof.is_tracked),
    ]


def _machine(wanted: Examination, probe: Probe) -> Iterator[Finding]:
    host = wanted.host
    yield from checked("BTF", lambda: kernel.features(host, probe))
    yield from checked("JIT", lambda: kernel.jit(host))
    yield from checked("lockdown", lambda: kernel.confinement(host))
    yield from checked("libbpf", process.libbpf)
    yield from checked("capabilities", lambda: process.capabilities(host, probe))
    yield from checked("bpffs", lambda: process.bpffs(wanted.pin_dir))
    yield from checked("memory", lambda: _memory(wanted))
    yield from checked("filled", lambda: process.filled(wanted.pin_dir))
    if probe.netfilter_hooks():
        yield from checked("priorities", lambda: priorities(probe, all_netfilter_links()))
    yield from checked(f"load {probe.name}", lambda: process.trial_load(host, probe))


def _memory(wanted: Examination) -> Iterator[Finding]:
    return process.memory(wanted.host, process.pinned_flows(wanted.pin_dir))


def _proof(wanted: Examination, probe: Probe) -> Proof:
    if not wanted.proof:
        return Proof((Finding("proof", "unknown", "skipped by --no-proof"),))
    if process.missing_capabilities(wanted.host, probe):
        message = "not tried: this process lacks the capabilities to attach programs"
        return Proof((Finding("proof", "unknown", message, "run as root"),))
    return prove(probe, random.SystemRandom(), pin_dir=wanted.pin_dir)


def _network(wanted: Examination, is_tracked: bool | None) -> Iterator[Finding]:
    host, devices = wanted.host, list[Interface]()

    def check_uplinks() -> Iterator[Finding]:
        devices.extend(interfaces())
        found = [device.index for device in read_devices().outermost() if device.is_up]
        yield from network.uplinks(devices, found)

    yield from checked("uplinks", check_uplinks)
    yield from checked("conntrack", lambda: network.conntrack(host, is_tracked=is_tracked))
    yield from checked("flowtables", lambda: network.flowtables(host))
    yield from checked("Cilium", lambda: bypass.cilium(host, devices))
    yield from checked(
        "pods' devices",
        lambda: bypass.redirects(read_facts(read_devices(), wanted.pin_dir)),
    )
    yield from checked("datapaths", lambda: bypass.other_datapaths(host, devices))
