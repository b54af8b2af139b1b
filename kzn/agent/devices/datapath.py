"""What carries pods' packets past netfilter on this node, as far as that is known without a trial.

In: the devices, the programs on what pods send, and what Cilium leaves in files. Out: `Facts`, and
the `Bypass`es that follow from them. Never: an error for what cannot be read; it is not a fact.

A quiet node shows nothing by its traffic, and packets of the node itself take another path than
those of its pods, so these facts come before what a trial sees.
"""

import errno
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from kzn.agent.devices.netlink import RouteSocket
from kzn.agent.devices.netlink_messages import IngressFilters, Link
from kzn.agent.devices.table import NO_EGRESS, POD_KINDS, SWITCHES, TUNNELS, DeviceTable
from kzn.errors import KernelError, KznError
from kzn.libbpf.links import tcx_ingress_programs

PROC, VAR_RUN, BPFFS = Path("/proc"), Path("/var/run"), Path("/sys/fs/bpf")
NODE_CONFIG = "cilium/state/globals/node_config.h"
HOST_ROUTING = "#define ENABLE_HOST_ROUTING"
"""What Cilium's agent writes there when eBPF host routing is on, in releases before it became a
setting of the loaded programs (cilium/cilium pull request 46791)."""
BRIDGE_SYSCTLS = ("bridge-nf-call-iptables", "bridge-nf-call-ip6tables")
TCX = "an unnamed program"
"""The kernel tells names of tcx programs to CAP_SYS_ADMIN alone."""
POLICY_ONLY = frozenset({"handle_egress"})
"""Filters that drop or pass on to the stack: aws-network-policy-agent, of the AWS VPC CNI."""
CALICO = frozenset({"bpfin.cali", "bpfout.cali"})
"""projectcalico/calico, felix/dataplane/linux/dataplanedefs."""
MAX_ASKED = 256
"""Pods' devices whose programs are listed: a CNI treats all of them alike."""


class Named(Protocol):
    """The part of a device by which Cilium is found."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Bypass:
    """Why netfilter does not see packets of pods, or may not."""

    reason: str
    is_certain: bool = True

    def sentence(self) -> str:
        """For the log and for `kzn doctor`."""
        verb = "bypass" if self.is_certain else "may bypass"
        return f"pods' packets {verb} netfilter: {self.reason}"


@dataclass(frozen=True, slots=True)
class Cilium:
    """What shows that Cilium runs here."""

    devices: tuple[str, ...]
    pins: str = ""
    has_netkit: bool = False
    has_host_routing: bool = False
    """False also where that is not visible."""

    @property
    def traces(self) -> str:
        """Its devices, or else a pinned map."""
        return ", ".join(self.devices) or self.pins


@dataclass(frozen=True, slots=True)
class SwitchedUplink:
    """A bridge or Open vSwitch that passes frames between an uplink and its other ports."""

    name: str
    kind: str
    uplinks: tuple[str, ...]

    @property
    def reason(self) -> str:
        """The clause for a `Bypass`."""
        uplinks = ", ".join(self.uplinks)
        if self.kind == "bridge":
            return f"bridge {self.name} passes them to {uplinks}, with br_netfilter off"
        return f"Open vSwitch ({self.name}) passes them to {uplinks}"


@dataclass(frozen=True, slots=True)
class Facts:
    """What was found on this node."""

    cilium: Cilium | None = None
    netkit: tuple[str, ...] = ()
    """Netkit devices of pods."""
    programs: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Names of programs by the pod's device whose packets they see first."""
    redirected: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Devices that filters send pods' packets by, by the pod's device."""
    has_calico: bool = False
    """The devices that Calico has with its eBPF data plane alone."""
    may_have_more: bool = False
    """This process may not list the programs of tcx."""
    switched: tuple[SwitchedUplink, ...] = ()

    def bypasses(self) -> tuple[Bypass, ...]:
        """The certain ones first."""
        found = [*_of_cilium(self.cilium)]
        if self.netkit:
            found.append(Bypass(f"netkit devices ({_listed(self.netkit)})"))
        found += [Bypass(switch.reason) for switch in self.switched]
        if self.redirected:
            to = sorted({name for names in self.redirected.values() for name in names})
            at = _listed(sorted(self.redirected))
            found.append(Bypass(f"tc filters at pods' devices ({at}) send them by {_listed(to)}"))
        if self.has_calico:
            found.append(Bypass("the eBPF data plane of Calico runs here", is_certain=False))
        if devices := self.programmed:
            words = f"eBPF programs at pods' devices ({_listed(devices)}) can redirect them"
            found.append(Bypass(words, is_certain=False))
        return tuple(sorted(found, key=lambda one: not one.is_certain))

    @property
    def programmed(self) -> tuple[str, ...]:
        """Pods' devices with a program that may do more than drop."""
        return tuple(sorted(name for name, run in self.programs.items() if run - POLICY_ONLY))


def _of_cilium(cilium: Cilium | None) -> Iterable[Bypass]:
    if cilium is None:
        return
    if cilium.has_netkit:
        yield Bypass("Cilium with netkit")
    elif cilium.has_host_routing:
        yield Bypass("eBPF host routing of Cilium")
    else:
        yield Bypass(f"Cilium runs here ({cilium.traces})", is_certain=False)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def find_cilium(devices: Iterable[Named], pins: str, config: str | None) -> Cilium | None:
    """Cilium by its devices or by a map that it has pinned; ``config`` is the text of NODE_CONFIG.

    None when there is neither.
    """
    named = [*devices]
    own = tuple(sorted(device.name for device in named if device.name.startswith("cilium_")))
    if not own and not pins:
        return None
    has_netkit = any(device.kind == "netkit" for device in named)
    return Cilium(own, pins, has_netkit, config is not None and _defines(config))


def _defines(config: str) -> bool:
    lines = (line.strip() for line in config.splitlines())
    return any(line.startswith(HOST_ROUTING) and not line.endswith(" 0") for line in lines)


def cilium_pins(bpffs: Path) -> str:
    """The path of something that Cilium has pinned; empty when there is nothing."""
    found = next((bpffs / "tc/globals").glob("cilium_*"), None) or next(bpffs.glob("cilium"), None)
    return str(found) if found else ""


def find_switched(
    table: DeviceTable, *, bridge_netfilter: bool | None
) -> tuple[SwitchedUplink, ...]:
    """Bridges and switches whose frames leave by an uplink and do not pass netfilter.

    A bridge with no port but its uplinks carries the node's own packets, which pass netfilter.
    ``bridge_netfilter``: whether all bridges pass theirs to it; None without br_netfilter.
    """
    pods = {link.index for link in table.pods()}
    found = []
    for switch in table.links():
        if switch.kind != "bridge" and switch.kind not in SWITCHES:
            continue
        ports = [link for link in table.links() if link.master == switch.index]
        uplinks = [port for port in ports if _is_uplink(port, pods)]
        others = len(ports) - len(uplinks)
        if not uplinks and table.has_gateway(switch.index) and len(ports) > 1:
            uplinks = [switch]  # the way to the gateway is one of the ports, a veth as pods have
            others = len(ports) - 1
        passes = bridge_netfilter or (bridge_netfilter is not None and switch.calls_netfilter)
        passes = passes and switch.kind == "bridge"
        if uplinks and not passes and (others or switch.kind in SWITCHES):
            names = tuple(sorted(port.name for port in uplinks))
            found.append(SwitchedUplink(switch.name, switch.kind, names))
    return tuple(found)


def _is_uplink(port: Link, pods: set[int]) -> bool:
    if port.kind in POD_KINDS:
        return port.peer_in_other_netns and port.index not in pods
    return port.kind not in TUNNELS | NO_EGRESS | SWITCHES


def read_facts(table: DeviceTable, pin_dir: Path) -> Facts:
    """The facts of the caller's network namespace, whose devices ``table`` has.

    Cilium pins to the bpffs that ``pin_dir`` is in, which a container may have elsewhere.
    """
    pods = table.pods()[:MAX_ASKED]
    pins = _pins(BPFFS) or _pins(pin_dir.parent)
    programs, may_list = _tcx_programs(pods)
    filters = _filters(pods)
    for name, found in filters.items():
        programs.setdefault(name, set()).update(found.programs)
    return Facts(
        cilium=find_cilium(table.links(), pins, _text(VAR_RUN / NODE_CONFIG)),
        netkit=tuple(sorted(link.name for link in pods if link.kind == "netkit")),
        programs={name: frozenset(run) for name, run in programs.items()},
        redirected=find_redirected(table, filters),
        has_calico=any(link.name in CALICO for link in table.links()),
        may_have_more=not may_list,
        switched=find_switched(table, bridge_netfilter=read_bridge_netfilter(PROC)),
    )


def _pins(bpffs: Path) -> str:
    with suppress(OSError):
        return cilium_pins(bpffs)
    return ""


def _text(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return None


def read_bridge_netfilter(proc: Path) -> bool | None:
    """Whether bridges of the caller's network namespace pass both families to netfilter.

    None without br_netfilter; a bridge's own setting then has no effect.
    """
    values = [_text(proc / "sys/net/bridge" / name) for name in BRIDGE_SYSCTLS]
    return None if None in values else "0" not in values


def find_redirected(
    table: DeviceTable, filters: Mapping[str, IngressFilters]
) -> dict[str, tuple[str, ...]]:
    """Where filters at pods' devices send their packets, if that is not to a pod or an ifb.

    From an ifb, which shapes what pods send, packets come back to the stack.
    """
    on_node = {link.index for link in table.links() if link.kind in NO_EGRESS}
    on_node |= {link.index for link in table.pods()}
    return {
        name: tuple(sorted(table.name(index) for index in found.redirects - on_node))
        for name, found in filters.items()
        if found.redirects - on_node
    }


def _tcx_programs(pods: Iterable[Link]) -> tuple[dict[str, set[str]], bool]:
    """Programs of tcx that see what a pod sends, by its device; none before Linux 6.6.

    False where this process may not list them.
    """
    found: dict[str, set[str]] = {}
    may_list = True
    for link in pods:
        try:
            if tcx_ingress_programs(link.index):
                found.setdefault(link.name, set()).add(TCX)
        except KernelError as error:
            may_list &= error.errno != errno.EPERM  # else gone meanwhile, or a kernel without tcx
    return found, may_list


def _filters(pods: Iterable[Link]) -> dict[str, IngressFilters]:
    """Filters that see what a pod sends, by its device; none for most CNIs."""
    found: dict[str, IngressFilters] = {}
    with suppress(KznError), RouteSocket() as questions:
        qdiscs = questions.ingress_qdiscs()
        for link in pods:
            if link.index in qdiscs:
                found[link.name] = questions.ingress_filters(link.index)
    return found
