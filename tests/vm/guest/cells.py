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

NOT_SEEN, OF_NODES, SECRET = "not seen", "exact, of the nodes", "exact, encrypted"
LACKED = "not in this kernel"
DEVICES: dict[str, dict[str, str]] = {
    "NIC": {},
    "VLAN": {},
    "VLAN in a VLAN (802.1ad)": {},
    "bond, active-backup": {},
    "bond, balance-rr": {},
    "bond, 802.3ad": {},
    "VLAN on a bond": {},
    "bridge with a NIC, br_netfilter off": {},
    "bridge with a NIC, br_netfilter on": {},
    "VLAN-aware bridge": {},
    "bridge on a VLAN on a bond": {},
    "VRF": {},
    "VRF with a queue": {},
    "VLAN on a bond in a VRF": {},
    "macvlan": {},
    "ipvlan": {},
    "Open vSwitch": {},
    "pods on a bridge with a NIC, br_netfilter off": {"postrouting": NOT_SEEN},
    "pods on a bridge with a NIC, br_netfilter on": {},
    "pods with macvlan": {"postrouting": NOT_SEEN},
    "pods with ipvlan L2": {"postrouting": NOT_SEEN},
    "pods with ipvlan L3": {},
    "pods with ipvlan L3S": {},
    "pods on Open vSwitch": {"postrouting": NOT_SEEN},
    "idle devices beside a VXLAN": {},
    "vxlan, fdb": {},
    "vxlan, external": {},
    "vxlan over IPv6": {},
    "vxlan gpe, external": {"tcx": OF_NODES, "clsact": OF_NODES},
    "geneve": {},
    "geneve, external": {},
    "gre": {},
    "gre, external": {},
    "gretap": {},
    "ipip": {},
    "sit": {},
    "ip6tnl": {},
    "ip6tnl with a limit": {},
    "ip6gre": {},
    "ip6gretap": {},
    "ipip in FoU": {"tcx": OF_NODES, "clsact": OF_NODES},
    "sit in FoU": {"tcx": OF_NODES, "clsact": OF_NODES},
    "gre in FoU": {"tcx": OF_NODES, "clsact": OF_NODES},
    "ipip in GUE": {"tcx": OF_NODES, "clsact": OF_NODES},
    "wireguard": dict.fromkeys(PROBES, SECRET),
    "wireguard elsewhere": {"postrouting": SECRET, "tcx": OF_NODES, "clsact": OF_NODES},
    "esp": dict.fromkeys(PROBES, SECRET),
    "Service by IPVS": {},
    "SCTP": {},
}
"""Devices and protocols of the second table, and the probes that do not simply count exactly."""
SMOKE = frozenset(
    {
        "bond, 802.3ad",
        "VLAN on a bond",
        "VLAN-aware bridge",
        "VRF",
        "VRF with a queue",
        "bridge on a VLAN on a bond",
        "pods on a bridge with a NIC, br_netfilter off",
    }
)
"""Those of `DEVICES` that the suite `smoke` tries, for the sake of its time."""

SMP = (
    "every flow on every CPU",
    "one flow on all CPUs",
    "four times as many flows as fit",
    "CPUs that come and go",
    "sockets on every CPU",
)
"""Rows of the third table, each on several numbers of CPUs."""
COST = "cost"
COSTS = ("one flow, on each CPU in turn", "200 flows, on each CPU in turn")
"""Rows of costs, beside those of the plain baseline."""

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


def on_devices(release: str) -> tuple[str, ...]:
    """The probes that are tried with `DEVICES`: of those at uplinks the first that there is."""
    usable = [probe for probe in PROBES if probe not in lacking(release)]
    return tuple(probe for probe in usable if probe != "clsact" or "tcx" not in usable)


def is_before(release: str, since: tuple[int, int]) -> bool:
    """Whether the kernel release is older than the version ``since``."""
    found = re.match(r"(\d+)\.(\d+)", release)
    if not found:
        raise ValueError(f"{release!r} is not a kernel release")
    return (int(found[1]), int(found[2])) < since
