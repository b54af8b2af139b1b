"""What a probe is: a name, an object, the hooks it attaches to and the features it needs.

A probe is a value. Loading, attaching, pinning, draining and cleaning up are the framework's.
"""

import re
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal

from kzn.errors import KznError

API = 1
"""Version of this declaration and of the map layout behind it (KZN_LAYOUT in bpf/src/flow.h)."""

Family = Literal["ipv4", "ipv6"]

NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")


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
        if not self.priorities:
            raise ValueError(f"hook {self.family} has no priorities")

    @property
    def name(self) -> str:
        """The hook as messages and pins call it."""
        return self.family


@dataclass(frozen=True, slots=True)
class TcxHook:
    """One program at the tcx egress of every uplink, before all others there."""

    program: str

    @property
    def name(self) -> str:
        """The hook as messages and pins call it."""
        return "egress"


@dataclass(frozen=True, slots=True)
class ClsactHook:
    """One program as a filter at the clsact egress of every uplink."""

    program: str

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


@dataclass(frozen=True, slots=True)
class Probe:
    """A declaration, registered by an entry point in group ``kzn.probes``.

    ``package`` and ``resource`` say where the compiled object lies. All hooks are of one kind.
    """

    name: str
    summary: str
    package: str
    resource: str
    hooks: tuple[Hook, ...]
    features: tuple[Feature, ...]
    api: int = API
    capabilities: tuple[str, ...] = ("CAP_NET_ADMIN", "CAP_PERFMON", "CAP_BPF")
    """What a process needs to load and attach it."""

    def __post_init__(self) -> None:
        """ValueError for a probe without hooks, and for a name that a bpffs or a label refuses."""
        if not self.hooks:
            raise ValueError(f"probe {self.name} has no hooks")
        if len({type(hook) for hook in self.hooks}) > 1:
            raise ValueError(f"probe {self.name} has hooks of several kinds")
        if not NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is no name of a probe: it must match {NAME.pattern}")

    def device_hooks(self) -> tuple[DeviceHook, ...]:
        """Those of its hooks that are on devices."""
        return tuple(hook for hook in self.hooks if isinstance(hook, DeviceHook))

    def image(self) -> bytes:
        """The bytes of the BPF object; KznError when the package does not have it."""
        try:
            return files(self.package).joinpath(self.resource).read_bytes()
        except (OSError, ModuleNotFoundError) as error:
            raise KznError(
                f"probe {self.name}: object {self.package}/{self.resource}: {error}",
                hint="the installation is incomplete; reinstall the package of the probe",
            ) from error
