"""A probe: a name, a BPF object, the hooks that it attaches to and the features that it needs.

A probe is a value; kzn loads, attaches, pins, drains and removes it. A hook answers what depends on
its kind (`HookKind`), so that no other room asks for its type. A value that could never be attached
is refused when it is made, by ValueError or TypeError.
"""

import re
from dataclasses import dataclass
from importlib.resources import files
from typing import ClassVar, Literal

from kzn.errors import KznError

API = 4
"""Version of this declaration and of the map layout behind it (KZN_LAYOUT in bpf/src/flow.h).

docs/writing-a-probe.md lists the changes that raise it.
"""

Family = Literal["ipv4", "ipv6"]
ProgramType = Literal["netfilter", "sched_cls"]
"""BPF_PROG_TYPE_NETFILTER, BPF_PROG_TYPE_SCHED_CLS (include/uapi/linux/bpf.h)."""
Attachment = Literal["netfilter link", "tcx link", "tc filter"]

NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
"""A name of C: of a program, of a type."""
FAMILIES: tuple[Family, ...] = ("ipv4", "ipv6")
HOOKS = range(5)
"""NF_INET_PRE_ROUTING, LOCAL_IN, FORWARD, LOCAL_OUT, POST_ROUTING (uapi/linux/netfilter.h)."""
PRIORITIES = range(-(1 << 31) + 1, (1 << 31) - 1)
"""The kernel refuses the first and the last number (net/netfilter/nf_bpf_link.c)."""


@dataclass(frozen=True, slots=True)
class HookKind:
    """The common properties of all hooks of one kind."""

    attachment: Attachment
    """What attaches a program there."""
    program_type: ProgramType
    is_on_devices: bool
    """Attached to every uplink, also to those that appear later; else once for each hook."""
    kept_capabilities: tuple[str, ...] = ()
    """Capabilities that a running agent keeps after the probe is attached."""
    kernel_functions: tuple[str, ...] = ()
    """The kfuncs that kzn's headers for such programs read packets by, for `kzn doctor`."""


@dataclass(frozen=True, slots=True)
class NetfilterHook:
    """One program on one netfilter hook of one family.

    ``priorities`` are tried in order: the kernel gives each of them to one program only.
    """

    kind: ClassVar[HookKind] = HookKind(
        "netfilter link",
        "netfilter",
        is_on_devices=False,
        kernel_functions=("bpf_rdonly_cast", "bpf_dynptr_from_skb", "bpf_dynptr_slice"),
    )
    family: Family
    program: str
    hook: int
    priorities: tuple[int, ...]
    counts_all: bool = False
    """Whether the program counts every packet as seen, so that packets tell whether it runs."""

    def __post_init__(self) -> None:
        """ValueError for a hook that could never be attached."""
        _typed(self, family=str, program=str, hook=int, priorities=tuple, counts_all=bool)
        if self.family not in FAMILIES:
            raise ValueError(f"{self.family!r} is not a family of a hook: {' or '.join(FAMILIES)}")
        _identifier(self.program, "program")
        if self.hook not in HOOKS:
            raise ValueError(f"unknown netfilter hook {self.hook}")
        if not self.priorities:
            raise ValueError(f"hook {self.family} has no priorities")
        for priority in self.priorities:
            if type(priority) is not int or priority not in PRIORITIES:
                raise ValueError(f"hook {self.family}: {priority!r} is not a priority")

    @property
    def name(self) -> str:
        """The hook's name in messages and pins."""
        return self.family

    @property
    def families(self) -> tuple[Family, ...]:
        """The families of the packets that the program sees."""
        return (self.family,)

    @property
    def programs(self) -> tuple[str, ...]:
        """The names of its programs in the object."""
        return (self.program,)


@dataclass(frozen=True, slots=True)
class TcxHook:
    """One program at the tcx egress of every uplink, before all other programs there."""

    # Who has a loaded program's descriptor may attach it to a device that appears later.
    kind: ClassVar[HookKind] = HookKind("tcx link", "sched_cls", is_on_devices=True)
    program: str
    headerless: str = ""
    """The program for devices whose packets begin with the IP header, such as tun, PPP, WireGuard;
    empty: the probe is not attached to these."""
    name: ClassVar[str] = "egress"
    families: ClassVar[tuple[Family, ...]] = FAMILIES

    def __post_init__(self) -> None:
        """ValueError for what is not a name of a program."""
        _check_programs(self)

    @property
    def programs(self) -> tuple[str, ...]:
        """The names of its programs in the object."""
        return (self.program, self.headerless) if self.headerless else (self.program,)


@dataclass(frozen=True, slots=True)
class ClsactHook:
    """One program as a filter at the clsact egress of every uplink."""

    # A filter is made by netlink, which asks for this capability.
    kind: ClassVar[HookKind] = HookKind(
        "tc filter", "sched_cls", is_on_devices=True, kept_capabilities=("CAP_NET_ADMIN",)
    )
    program: str
    headerless: str = ""
    """The program for devices whose packets begin with the IP header, such as tun, PPP, WireGuard;
    empty: the probe is not attached to these."""
    name: ClassVar[str] = "egress"
    families: ClassVar[tuple[Family, ...]] = FAMILIES

    def __post_init__(self) -> None:
        """ValueError for what is not a name of a program."""
        _check_programs(self)

    @property
    def programs(self) -> tuple[str, ...]:
        """The names of its programs in the object."""
        return (self.program, self.headerless) if self.headerless else (self.program,)


DeviceHook = TcxHook | ClsactHook
"""Hooks on devices: attached to and removed from uplinks as those appear and disappear."""
Hook = NetfilterHook | DeviceHook


@dataclass(frozen=True, slots=True)
class Feature:
    """Something that the kernel must have: a type in its BTF, and what that type stands for."""

    btf_type: str
    meaning: str
    hint: str

    def __post_init__(self) -> None:
        """ValueError for what is not a name of a type."""
        _typed(self, btf_type=str, meaning=str, hint=str)
        _identifier(self.btf_type, "type")


@dataclass(frozen=True, slots=True)
class Probe:
    """A declaration, registered by an entry point in group ``kzn.probes``.

    ``package`` and ``resource`` name the compiled object. All hooks are of one kind, with at most
    one netfilter hook for each family. ``api`` is the `API` that the declaration was written for:
    a literal number, since the installed kzn may have another.
    """

    name: str
    summary: str
    package: str
    resource: str
    hooks: tuple[Hook, ...]
    features: tuple[Feature, ...]
    api: int
    capabilities: tuple[str, ...] = ("CAP_NET_ADMIN", "CAP_PERFMON", "CAP_BPF")
    """Capabilities needed to load and attach it."""
    auto: int | None = None
    """Its place among those that ``--probe auto`` tries, lowest first; None: only by name."""

    def __post_init__(self) -> None:
        """ValueError for a probe without hooks, or a name that bpffs or a label does not take."""
        _typed(self, name=str, summary=str, package=str, resource=str, api=int)
        if self.auto is not None:
            _typed(self, auto=int)
        if not NAME.fullmatch(self.name):
            raise ValueError(
                f"{self.name!r} is not a name of a probe: it must match {NAME.pattern}"
            )
        _all_of(self, "hooks", (NetfilterHook, TcxHook, ClsactHook))
        _all_of(self, "features", (Feature,))
        _all_of(self, "capabilities", (str,))
        if not self.hooks:
            raise ValueError(f"probe {self.name} has no hooks")
        if len({hook.kind for hook in self.hooks}) > 1:
            raise ValueError(f"probe {self.name} has hooks of several kinds")
        if len({hook.name for hook in self.hooks}) < len(self.hooks):
            raise ValueError(f"probe {self.name} has two hooks of one name")

    @property
    def kind(self) -> HookKind:
        """The kind of its hooks."""
        return self.hooks[0].kind

    @property
    def families(self) -> tuple[Family, ...]:
        """The families of the packets that its programs see."""
        return tuple(dict.fromkeys(family for hook in self.hooks for family in hook.families))

    def netfilter_hooks(self) -> tuple[NetfilterHook, ...]:
        """Its netfilter hooks; empty for a probe on devices."""
        return tuple(hook for hook in self.hooks if isinstance(hook, NetfilterHook))

    def device_hooks(self) -> tuple[DeviceHook, ...]:
        """Its hooks on devices; empty for a probe on netfilter hooks."""
        return tuple(hook for hook in self.hooks if isinstance(hook, DeviceHook))

    def takes(self, *, is_ethernet: bool) -> bool:
        """Whether its hooks on devices have a program for a device with or without a header."""
        return is_ethernet or all(hook.headerless for hook in self.device_hooks())

    def image(self) -> bytes:
        """The bytes of the BPF object; KznError when the package does not have it."""
        try:
            return files(self.package).joinpath(self.resource).read_bytes()
        except Exception as error:
            raise KznError(
                f"probe {self.name}: object {self.package}/{self.resource}: {error}",
                hint="the installation is incomplete; reinstall the package of the probe",
            ) from error


def _check_programs(hook: "TcxHook | ClsactHook") -> None:
    _typed(hook, program=str, headerless=str)
    for name in hook.programs:
        _identifier(name, "program")


def _typed(value: object, **kinds: type) -> None:
    """TypeError for a field of another type, since plugins are not type-checked by kzn."""
    for name, kind in kinds.items():
        found = getattr(value, name)
        if not isinstance(found, kind):
            raise TypeError(
                f"{type(value).__name__}.{name} is a {type(found).__name__}, not a {kind.__name__}"
            )


def _all_of(value: object, name: str, kinds: tuple[type, ...]) -> None:
    _typed(value, **{name: tuple})
    for item in getattr(value, name):
        if not isinstance(item, kinds):
            raise TypeError(f"{type(value).__name__}.{name} holds a {type(item).__name__}")


def _identifier(name: str, what: str) -> None:
    if not IDENTIFIER.fullmatch(name):
        raise ValueError(f"{name!r} is not a name of a {what}")
