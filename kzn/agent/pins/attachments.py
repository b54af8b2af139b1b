"""Attaches a probe's hooks, moves those on devices, and attaches again what was detached.

In: a loaded probe, devices. Out: named descriptors, pinned or held by this process.
Never: loads a program, or detaches one that is not in the store.

Links are named by the device's index, since a new device may reuse a name. A link or a filter can
be detached behind kzn's back, and its pin stays: only the kernel knows whether a hook is attached.
"""

import errno
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from kzn.agent.devices import tc_filters
from kzn.agent.devices.netlink import RouteSocket
from kzn.agent.devices.table import Device
from kzn.agent.pins.liveness import Counting, counts_loopback
from kzn.errors import KernelError
from kzn.libbpf.library import errno_text
from kzn.libbpf.links import attach_netfilter, detach, netfilter_link_info, tcx_link_info
from kzn.libbpf.objects import BpfObject, program_id
from kzn.libbpf.pins import open_as, open_pin, pin
from kzn.probes.attach import attach, attach_device
from kzn.probes.declaration import DeviceHook, Hook, NetfilterHook, Probe

log = logging.getLogger(__name__)

LINK = "link_"
PROGRAM = "program_"
FILTER = "filter_"
QDISC = "qdisc_"
"""Marks a device whose clsact qdisc kzn created for its filter."""
HEADERLESS = "_headerless"
"""Ends the name of the program for devices without a link-layer header."""
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
        found = {path.name for path in self._folder.iterdir() if not path.is_dir()}
        return {name for name in found if name.startswith(PREFIXES)}

    def add(self, name: str, fd: int) -> None:
        """Pin it."""
        try:
            pin(fd, self._folder / name)
        finally:
            os.close(fd)

    def remove(self, name: str) -> None:
        """Unpin it."""
        path, kind = self._folder / name, _kind(name)
        fd = open_as(path, kind)
        path.unlink()
        if fd is None:
            log.warning("%s is not a %s: unpinned", path, kind)
        elif kind == "link":
            detach(fd, str(path))
        else:
            os.close(fd)

    def open(self, name: str) -> int:
        """A new descriptor of a pinned object."""
        return open_pin(self._folder / name)

    def has_others(self) -> bool:
        """Whether something is in the place of a link or program that is neither."""
        names = [path.name for path in self._folder.iterdir() if path.name.startswith(PREFIXES)]
        return not all(self._is_whole(name) for name in names)

    def drop_others(self) -> None:
        """Unpin them, so that all names can be opened; directories stay."""
        for name in sorted(self.names()):
            if not self._is_whole(name):
                self.remove(name)

    def _is_whole(self, name: str) -> bool:
        """Whether it is of the kind that its name tells."""
        fd = open_as(self._folder / name, _kind(name))
        if fd is not None:
            os.close(fd)
        return fd is not None

    def missing(self, probe: Probe) -> list[Path]:
        """Pins that an attached probe always has, and that do not exist."""
        links = [f"{LINK}{hook.name}" for hook in probe.netfilter_hooks()]
        programs = [name for hook in probe.hooks for name in _programs(hook)]
        paths = [self._folder / name for name in [*links, *programs]]
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

    def take(self, name: str) -> int:
        """Hand a descriptor over to the caller."""
        return self._fds.pop(name)

    def open(self, name: str) -> int:
        """A duplicate of a descriptor."""
        return os.dup(self._fds[name])


class TrialAttachments:
    """Of a set on trial in a folder: links are held by this process, and so end with it.

    Programs are pinned, and so is what marks filters and qdiscs, which have no descriptor that
    removes them: the next start and `kzn detach` do.
    """

    def __init__(self, folder: Path) -> None:
        self._pins = PinnedAttachments(folder)
        self._held = ProcessAttachments()

    def names(self) -> set[str]:
        """The names of what is pinned and of what is held."""
        return self._pins.names() | self._held.names()

    def add(self, name: str, fd: int) -> None:
        """Hold a link, pin all else."""
        self._of(name).add(name, fd)

    def remove(self, name: str) -> None:
        """Close or unpin it."""
        self._of(name).remove(name)

    def open(self, name: str) -> int:
        """A new descriptor."""
        return self._of(name).open(name)

    def keep(self) -> None:
        """The trial is over: pin the links too."""
        for name in sorted(self._held.names()):
            self._pins.add(name, self._held.take(name))

    def _of(self, name: str) -> AttachmentStore:
        return self._held if name.startswith(LINK) else self._pins


def _kind(name: str) -> str:
    return "link" if name.startswith(LINK) else "prog"


def attach_all(probe: Probe, loaded: BpfObject, store: AttachmentStore) -> None:
    """Store the programs of all hooks and attach netfilter hooks, unless already stored."""
    stored = store.names()
    for hook in probe.hooks:
        for name, function in zip(_programs(hook), hook.programs, strict=True):
            if name not in stored:
                store.add(name, os.dup(loaded.program_fd(function)))
    for netfilter_hook in probe.netfilter_hooks():
        if f"{LINK}{netfilter_hook.name}" not in stored:
            program = loaded.program_fd(netfilter_hook.program)
            store.add(f"{LINK}{netfilter_hook.name}", attach(probe, netfilter_hook, program))


def _program(hook: Hook) -> str:
    """The name of a hook's program, which attaches the hook again, or to a new device."""
    return f"{PROGRAM}{hook.name}"


def _programs(hook: Hook) -> list[str]:
    """The names of all programs of a hook, in the order of `Hook.programs`."""
    return [f"{_program(hook)}{suffix}" for suffix in ("", HEADERLESS)[: len(hook.programs)]]


def _program_for(hook: DeviceHook, device: Device) -> str:
    return _program(hook) if device.is_ethernet else f"{_program(hook)}{HEADERLESS}"


def attach_again(
    probe: Probe, hook: NetfilterHook, store: AttachmentStore, maps: Counting | None = None
) -> bool:
    """Attach a netfilter hook again if its stored link is detached; whether it was.

    The kernel describes a detached link like an attached one, but gives each priority to one
    program only. So to attach at the link's own priority fails with EBUSY while it is attached,
    and no packet is seen twice. EBUSY may also come from another program, which took the priority
    after the link was detached: with the hook's ``maps``, packets tell (liveness.py), and the hook
    is then attached at the next free priority. KernelError for any other failure.
    """
    name, what = f"{LINK}{hook.name}", f"{probe.name}/{hook.name}"
    with _opened(store, name) as link:
        info = netfilter_link_info(link, name)
    priority = info.priority if info else hook.priorities[0]
    with _opened(store, _program(hook)) as program:
        try:
            fd = attach_netfilter(program, hook.family, hook.hook, priority, what)
        except KernelError as error:
            if error.errno != errno.EBUSY:
                raise
            if maps is None or counts_loopback(hook, maps) is not False:
                return False
            log.warning("another program has priority %d, which %s had", priority, what)
            store.remove(name)
            store.add(name, attach(probe, hook, program))
        else:
            store.remove(name)
            store.add(name, fd)
    log.warning("another program had detached %s; attached it again", what)
    return True


def attached_devices(probe: Probe, store: AttachmentStore) -> frozenset[int]:
    """The devices that the kernel has the probe's hook attached to.

    KernelError when the kernel cannot be asked.
    """
    found: set[int] = set()
    for hook in probe.device_hooks():
        if hook.kind.attachment == "tcx link":
            found.update(i for i in indices(store, LINK) if _has_link(store, i))
        else:
            found.update(_filtered(store))
    return frozenset(found)


def _has_link(store: AttachmentStore, index: int) -> bool:
    with _opened(store, f"{LINK}{index}") as link:
        info = tcx_link_info(link, f"{LINK}{index}")
    return info is not None and info.index == index


def _filtered(store: AttachmentStore) -> Iterator[int]:
    stored = indices(store, FILTER)
    if not stored:
        return
    with RouteSocket() as netlink:
        for index in stored:
            with _opened(store, f"{FILTER}{index}") as program:
                if program_id(program) in netlink.egress_programs(index):
                    yield index


def release(store: AttachmentStore) -> None:
    """Detach and remove everything, of whichever probe it is."""
    _remove_filters(store, indices(store, FILTER))
    for name in sorted(store.names()):
        store.remove(name)


def release_pins(folder: Path) -> None:
    """`release` of what is pinned in a folder, also if others have changed it."""
    pins = PinnedAttachments(folder)
    pins.drop_others()
    release(pins)


def hand_over_qdiscs(old: AttachmentStore, new: AttachmentStore) -> None:
    """Mark qdiscs that kzn created for filters of ``old`` as created for those of ``new``."""
    for index in indices(old, QDISC) & indices(new, FILTER) - indices(new, QDISC):
        with _opened(old, f"{QDISC}{index}") as program:
            new.add(f"{QDISC}{index}", os.dup(program))


def indices(store: AttachmentStore, *prefixes: str) -> frozenset[int]:
    """The devices for which something with one of these prefixes is stored."""
    rest = {name.removeprefix(p) for name in store.names() for p in prefixes if name.startswith(p)}
    return frozenset(int(text) for text in rest if text.isdecimal())


def follow(probe: Probe, store: AttachmentStore, devices: Sequence[Device]) -> None:
    """Attach the hooks on devices to these devices and detach them from all others.

    KernelError for the first device that does not take a program; the others have theirs.
    """
    wanted = {device.index: device for device in devices}
    lost = indices(store, LINK, FILTER) & set(wanted) - attached_devices(probe, store)
    for hook in probe.device_hooks():
        for index in lost:
            what = f"{probe.name}/{hook.name}"
            log.warning("another program had detached %s from %s", what, wanted[index].name)
        if hook.kind.attachment == "tcx link":
            _follow_by_links(probe, hook, store, wanted, lost)
        else:
            _follow_by_filters(probe, hook, store, wanted, lost)


def _follow_by_links(
    probe: Probe,
    hook: DeviceHook,
    store: AttachmentStore,
    wanted: Mapping[int, Device],
    lost: frozenset[int],
) -> None:
    for index in sorted(indices(store, LINK) - set(wanted) | lost):
        store.remove(f"{LINK}{index}")
    failed: list[KernelError] = []
    for index in sorted(set(wanted) - indices(store, LINK)):
        with _opened(store, _program_for(hook, wanted[index])) as program:
            try:
                fd = attach_device(probe, hook, program, index, wanted[index].name)
            except KernelError as error:
                failed.append(error)
            else:
                store.add(f"{LINK}{index}", fd)
    if failed:
        raise failed[0]


def _follow_by_filters(
    probe: Probe,
    hook: DeviceHook,
    store: AttachmentStore,
    wanted: Mapping[int, Device],
    lost: frozenset[int],
) -> None:
    _remove_filters(store, indices(store, FILTER) - set(wanted))
    for index in lost:
        store.remove(f"{FILTER}{index}")
    by_program: dict[str, set[int]] = {}
    for index in set(wanted) - indices(store, FILTER):
        by_program.setdefault(_program_for(hook, wanted[index]), set()).add(index)
    for name, new in sorted(by_program.items()):
        _add_filters(f"{probe.name}/{hook.name}", name, store, {i: wanted[i] for i in new})


def _add_filters(
    what: str, name: str, store: AttachmentStore, wanted: Mapping[int, Device]
) -> None:
    """Add filters that run the stored program ``name`` to devices that have none."""
    new = set(wanted)
    with _opened(store, name) as program:
        for index in new:
            store.add(f"{FILTER}{index}", os.dup(program))
        outcome = tc_filters.place(program, what, new)
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
    by_program: dict[int, set[int]] = {}
    for index in devices:
        with _opened(store, f"{FILTER}{index}") as program:
            by_program.setdefault(program_id(program), set()).add(index)
    for same in by_program.values():
        with _opened(store, f"{FILTER}{min(same)}") as program:
            tc_filters.remove(program, same, qdiscs & same)
    for name in [f"{FILTER}{index}" for index in devices] + [f"{QDISC}{i}" for i in qdiscs]:
        store.remove(name)


@contextmanager
def _opened(store: AttachmentStore, name: str) -> Iterator[int]:
    fd = store.open(name)
    try:
        yield fd
    finally:
        os.close(fd)
