"""Which hooks of a probe are attached: kept by pins, or by this process alone.

Hooks on devices follow them: a program is attached to a device that is new, and the link of one
that has gone is let go. Links are named by the device's index, since its name may come again.
"""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from kzn.agent.devices import tc_filters
from kzn.agent.devices.uplinks import Device
from kzn.errors import KernelError
from kzn.libbpf.library import errno_text
from kzn.libbpf.links import detach
from kzn.libbpf.objects import BpfObject
from kzn.libbpf.pins import open_pin, pin
from kzn.probes.attach import attach, attach_device
from kzn.probes.declaration import DeviceHook, Hook, Probe

log = logging.getLogger(__name__)

LINK = "link_"
PROGRAM = "program_"
FILTER = "filter_"
QDISC = "qdisc_"
"""Says that the device's clsact qdisc was made for our filter."""
PREFIXES = (LINK, PROGRAM, FILTER, QDISC)


class AttachmentStore(Protocol):
    """Where links live, and programs that others are made of, by name.

    A filter has no descriptor: its program stands for it, kept before the filter is made.
    """

    def names(self) -> set[str]:
        """The names of all that is kept."""

    def keep(self, name: str, fd: int) -> None:
        """Take over a descriptor."""

    def drop(self, name: str) -> None:
        """Forget it; a link is detached."""

    def open(self, name: str) -> int:
        """A new descriptor of what is kept."""


class PinnedAttachments:
    """Pins in a folder: they need no process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def names(self) -> set[str]:
        """What is pinned in the folder."""
        found = {path.name for path in self._folder.iterdir()}
        return {name for name in found if name.startswith(PREFIXES)}

    def keep(self, name: str, fd: int) -> None:
        """Pin it."""
        try:
            pin(fd, self._folder / name)
        finally:
            os.close(fd)

    def drop(self, name: str) -> None:
        """Unpin it."""
        path = self._folder / name
        fd = open_pin(path)
        path.unlink()
        if name.startswith(LINK):
            detach(fd, str(path))
        else:
            os.close(fd)

    def open(self, name: str) -> int:
        """A new descriptor of what is pinned."""
        return open_pin(self._folder / name)

    def missing(self, probe: Probe) -> list[Path]:
        """Pins that must be there while this probe is attached, and are not."""
        paths = [self._folder / _pin_of(hook) for hook in probe.hooks]
        return [path for path in paths if not path.exists()]


class ProcessAttachments:
    """Descriptors of this process; all is detached when the block ends."""

    def __init__(self) -> None:
        self._fds: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        release(self)

    def names(self) -> set[str]:
        """What is held."""
        return set(self._fds)

    def keep(self, name: str, fd: int) -> None:
        """Hold it."""
        self._fds[name] = fd

    def drop(self, name: str) -> None:
        """Close it, which detaches a link."""
        os.close(self._fds.pop(name))

    def open(self, name: str) -> int:
        """A new descriptor of what is held."""
        return os.dup(self._fds[name])


def attach_all(probe: Probe, loaded: BpfObject, links: AttachmentStore) -> None:
    """Keep the programs, and attach the hooks that are on no device, where not done yet."""
    there = links.names()
    for hook in probe.netfilter_hooks():
        if _pin_of(hook) not in there:
            links.keep(_pin_of(hook), attach(probe, hook, loaded))
    for device_hook in probe.device_hooks():
        if _pin_of(device_hook) not in there:
            links.keep(_pin_of(device_hook), os.dup(loaded.program_fd(device_hook.program)))


def _pin_of(hook: Hook) -> str:
    """What is kept while a probe with this hook is attached, whichever devices there are."""
    return f"{PROGRAM if hook.kind.is_on_devices else LINK}{hook.name}"


def release(links: AttachmentStore) -> None:
    """Detach all, and forget it; filters by their program, whatever probe it is of."""
    _take_off(links, indices(links, FILTER))
    for name in sorted(links.names()):
        links.drop(name)


def indices(links: AttachmentStore, *prefixes: str) -> frozenset[int]:
    """Devices that something is kept for."""
    rest = {name.removeprefix(p) for name in links.names() for p in prefixes if name.startswith(p)}
    return frozenset(int(text) for text in rest if text.isdecimal())


def follow(probe: Probe, links: AttachmentStore, devices: Sequence[Device]) -> None:
    """Put the hooks that are on devices on these and on no others.

    KernelError for the first device that does not take a program; the others have theirs.
    """
    wanted = {device.index: device for device in devices}
    for hook in probe.device_hooks():
        if hook.kind.attachment == "tcx link":
            _follow_by_links(probe, hook, links, wanted)
        else:
            _follow_by_filters(probe, hook, links, wanted)


def _follow_by_links(
    probe: Probe, hook: DeviceHook, links: AttachmentStore, wanted: Mapping[int, Device]
) -> None:
    for index in sorted(indices(links, LINK) - set(wanted)):
        links.drop(f"{LINK}{index}")
    failed: list[KernelError] = []
    with _opened(links, PROGRAM + hook.name) as program:
        for index in sorted(set(wanted) - indices(links, LINK)):
            try:
                fd = attach_device(probe, hook, program, index, wanted[index].name)
            except KernelError as error:
                failed.append(error)
            else:
                links.keep(f"{LINK}{index}", fd)
    if failed:
        raise failed[0]


def _follow_by_filters(
    probe: Probe, hook: DeviceHook, links: AttachmentStore, wanted: Mapping[int, Device]
) -> None:
    _take_off(links, indices(links, FILTER) - set(wanted))
    if not wanted:
        return
    what = f"{probe.name}/{hook.name}"
    new = set(wanted) - indices(links, FILTER)
    with _opened(links, PROGRAM + hook.name) as program:
        for index in new:
            links.keep(f"{FILTER}{index}", os.dup(program))
        outcome = tc_filters.place(program, what, wanted)
        for index in sorted(outcome.made - indices(links, QDISC)):
            links.keep(f"{QDISC}{index}", os.dup(program))
    for index in sorted(new - set(outcome.failed)):
        log.info("attached %s to %s", what, wanted[index].name)
    for index, code in outcome.failed.items():
        links.drop(f"{FILTER}{index}")
        raise KernelError(f"attach {what} to {wanted[index].name}: {errno_text(code)}", errno=code)


def _take_off(links: AttachmentStore, off: frozenset[int]) -> None:
    if not off:
        return
    made = indices(links, QDISC) & off
    with _opened(links, f"{FILTER}{min(off)}") as program:
        tc_filters.remove(program, off, made)
    for name in [f"{FILTER}{index}" for index in off] + [f"{QDISC}{index}" for index in made]:
        links.drop(name)


@contextmanager
def _opened(links: AttachmentStore, name: str) -> Iterator[int]:
    fd = links.open(name)
    try:
        yield fd
    finally:
        os.close(fd)
