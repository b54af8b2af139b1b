"""Pins a probe's set of maps and attachments, or adopts the pinned one.

In: a probe, settings, a pin directory that the caller has locked, and devices.
Out: the maps of the attached probe. Never: a batch read, or a replaced set removed undrained.

A set is made, then renamed, then attached: what a process killed in between leaves behind is
completed or removed by the next one (directory.py has the names).
"""

import errno
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from kzn.agent.devices.table import Device
from kzn.agent.maps.mapset import MAPS_OF_ROWS, DamagedError, MapSet, seen_bytes
from kzn.agent.maps.structs import LAYOUT, LAYOUT_BEFORE_ROWS, Phase, SpoolState, boottime_ns
from kzn.agent.pins.attachments import (
    AttachmentStore,
    PinnedAttachments,
    ProcessAttachments,
    TrialAttachments,
    attach_again,
    attach_all,
    follow,
    release,
    release_pins,
)
from kzn.agent.pins.directory import (
    file_errors,
    has_maps,
    is_note,
    is_set,
    locked,
    new,
    next_retired,
    put_aside,
)
from kzn.errors import KernelError, KznError
from kzn.libbpf.maps import Map
from kzn.libbpf.objects import BpfObject
from kzn.libbpf.pins import open_as, opened, pin
from kzn.probes.attach import MAPS, load
from kzn.probes.declaration import Probe
from kzn.probes.settings import Settings

log = logging.getLogger(__name__)


@contextmanager
def unpinned(
    probe: Probe,
    settings: Settings,
    devices: Sequence[Device] = (),
    attachments: ProcessAttachments | None = None,
) -> Iterator[MapSet]:
    """Attach the probe without pins for the length of the block, beside any other.

    Hooks on devices are attached to ``devices``; a caller that passes ``attachments`` can have them
    follow other devices later (`attachments.follow`).
    """
    with (
        attachments or ProcessAttachments() as store,
        load(probe, settings) as loaded,
        _duplicate(loaded) as maps,
    ):
        _initialise(maps, settings.digest(probe.image()))
        attach_all(probe, loaded, store)
        follow(probe, store, devices)
        yield maps


def install(
    probe: Probe, settings: Settings, pin_dir: Path, devices: Sequence[Device] = ()
) -> MapSet:
    """The probe's pinned set, attached: the existing one, which must fit, or a first one.

    Hooks on devices are attached to ``devices`` and to no others.
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


def must_replace(probe: Probe, settings: Settings, pin_dir: Path) -> bool:
    """Whether the probe's pinned set is of another object, layout or other settings."""
    folder = pin_dir / probe.name
    if not folder.is_dir():
        return False
    maps = open_set(folder)
    if maps is None or PinnedAttachments(folder).has_others():
        log.error("%s is damaged or of an incompatible kzn version: it is replaced", folder)
        if maps is not None:
            maps.close()
        return True
    with maps:
        return maps.state().settings != settings.digest(probe.image())


@dataclass(frozen=True, slots=True)
class TrialSet:
    """A set at `directory.new`, attached beside the set that counts; its links are not pinned."""

    folder: Path
    maps: MapSet
    attachments: TrialAttachments

    def end(self) -> None:
        """Detach and remove it."""
        self.maps.close()
        _end_trial(self.folder, self.attachments)


def on_trial(
    probe: Probe, settings: Settings, pin_dir: Path, devices: Sequence[Device] = ()
) -> TrialSet:
    """A new set beside the one that counts, until `TrialSet.end` or `takeover` makes it that."""
    with file_errors(pin_dir), ExitStack() as cleanup:
        folder = new(pin_dir / probe.name)
        remove(folder)
        store = TrialAttachments(folder)
        cleanup.callback(_end_trial, folder, store)
        with load(probe, settings) as loaded:
            _pin_set(probe, settings, folder, loaded)
            maps = _attach(probe, folder, loaded, store)
        cleanup.callback(maps.close)
        follow(probe, store, devices)
        cleanup.pop_all()
        return TrialSet(folder, maps, store)


def _end_trial(folder: Path, store: TrialAttachments) -> None:
    if folder.is_dir():
        release(store)
    remove(folder)


def _install(probe: Probe, settings: Settings, folder: Path) -> MapSet:
    remove(new(folder))
    if folder.exists() and not folder.is_dir():
        remove(folder)
    if folder.exists():
        maps = open_set(folder)
        if maps is None:
            raise KznError(f"{folder} was changed while the agent started")
        return _adopt(probe, settings, folder, maps)
    with load(probe, settings) as loaded:
        _pin_set(probe, settings, new(folder), loaded)
        new(folder).rename(folder)
        return _attach(probe, folder, loaded, PinnedAttachments(folder))


def retire(folder: Path) -> Path:
    """Detach a set, which is then to be drained and removed; returns its new path."""
    release_pins(folder)
    return folder.rename(next_retired(folder))


def open_set(folder: Path) -> MapSet | None:
    """The maps pinned in a folder; None when it is not a whole, undamaged set.

    It may be of the layout before (`MapSet.has_rows`): it is shipped and replaced.
    """
    with ExitStack() as cleanup:
        fds: dict[str, int] = {}
        for name in MAPS:
            fd = open_as(folder / name, "map")
            if fd is not None:
                fds[name] = fd
                cleanup.callback(os.close, fd)
            elif name not in MAPS_OF_ROWS:
                return None
        maps = MapSet(fds)
        if not _is_readable(maps):
            return None
        cleanup.pop_all()  # the maps own the descriptors now
        return maps


def held_bytes(folder: Path) -> int:
    """Upper bound of the bytes in a set that no batch has delivered; 0 if it cannot be read."""
    maps = open_set(folder)
    if maps is not None:
        with maps:
            state = maps.state()
            applied = state.buffer if state.phase is Phase.ACKNOWLEDGED else None
            return sum(maps.seen(buffer).bytes for buffer in (0, 1) if buffer != applied)
    try:
        with opened(folder / "totals") as fd:
            return seen_bytes(Map(fd, "totals"), is_packed=(folder / "rows").exists())
    except KernelError:
        return 0


def _is_readable(maps: MapSet) -> bool:
    try:
        if not maps.layout_fits():
            return False
        state = maps.state()
    except DamagedError:
        return False
    except KernelError as error:
        if error.errno in (errno.EINVAL, errno.EBADF, errno.ENOENT):  # not maps, or of other types
            return False
        raise
    layout = LAYOUT if maps.has_rows else LAYOUT_BEFORE_ROWS
    return state.layout == layout and state.epoch != 0


def detach_all(pin_dir: Path) -> list[Path]:
    """Detach and unpin every set in the pin directory; returns their paths.

    Other objects that are pinned there stay. KznError while an agent uses the directory.
    """
    with file_errors(pin_dir):
        if not pin_dir.exists():
            return []
        with locked(pin_dir):
            return _remove_all(pin_dir)


def _remove_all(pin_dir: Path) -> list[Path]:
    found = sorted(p for p in pin_dir.iterdir() if p.is_dir() and (is_set(p) or has_maps(p)))
    for folder in found:
        remove(folder)
    return [folder for folder in found if not is_note(folder.name)]


def _adopt(probe: Probe, settings: Settings, folder: Path, maps: MapSet) -> MapSet:
    pins = PinnedAttachments(folder)
    try:
        if pins.missing(probe):
            with load(probe, settings, reuse=maps.fds()) as loaded:
                attach_all(probe, loaded, pins)
        for hook in probe.netfilter_hooks():
            attach_again(probe, hook, pins, maps)
    except BaseException:
        maps.close()
        raise
    log.info("adopted %s, epoch %016x", folder, maps.state().epoch)
    return maps


def _attach(probe: Probe, folder: Path, loaded: BpfObject, store: AttachmentStore) -> MapSet:
    attach_all(probe, loaded, store)
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
                hint="the object was built with another flow.h: make -C bpf",
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


def remove(folder: Path) -> None:
    """Detach and unpin one set, if it exists; what is not one is put aside."""
    if not folder.exists():
        return
    if folder.is_dir():
        release_pins(folder)
    if not folder.is_dir() or not is_set(folder):
        log.warning(
            "%s is not a set of kzn's pins, or has others among them: renamed to %s",
            folder,
            put_aside(folder).name,
        )
        return
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
