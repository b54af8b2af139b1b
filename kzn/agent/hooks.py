"""Which hooks of a probe are attached: kept by pins, or by this process alone.

Hooks on devices follow them: a program is attached to a device that is new, and the link of one
that has gone is let go. Links are named by the device's index, since its name may come again.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from kzn.agent.uplinks import Device
from kzn.errors import KernelError
from kzn.libbpf.links import detach
from kzn.libbpf.objects import BpfObject
from kzn.libbpf.pins import open_pin, pin
from kzn.probes.attach import attach, attach_device
from kzn.probes.declaration import DeviceHook, NetfilterHook, Probe

LINK = "link_"
PROGRAM = "program_"

Follow = Callable[[Sequence[Device]], None]
"""Puts a probe on these devices and on no others."""


class Links(Protocol):
    """Where links live, and the programs that later ones are made of."""

    def names(self) -> set[str]:
        """The names of all links, without `LINK`."""

    def keep(self, name: str, fd: int) -> None:
        """Take over a link's descriptor."""

    def drop(self, name: str) -> None:
        """Detach a link and forget it."""

    def keep_programs(self, probe: Probe, loaded: BpfObject) -> None:
        """Keep what links to devices that come later will be made of."""

    def open_program(self, hook: DeviceHook) -> int:
        """A new descriptor of a program that is kept."""


class Pinned:
    """Links and programs pinned in a folder: they need no process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def names(self) -> set[str]:
        """The links pinned in the folder."""
        return {path.name.removeprefix(LINK) for path in self._folder.glob(f"{LINK}*")}

    def keep(self, name: str, fd: int) -> None:
        """Pin a link."""
        try:
            pin(fd, self._folder / (LINK + name))
        finally:
            os.close(fd)

    def drop(self, name: str) -> None:
        """Unpin and detach a link."""
        path = self._folder / (LINK + name)
        fd = open_pin(path)
        path.unlink()
        detach(fd, str(path))

    def keep_programs(self, probe: Probe, loaded: BpfObject) -> None:
        """Pin the programs of links to come, those that are not yet."""
        for hook in probe.device_hooks():
            path = self._folder / (PROGRAM + hook.name)
            if not path.exists():
                pin(loaded.program_fd(hook.program), path)

    def open_program(self, hook: DeviceHook) -> int:
        """A new descriptor of a pinned program."""
        return open_pin(self._folder / (PROGRAM + hook.name))

    def missing(self, probe: Probe) -> list[Path]:
        """Pins that must be there while this probe is attached, and are not."""
        wanted = [
            (PROGRAM if isinstance(hook, DeviceHook) else LINK) + hook.name for hook in probe.hooks
        ]
        return [self._folder / name for name in wanted if not (self._folder / name).exists()]


class Held:
    """Links that end with the block."""

    def __init__(self) -> None:
        self._links: dict[str, int] = {}
        self._programs: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for fd in (*self._links.values(), *self._programs.values()):
            os.close(fd)
        self._links, self._programs = {}, {}

    def names(self) -> set[str]:
        """The links held."""
        return set(self._links)

    def keep(self, name: str, fd: int) -> None:
        """Hold a link."""
        self._links[name] = fd

    def drop(self, name: str) -> None:
        """Close a link, which detaches it."""
        os.close(self._links.pop(name))

    def keep_programs(self, probe: Probe, loaded: BpfObject) -> None:
        """Hold the programs of links to come."""
        for hook in probe.device_hooks():
            self._programs[hook.name] = os.dup(loaded.program_fd(hook.program))

    def open_program(self, hook: DeviceHook) -> int:
        """A new descriptor of a program held."""
        return os.dup(self._programs[hook.name])


def attach_all(probe: Probe, loaded: BpfObject, links: Links) -> None:
    """Keep the programs, and attach the hooks that are on no device, where not done yet."""
    links.keep_programs(probe, loaded)
    for hook in probe.hooks:
        if isinstance(hook, NetfilterHook) and hook.name not in links.names():
            links.keep(hook.name, attach(probe, hook, loaded))


def follow(probe: Probe, links: Links, devices: Sequence[Device]) -> None:
    """Put the hooks that are on devices on these and on no others.

    KernelError for the first device that does not take a program; the others have theirs.
    """
    for hook in probe.device_hooks():
        wanted = {str(device.index): device for device in devices}
        for name in sorted(links.names() - set(wanted)):
            links.drop(name)
        program = links.open_program(hook)
        try:
            _attach_new(probe, hook, program, links, wanted)
        finally:
            os.close(program)


def _attach_new(
    probe: Probe, hook: DeviceHook, program: int, links: Links, wanted: dict[str, Device]
) -> None:
    failed: list[KernelError] = []
    for name in sorted(set(wanted) - links.names()):
        device = wanted[name]
        try:
            links.keep(name, attach_device(probe, hook, program, device.index, device.name))
        except KernelError as error:
            failed.append(error)
    if failed:
        raise failed[0]
