"""Findings about the network: uplinks, conntrack, and flowtables, which bypass the hook."""

import json
import shutil
import subprocess
from collections.abc import Collection, Iterator, Sequence

from kzn.agent.doctor.devices import Interface
from kzn.agent.doctor.finding import Finding, Host
from kzn.errors import KznError

GSO_LEGACY = 65536
"""GSO_LEGACY_MAX_SIZE; a larger limit is BIG TCP."""
NFT_SECONDS = 10.0
OFFLOAD = " (offload)"


def uplinks(devices: Sequence[Interface], indices: Collection[int]) -> Iterator[Finding]:
    """The devices that may lead off this node, with their sizes."""
    found = [device for device in devices if device.index in indices]
    if not found:
        yield Finding(
            "uplinks",
            "warn",
            "no device leads off this network namespace",
            "run it in the node's network namespace (hostNetwork: true)",
        )
        return
    names = ", ".join(f"{device.name} (MTU {device.mtu})" for device in found)
    yield Finding("uplinks", "ok", f"leading off this node: {names}")
    yield _big_tcp(found)


def _big_tcp(found: Sequence[Interface]) -> Finding:
    big = [
        f"{device.name} (IPv6 {device.gso_max}, IPv4 {device.gso_ipv4_max} bytes)"
        for device in found
        if max(device.gso_max, device.gso_ipv4_max) > GSO_LEGACY
    ]
    if big:
        return Finding("BIG TCP", "ok", f"on for {', '.join(big)}; counted as the wire carries it")
    return Finding("BIG TCP", "ok", "off: no uplink takes packets above 64 KiB from the stack")


def conntrack(host: Host, *, is_tracked: bool | None) -> Iterator[Finding]:
    """Whether the kernel knows which end opened a connection.

    Decided by the packet of the proof (``is_tracked``: whether it had an entry), else by the number
    of entries in this namespace.
    """
    count = host.sysctl("net/netfilter/nf_conntrack_count")
    name = "conntrack"
    if is_tracked:
        yield Finding(name, "ok", "active: the packet sent by the proof had an entry")
        return
    if is_tracked is None and count not in (None, "0"):
        yield Finding(name, "ok", f"active: this network namespace has {count} entries")
        return
    why = "the module is not loaded" if count is None else "nothing in this namespace uses it"
    if is_tracked is False and count is not None:
        why = "the packet sent by the proof had no entry"
    yield Finding(
        name,
        "warn",
        f"not active ({why}): which end is the service is known from TCP and SCTP handshakes; for"
        " UDP and older connections kzn takes the lower port",
        "nothing, if that is good enough; any rule with conntrack (kube-proxy, ct state) starts it",
    )


def flowtables(host: Host) -> Iterator[Finding]:
    """The fast path of nftables: connections in a flowtable bypass the hook."""
    name = "flowtables"
    nft = shutil.which("nft")
    if nft is None:
        if host.has_module("nf_flow_table"):
            message = "nf_flow_table is loaded, and nft is not installed here to list what uses it"
            yield Finding(name, "warn", message, "run nft list flowtables on the host")
        else:
            message = "nft is not installed here; nf_flow_table seems not to be loaded"
            yield Finding(name, "unknown", message, "run nft list flowtables on the host")
        return
    tables = listed_flowtables(_ask_nft(nft))
    if not tables:
        yield Finding(name, "ok", "there are none")
        return
    hint = "remove the rule `flow add`, or count at the uplinks (--probe tcx); not tried"
    if any(OFFLOAD in table for table in tables):
        hint = "remove `flags offload`: what a network card forwards by itself no probe sees"
    yield Finding(
        name,
        "warn",
        f"what {', '.join(tables)} forward after the first packets of a connection passes"
        " netfilter by",
        hint,
    )


def _ask_nft(nft: str) -> str:
    command = [nft, "-j", "list", "flowtables"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=NFT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise KznError(f"nft did not answer within {NFT_SECONDS:.0f} s") from error
    if done.returncode != 0:
        reason = done.stderr.strip().splitlines() or [f"exit {done.returncode}"]
        raise KznError(f"nft: {reason[0]}", hint="run as root")
    return done.stdout


def listed_flowtables(text: str) -> list[str]:
    """``family table name on devices`` of each, and whether the card forwards by itself.

    KznError when it is not nft's JSON.
    """
    found = []
    try:
        for entry in json.loads(text)["nftables"]:
            if table := entry.get("flowtable"):
                on = table.get("dev", [])
                names = [on] if isinstance(on, str) else on
                words = f"{table['family']} {table['table']} {table['name']}"
                flags = table.get("flags", [])
                is_offloaded = "offload" in ([flags] if isinstance(flags, str) else flags)
                where = f"on {' '.join(names) or 'no device'}"
                found.append(f"{words} {where}{OFFLOAD if is_offloaded else ''}")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise KznError(f"nft did not print a list of flowtables: {text[:60]!r}") from error
    return found
