"""Findings of the self-test: whether a probe counts a real packet.

A pinned set is what an agent ships, so each is tested; then the probe, attached for a moment.

In: a probe, a pin directory. Out: one finding for each set and family, and whether conntrack knew
the packets. Never: a new pin; a program of an agent on this node goes on counting.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kzn.agent.devices.table import read_devices
from kzn.agent.doctor.finding import Finding
from kzn.agent.pins import directory
from kzn.agent.pins.install import open_set, unpinned
from kzn.agent.select.selftest import SelfTestResult, Send, run_selftest, send_datagram
from kzn.errors import KznError
from kzn.probes.declaration import FAMILIES, Probe
from kzn.probes.settings import Settings


@dataclass(frozen=True, slots=True)
class Proof:
    """``is_tracked``: whether conntrack knew a packet; None when none was counted."""

    findings: tuple[Finding, ...]
    is_tracked: bool | None = None


def prove(
    probe: Probe, rng: random.Random, send: Send = send_datagram, pin_dir: Path | None = None
) -> Proof:
    """Attach, send, look, detach; each way in which that can fail is a finding.

    The sets in ``pin_dir`` are looked at first, whose hooks have to see the packet themselves.
    """
    pinned = tuple(_pinned(pin_dir, rng, send)) if pin_dir is not None else ()
    attached = _attached(probe, rng, send)
    return Proof((*pinned, *attached.findings), attached.is_tracked)


def _pinned(pin_dir: Path, rng: random.Random, send: Send) -> Iterator[Finding]:
    try:
        with directory.file_errors(pin_dir):
            folders = directory.current(pin_dir) if pin_dir.exists() else []
        for folder in folders:
            maps = open_set(folder)
            if maps is None:
                continue
            with maps:
                for family in FAMILIES:
                    [result] = run_selftest([family], maps, rng, send)
                    if result.outcome == "unseen":  # an agent may have cut and cleared meanwhile
                        [result] = run_selftest([family], maps, rng, send)
                    yield pinned_finding(folder, result)
    except KznError as error:
        sentence = error.message.partition("\n")[0]
        yield Finding("pinned probes", "unknown", sentence, error.hint or "run it again")


def pinned_finding(folder: Path, result: SelfTestResult) -> Finding:
    """The result of one family, of the programs pinned in a folder."""
    name = f"pinned {folder.name}/{result.family}"
    sent = result.sent
    if result.outcome == "unseen" and sent is not None:
        return Finding(
            name,
            "fail",
            f"a packet from {sent.src} to {sent.dst} was not counted by the programs pinned in"
            f" {folder}",
            "start the agent, or start it again: it attaches again what is detached;"
            " kzn detach removes what no agent uses",
        )
    found = finding(result)
    return Finding(name, found.state, found.message, found.hint)


def _attached(probe: Probe, rng: random.Random, send: Send) -> Proof:
    try:
        devices = [d for d in read_devices().outermost() if d.is_ethernet and d.is_up]
        with unpinned(probe, Settings(), devices) as maps:
            results = run_selftest(probe.families, maps, rng, send)
    except KznError as error:
        sentence = error.message.partition("\n")[0]
        return Proof((Finding("proof", "fail", sentence, error.hint),))
    tracked = [result.is_tracked for result in results if result.is_tracked is not None]
    return Proof(tuple(map(finding, results)), any(tracked) if tracked else None)


def finding(result: SelfTestResult) -> Finding:
    """The result of one family in words."""
    name, sent, found = f"proof {result.family}", result.sent, result.found
    if sent is None:
        return _over_loopback(name, result)
    ends = f"from {sent.src} to {sent.dst}"
    if found is not None and found == result.expected:
        return Finding(name, "ok", f"a packet {ends} was sent and counted: {found.bytes} bytes")
    if found is not None:
        message = (
            f"a packet {ends} of {result.expected.bytes} bytes was counted as"
            f" {found.packets} packets and {found.bytes} bytes"
        )
        return Finding(name, "fail", message, "a defect of kzn: please report it")
    if sent.send_error:
        message = f"no packet could be sent to {sent.dst}: {sent.send_error}"
        return Finding(name, "unknown", message, "a firewall on this node may forbid it")
    message = f"a packet {ends} did not pass the hook"
    hint = "something takes packets past netfilter; see the findings about Cilium and others"
    return Finding(name, "fail", message, hint)


def _over_loopback(name: str, result: SelfTestResult) -> Finding:
    no_route = f"no route leads off this node ({result.route_error})"
    unused = "nothing, if this family is not used here"
    if not result.has_addresses:
        message = f"this network namespace has no such addresses ({result.loopback_error})"
        return Finding(name, "unknown", message, unused)
    if result.loopback_error:
        message = f"{no_route}, nor to itself ({result.loopback_error})"
        return Finding(name, "unknown", message, unused)
    if result.outcome == "counted":
        return Finding(name, "ok", f"{no_route}; packets over loopback passed the hook")
    message = f"{no_route}, and this hook sees no packets over loopback"
    return Finding(name, "unknown", message, unused)
