"""The axes of the table in docs/kernels.md, and the features that a kernel may lack.

Does not import kzn, because the host imports this file to write the table.
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
"""Kinds of traffic, and their names in the table."""

LACKS = {
    "postrouting": ((6, 4), "this kernel has no BPF programs on netfilter hooks"),
    "tcx": ((6, 6), "this kernel has no BPF links on the egress of devices (tcx)"),
}
"""The first Linux version that supports a probe, and the reason given on older ones."""

RESULT = "kzn-vm-result: "
"""Prefix of a console line for the table; the rest of the line is JSON."""


BIG_TCP4 = ((6, 3), "this kernel makes no super-packets of IPv4 beyond 64 KiB (BIG TCP)")
"""As `LACKS`. BIG TCP for IPv4 is Linux commit b1a78b9b9886; for IPv6 it came with 5.19."""


def lacking(release: str) -> dict[str, str]:
    """The probes that a kernel must refuse, with the expected reasons."""
    return {probe: words for probe, (since, words) in LACKS.items() if is_before(release, since)}


def is_before(release: str, since: tuple[int, int]) -> bool:
    """Whether the kernel release is older than the version ``since``."""
    found = re.match(r"(\d+)\.(\d+)", release)
    if not found:
        raise ValueError(f"{release!r} is not a kernel release")
    return (int(found[1]), int(found[2])) < since
