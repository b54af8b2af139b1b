"""What a probe is: a name, an object, the hooks it attaches to and the features it needs.

A probe is a value. Loading, attaching, pinning, draining and cleaning up are the framework's.
Values that could never be attached are refused when they are made, by ValueError or TypeError.
"""

import re
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal

from kzn.errors import KznError

API = 1
"""Version of this declaration and of the map layout behind it (KZN_LAYOUT in bpf/src/flow.h).

docs/writing-a-probe.md says what makes a new one.
"""

Family = Literal["ipv4", "ipv6"]

NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
"""A name of C: of a program, of a type."""
FAMILIES = ("ipv4", "ipv6")
HOOKS = range(5)
"""NF_INET_PRE_ROUTING, LOCAL_IN, FORWARD, LOCAL_OUT, POST_ROUTING (uapi/linux/netfilter.h)."""
PRIORITIES = range(-(1 << 31) + 1, (1 << 31) - 1)
"""The kernel refuses the first and the last number (net/netfilter/nf_bpf_link.c)."""


@dataclass(frozen=True, slots=True)
class NetfilterHook:
    """One program on one netfilter hook of one family.

    ``priorities`` are tried in order: the kernel lets one program have a priority to itself.
    """

    family: Family
    program: str
    hook: int
    priorities: tuple[int, ...]

    def __post_init__(self) -> None:
        """ValueError for a hook that could never be attached."""
        _typed(self, family=str, program=str, hook=int, priorities=tuple)
        if self.family not in FAMILIES:
            raise ValueError(f"{self.family!r} is no family of a hook: {' or '.join(FAMILIES)}")
        _identifier(self.program, "program")
        if self.hook not in HOOKS:
            raise ValueError(f"there is no netfilter hook {self.hook}")
        if not self.priorities:
            raise ValueError(f"hook {self.family} has no priorities")
        for priority in self.priorities:
            if type(priority) is not int or priority not in PRIORITIES:
                raise ValueError(f"hook {self.family}: {priority!r} is no priority")

    @property
    def name(self) -> str:
        """The hook as messages and pins call it."""
        return self.family


@dataclass(frozen=True, slots=True)
class TcxHook:
    """One program at the tcx egress of every uplink, before all others there."""

    program: str

    def __post_init__(self) -> None:
        """ValueError for what is no name of a program."""
        _typed(self, program=str)
        _identifier(self.program, "program")

    @property
    def name(self) -> str:
        """The hook as messages and pins call it."""
        return "egress"


@dataclass(frozen=True, slots=True)
class ClsactHook:
    """One program as a filter at the clsact egress of every uplink."""

    program: str

    def __post_init__(self) -> None:
        """ValueError for what is no name of a program."""
        _typed(self, program=str)
        _identifier(self.program, "program")

    @property
    def name(self) -> str:
        """The hook as messages and pins call it."""
        return "egress"


DeviceHook = TcxHook | ClsactHook
"""Hooks that are on devices, and follow them as they come and go."""
Hook = NetfilterHook | DeviceHook


@dataclass(frozen=True, slots=True)
class Feature:
    """Something the kernel must have: a type that its BTF must name, and what that means."""

    btf_type: str
    meaning: str
    hint: str

    def __post_init__(self) -> None:
        """ValueError for what is no name of a type."""
        _typed(self, btf_type=str, meaning=str, hint=str)
        _identifier(self.btf_type, "type")


@dataclass(frozen=True, slots=True)
class Probe:
    """A declaration, registered by an entry point in group ``kzn.probes``.

    ``package`` and ``resource`` say where the compiled object lies. All hooks are of one kind, and
    of netfilter's there is one for each family at most. ``api`` is the `API` that the declaration
    was written for: a number, since the installed kzn's own says nothing about it.
    """

    name: str
    summary: str
    package: str
    resource: str
    hooks: tuple[Hook, ...]
    features: tuple[Feature, ...]
    api: int
    capabilities: tuple[str, ...] = ("CAP_NET_ADMIN", "CAP_PERFMON", "CAP_BPF")
    """What a process needs to load and attach it."""
    auto: int | None = None
    """Its place among those that ``--probe auto`` tries, lowest first; None: only by its name."""

    def __post_init__(self) -> None:
        """ValueError for a probe without hooks, and for a name that a bpffs or a label refuses."""
        _typed(self, name=str, summary=str, package=str, resource=str, api=int)
        if self.auto is not None:
            _typed(self, auto=int)
        if not NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is no name of a probe: it must match {NAME.pattern}")
        _all_of(self, "hooks", (NetfilterHook, TcxHook, ClsactHook))
        _all_of(self, "features", (Feature,))
        _all_of(self, "capabilities", (str,))
        if not self.hooks:
            raise ValueError(f"probe {self.name} has no hooks")
        if len({type(hook) for hook in self.hooks}) > 1:
            raise ValueError(f"probe {self.name} has hooks of several kinds")
        if len({hook.name for hook in self.hooks}) < len(self.hooks):
            raise ValueError(f"probe {self.name} has two hooks of one name")

    def device_hooks(self) -> tuple[DeviceHook, ...]:
        """Those of its hooks that are on devices."""
        return tuple(hook for hook in self.hooks if isinstance(hook, DeviceHook))

    def image(self) -> bytes:
        """The bytes of the BPF object; KznError when the package does not have it."""
        try:
            return files(self.package).joinpath(self.resource).read_bytes()
        except Exception as error:
            raise KznError(
                f"probe {self.name}: object {self.package}/{self.resource}: {error}",
                hint="the installation is incomplete; reinstall the package of the probe",
            ) from error


def _typed(value: object, **kinds: type) -> None:
    """TypeError for a field of another type: declarations are written by others."""
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
        raise ValueError(f"{name!r} is no name of a {what}")
