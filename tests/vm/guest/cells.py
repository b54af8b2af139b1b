"""What is tried on every kernel, and what a kernel lacks: the axes of docs/kernels.md.

Imports nothing of kzn: the host, which makes the table, reads it too.
"""

import re

PROBES = ("postrouting", "tcx", "clsact")
FAMILIES = ("ipv4", "ipv6")
TRAFFIC = {
    "udp": "UDP",
    "fragments": "fragments",
    "tcp": "TCP bulk (GSO)",
    "vxlan": "UDP in VXLAN",
    "vxlan-tcp": "TCP bulk in VXLAN",
}
"""Kinds of traffic, and how the table calls them."""

LACKS = {
    "postrouting": ((6, 4), "this kernel has no BPF programs on netfilter hooks"),
    "tcx": ((6, 6), "this kernel has no BPF links on the egress of devices (tcx)"),
}
"""Since which Linux a probe can be had, and the sentence before that."""

RESULT = "kzn-vm-result: "
"""Begins a line of the console that is for the table, the rest is JSON."""


BIG_TCP4 = ((6, 3), "this kernel makes no super-packets of IPv4 beyond 64 KiB (BIG TCP)")
"""As `LACKS`: Linux commit b1a78b9b9886; for IPv6 they came with 5.19."""


def lacking(release: str) -> dict[str, str]:
    """Which probes a kernel must refuse, with the sentence that it must say."""
    return {probe: words for probe, (since, words) in LACKS.items() if is_before(release, since)}


def is_before(release: str, since: tuple[int, int]) -> bool:
    """Whether a kernel is older than that."""
    found = re.match(r"(\d+)\.(\d+)", release)
    if not found:
        raise ValueError(f"{release!r} is no release of a kernel")
    return (int(found[1]), int(found[2])) < since
