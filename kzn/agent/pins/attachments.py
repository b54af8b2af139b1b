"""Attaches a probe's hooks, and moves those on devices as devices appear and disappear.

In: a loaded probe, devices. Out: named descriptors, pinned or held by this process.
Never: loads a program, or detaches one that is not in the store.

Links are named by the device's index, since a new device may reuse a name.
"""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from kzn.agent.devices import tc_filters
from kzn.agent.devices.table import Device
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
"""Marks a device whose clsact qdisc kzn created for its filter."""
PREFIXES = (LINK, PROGRAM, FILTER, QDISC)


class AttachmentStore(Protocol):
    """Links, and programs that links or filters are made of, by name.

    A filter has no descriptor: its program stands for it, added before the filter is made.
    """

    def names(self) -> set[str]:
        """The names of all that is stored."""

    def add(self, name: str, fd: int) -> None:
        """Take over a descriptor."""

    def remove(self, name: str) -> None:
        """Release it, which detaches a link."""

    def open(self, name: str) -> int:
        """A new descriptor."""


class PinnedAttachments:
    """Pins in a folder, which outlive the process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def names(self) -> set[str]:
        """The names of the pins."""
        found = {path.name for path in self._folder.iterdir()}
        return {name for name in found if name.startswith(PREFIXES)}

    def add(self, name: str, fd: int) -> None:
        """Pin it."""
        try:
            pin(fd, self._folder / name)
        finally:
            os.close(fd)

    def remove(self, name: str) -> None:
        """Unpin it."""
        path = self._folder / name
        fd = open_pin(path)
        path.unlink()
        if name.startswith(LINK):
            detach(fd, str(path))
        else:
            os.close(fd)

    def open(self, name: str) -> int:
        """A new descriptor of a pinned object."""
        return open_pin(self._folder / name)

    def missing(self, probe: Probe) -> list[Path]:
        """Pins that an attached probe always has, and that do not exist."""
        paths = [self._folder / _name(hook) for hook in probe.hooks]
        return [path for path in paths if not path.exists()]


class ProcessAttachments:
    """Descriptors of this process; everything is detached when the block ends."""

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
        """The names of the descriptors."""
        return set(self._fds)

    def add(self, name: str, fd: int) -> None:
        """Take over a descriptor."""
        self._fds[name] = fd

    def remove(self, name: str) -> None:
        """Close it, which detaches a link."""
        os.close(self._fds.pop(name))

    def open(self, name: str) -> int:
        """A duplicate of a descriptor."""
        return os.dup(self._fds[name])


def attach_all(probe: Probe, loaded: BpfObject, store: AttachmentStore) -> None:
    """Attach netfilter hooks, and store the programs of hooks on devices, unless already stored."""
    stored = store.names()
    for hook in probe.netfilter_hooks():
        if _name(hook) not in stored:
            store.add(_name(hook), attach(probe, hook, loaded))
    for device_hook in probe.device_hooks():
        if _name(device_hook) not in stored:
            store.add(_name(device_hook), os.dup(loaded.program_fd(device_hook.program)))


def _name(hook: Hook) -> str:
    """The name of what is stored for a hook, whichever devices exist."""
    return f"{PROGRAM if hook.kind.is_on_devices else LINK}{hook.name}"


def release(store: AttachmentStore) -> None:
    """Detach and remove everything, of whichever probe it is."""
    _remove_filters(store, indices(store, FILTER))
    for name in sorted(store.names()):
        store.remove(name)


def indices(store: AttachmentStore, *prefixes: str) -> frozenset[int]:
    """The devices for which something with one of these prefixes is stored."""
    rest = {name.removeprefix(p) for name in store.names() for p in prefixes if name.startswith(p)}
    return frozenset(int(text) for text in rest if text.isdecimal())


def follow(probe: Probe, store: AttachmentStore, devices: Sequence[Device]) -> None:
    """Attach the hooks on devices to these devices and detach them from all others.

    KernelError for the first device that does not take a program; the others have theirs.
    """
    wanted = {device.index: device for device in devices}
    for hook in probe.device_hooks():
        if hook.kind.attachment == "tcx link":
            _follow_by_links(probe, hook, store, wanted)
        else:
            _follow_by_filters(probe, hook, store, wanted)


def _follow_by_links(
    probe: Probe, hook: DeviceHook, store: AttachmentStore, wanted: Mapping[int, Device]
) -> None:
    for index in sorted(indices(store, LINK) - set(wanted)):
        store.remove(f"{LINK}{index}")
    failed: list[KernelError] = []
    with _opened(store, _name(hook)) as program:
        for index in sorted(set(wanted) - indices(store, LINK)):
            try:
                fd = attach_device(probe, hook, program, index, wanted[index].name)
            except KernelError as error:
                failed.append(error)
            else:
                store.add(f"{LINK}{index}", fd)
    if failed:
        raise failed[0]


def _follow_by_filters(
    probe: Probe, hook: DeviceHook, store: AttachmentStore, wanted: Mapping[int, Device]
) -> None:
    _remove_filters(store, indices(store, FILTER) - set(wanted))
    if not wanted:
        return
    what = f"{probe.name}/{hook.name}"
    new = set(wanted) - indices(store, FILTER)
    with _opened(store, _name(hook)) as program:
        for index in new:
            store.add(f"{FILTER}{index}", os.dup(program))
        outcome = tc_filters.place(program, what, wanted)
        for index in sorted(outcome.made - indices(store, QDISC)):
            store.add(f"{QDISC}{index}", os.dup(program))
    for index in sorted(new - set(outcome.failed)):
        log.info("attached %s to %s", what, wanted[index].name)
    for index, code in outcome.failed.items():
        store.remove(f"{FILTER}{index}")
        raise KernelError(f"attach {what} to {wanted[index].name}: {errno_text(code)}", errno=code)


def _remove_filters(store: AttachmentStore, devices: frozenset[int]) -> None:
    if not devices:
        return
    qdiscs = indices(store, QDISC) & devices
    with _opened(store, f"{FILTER}{min(devices)}") as program:
        tc_filters.remove(program, devices, qdiscs)
    for name in [f"{FILTER}{index}" for index in devices] + [f"{QDISC}{i}" for i in qdiscs]:
        store.remove(name)


@contextmanager
def _opened(store: AttachmentStore, name: str) -> Iterator[int]:
    fd = store.open(name)
    try:
        yield fd
    finally:
        os.close(fd)
