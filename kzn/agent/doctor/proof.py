"""Findings of the self-test: a probe attached for a moment, and whether it counts a real packet.

In: a probe. Out: one finding for each family, and whether conntrack knew the packets.
Never: a pin; a program of an agent on this node goes on counting.
"""

import random
from dataclasses import dataclass

from kzn.agent.devices.table import read_devices
from kzn.agent.doctor.finding import Finding
from kzn.agent.pins.install import unpinned
from kzn.agent.select.selftest import SelfTestResult, Send, run_selftest, send_datagram
from kzn.errors import KznError
from kzn.probes.declaration import Probe
from kzn.probes.settings import Settings


@dataclass(frozen=True, slots=True)
class Proof:
    """``is_tracked``: whether conntrack knew a packet; None when none was counted."""

    findings: tuple[Finding, ...]
    is_tracked: bool | None = None


def prove(probe: Probe, rng: random.Random, send: Send = send_datagram) -> Proof:
    """Attach, send, look, detach; each way in which that can fail is a finding."""
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
