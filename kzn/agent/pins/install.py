"""Puts a probe into the kernel and keeps it there by pins: adopt what fits, replace what does not.

    <pin-dir>/<probe>/            flows_0 flows_1 totals control spool fence link_ipv4 link_ipv6
                                  (on devices: program_egress, link_<index> or
                                  filter_<index> qdisc_<index>)
    <pin-dir>/<probe>+new         being made, or on trial: what it counts is in no batch
    <pin-dir>/<probe>+retired+N   replaced; its links are gone, its last batches not yet shipped

A set is made, then renamed, then linked: a process killed in between leaves something that the
next one finishes. (A bpffs refuses names with a dot, kernel/bpf/inode.c: bpf_lookup.)
"""

import errno
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path

from kzn.agent.devices.uplinks import Device
from kzn.agent.maps.mapset import MapSet
from kzn.agent.maps.structs import LAYOUT, Phase, SpoolState, boottime_ns
from kzn.agent.pins.attachments import (
    LINK,
    PREFIXES,
    PinnedAttachments,
    ProcessAttachments,
    attach_all,
    follow,
    release,
)
from kzn.agent.pins.notes import is_note
from kzn.errors import KernelError, KznError, UnsupportedError
from kzn.libbpf.objects import BpfObject
from kzn.libbpf.pins import open_pin, pin, require_bpffs
from kzn.probes.attach import MAPS, load
from kzn.probes.declaration import Probe
from kzn.probes.settings import Settings

log = logging.getLogger(__name__)

NEW, RETIRED = "+new", "+retired+"


@contextmanager
def locked(pin_dir: Path) -> Iterator[None]:
    """Hold the pin directory: one agent at a time drains it. KznError when another one does."""
    require_bpffs(pin_dir)
    with file_errors(pin_dir):
        pin_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(pin_dir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        flock(fd, LOCK_EX | LOCK_NB)
        yield
    except BlockingIOError as error:
        raise KznError(
            f"another kzn agent uses pin directory {pin_dir}",
            hint="stop it, or give this one another --pin-dir",
        ) from error
    finally:
        os.close(fd)


@contextmanager
def file_errors(pin_dir: Path) -> Iterator[None]:
    """Turn what the file system answers about a pin directory into a KznError with a hint."""
    try:
        yield
    except PermissionError as error:
        if any("." in part for part in pin_dir.parts):
            raise KznError(
                f"pin directory {pin_dir}: {error.strerror}",
                hint="a bpf file system takes no name with a dot in it: name another --pin-dir",
            ) from error
        raise UnsupportedError(
            f"pin directory {pin_dir}: {error.strerror}", hint="run as root"
        ) from error
    except OSError as error:
        name = error.filename or pin_dir
        raise KznError(
            f"pin directory {pin_dir}: {name}: {error.strerror}",
            hint="name a --pin-dir that only kzn agent uses",
        ) from error


@contextmanager
def unpinned(
    probe: Probe,
    settings: Settings,
    devices: Sequence[Device] = (),
    held: ProcessAttachments | None = None,
) -> Iterator[MapSet]:
    """The probe attached for the length of the block, beside any other, leaving nothing behind.

    Hooks on devices are put on ``devices``; with ``held`` they can follow others (hooks.follow).
    """
    with (
        held or ProcessAttachments() as links,
        load(probe, settings) as loaded,
        _duplicate(loaded) as maps,
    ):
        _initialise(maps, settings.digest(probe.image()))
        attach_all(probe, loaded, links)
        follow(probe, links, devices)
        yield maps


def install(
    probe: Probe, settings: Settings, pin_dir: Path, devices: Sequence[Device] = ()
) -> MapSet:
    """The pinned set of this probe, attached: what is there when it fits, else a new one.

    Hooks on devices are put on ``devices`` and on no others.
    """
    with file_errors(pin_dir):
        folder = pin_dir / probe.name
        maps = _install(probe, settings, folder)
        try:
            follow(probe, PinnedAttachments(folder), devices)
        except BaseException:
            maps.close()
            raise
        return maps


def on_trial(
    probe: Probe, settings: Settings, pin_dir: Path, devices: Sequence[Device] = ()
) -> MapSet:
    """A new set in ``<probe>+new``, attached beside whatever else counts.

    To take it for good is to rename it; `remove` takes it away.
    """
    with file_errors(pin_dir):
        new = pin_dir / f"{probe.name}{NEW}"
        remove(new)
        try:
            with load(probe, settings) as loaded:
                _pin_set(probe, settings, new, loaded)
                maps = _link(probe, new, loaded)
            follow(probe, PinnedAttachments(new), devices)
        except BaseException:
            remove(new)
            raise
        return maps


def _install(probe: Probe, settings: Settings, folder: Path) -> MapSet:
    remove(folder.with_name(f"{folder.name}{NEW}"))
    if folder.exists():
        maps = open_set(folder)
        if maps and _fits(maps, settings.digest(probe.image())):
            return _relink(probe, settings, folder, maps)
        if maps:
            maps.close()
        return _replace(probe, settings, folder)
    with load(probe, settings) as loaded:
        _make(probe, settings, folder, loaded)
        return _link(probe, folder, loaded)


def retired(probe: Probe | None, pin_dir: Path) -> list[Path]:
    """Sets of a probe, or of all, that were replaced and may still hold batches, oldest first."""
    name = probe.name if probe else "*"
    return sorted(pin_dir.glob(f"{name}{RETIRED}*"), key=_number)


def retire(folder: Path) -> Path:
    """Detach a set that is to be drained and removed; where it is now."""
    release(PinnedAttachments(folder))
    number = max(map(_number, folder.parent.glob(f"{folder.name}{RETIRED}*")), default=0)
    return folder.rename(folder.with_name(f"{folder.name}{RETIRED}{number + 1}"))


def open_set(folder: Path) -> MapSet | None:
    """The maps pinned in a folder; None when it is not a whole set of this layout."""
    fds: dict[str, int] = {}
    try:
        for name in MAPS:
            fds[name] = open_pin(folder / name)
    except KernelError as error:
        for fd in fds.values():
            os.close(fd)
        if error.errno == errno.ENOENT:
            return None
        raise
    maps = MapSet(fds)
    if maps.layout_fits() and maps.state().layout == LAYOUT:
        return maps
    maps.close()
    return None


def links(folder: Path) -> list[Path]:
    """The links pinned in a folder."""
    return sorted(folder.glob(f"{LINK}*"))


def detach_all(pin_dir: Path) -> list[Path]:
    """Detach and unpin every set below the pin directory; what was removed.

    What others pinned there is left alone. KznError while an agent uses it.
    """
    with file_errors(pin_dir):
        if not pin_dir.exists():
            return []
        with locked(pin_dir):
            return _remove_all(pin_dir)


def _remove_all(pin_dir: Path) -> list[Path]:
    found = sorted(path for path in pin_dir.iterdir() if path.is_dir() and is_set(path))
    for folder in found:
        remove(folder)
    return [folder for folder in found if not is_note(folder.name)]


def is_set(folder: Path) -> bool:
    """Whether kzn made a folder: also when it died meanwhile, or was of another version."""
    names = {path.name for path in folder.iterdir() if not path.is_dir()}
    if len(names) < len(list(folder.iterdir())):
        return False
    is_whole = {"control", "spool"} <= names
    return is_whole or all(name in MAPS or name.startswith(PREFIXES) for name in names)


def _number(folder: Path) -> int:
    return int(folder.name.rpartition("+")[2])


def _replace(probe: Probe, settings: Settings, folder: Path) -> MapSet:
    """Load the new programs first, so that the time without any hook is short."""
    with load(probe, settings) as loaded:
        new = folder.with_name(f"{folder.name}{NEW}")
        _pin_set(probe, settings, new, loaded)
        old = retire(folder)
        new.rename(folder)
        log.info("replaced the programs of %s; %s will be drained and removed", probe.name, old)
        return _link(probe, folder, loaded)


def _make(probe: Probe, settings: Settings, folder: Path, loaded: BpfObject) -> None:
    new = folder.with_name(f"{folder.name}{NEW}")
    _pin_set(probe, settings, new, loaded)
    new.rename(folder)


def _relink(probe: Probe, settings: Settings, folder: Path, maps: MapSet) -> MapSet:
    if not PinnedAttachments(folder).missing(probe):
        log.info("adopted %s, epoch %016x", folder, maps.state().epoch)
        return maps
    with load(probe, settings, reuse=maps.fds()) as loaded:
        maps.close()
        return _link(probe, folder, loaded)


def _link(probe: Probe, folder: Path, loaded: BpfObject) -> MapSet:
    attach_all(probe, loaded, PinnedAttachments(folder))
    maps = open_set(folder)
    if maps is None:
        raise KznError(f"{folder} was removed while the agent started")
    return maps


def _pin_set(probe: Probe, settings: Settings, folder: Path, loaded: BpfObject) -> None:
    folder.mkdir(mode=0o700)
    with _duplicate(loaded) as maps:
        _initialise(maps, settings.digest(probe.image()))
    for name in MAPS:
        pin(loaded.map_fd(name), folder / name)


@contextmanager
def _duplicate(loaded: BpfObject) -> Iterator[MapSet]:
    with MapSet({name: os.dup(loaded.map_fd(name)) for name in MAPS}) as maps:
        if not maps.layout_fits():
            raise KznError(
                f"object {loaded.name} has maps of another layout than this kzn reads",
                hint="the object was built from another flow.h: make -C bpf",
            )
        yield maps


def _initialise(maps: MapSet, digest: bytes) -> None:
    now = boottime_ns()
    maps.set_active(0)
    maps.write_state(
        SpoolState(
            phase=Phase.IDLE,
            buffer=1,
            epoch=int.from_bytes(os.urandom(8)) or 1,
            sequence=0,
            opened_ns=(now, now),
            closed_ns=(0, 0),
            settings=digest,
        )
    )


def _fits(maps: MapSet, digest: bytes) -> bool:
    return maps.state().settings == digest


def remove(folder: Path) -> None:
    """Detach and unpin one set; nothing when it is not there."""
    if not folder.exists():
        return
    release(PinnedAttachments(folder))
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
