"""Makes one set the one that counts on this node, in place of another.

The one way to replace programs: by another probe, another version or other options, also while a
batch of the old set is not acknowledged.

In: a pin directory that the caller has locked. Out: one set that counts; all others are retired,
to be drained. Never: a packet in the batches of two sets.

While one set replaces another, both are attached. Two writes, one after the other, divide the
traffic: after the first, the old set counts nothing; after the second, the new one counts into a
buffer that is kept, and what it counted before is thrown away. What passes between the two, in some
ten microseconds, is in no batch; its upper bound is reported.

An agent may be killed between any two steps. The first write is what decides: until then the next
agent removes the new set and goes on with the old one, from then on it finishes the replacement.

    step                                                    the next agent
    the new set is on trial, then pinned                    removes it
    old: stop counting                                      finishes; what passed since is bounded
    new: switch buffers; state "clear the other buffer"     finishes
    old: wait for running programs, detach, retire          finishes
    new: rename `+new`, clear the other buffer              adopts it
"""

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from kzn.agent.coverage.hook_coverage import leaving
from kzn.agent.devices.table import Device
from kzn.agent.maps.mapset import MapSet
from kzn.agent.maps.structs import Phase, boottime_ns
from kzn.agent.pins import directory
from kzn.agent.pins.attachments import (
    FILTER,
    LINK,
    PinnedAttachments,
    hand_over_qdiscs,
    release_pins,
)
from kzn.agent.pins.directory import NEW, file_errors
from kzn.agent.pins.install import (
    TrialSet,
    held_bytes,
    install,
    must_replace,
    on_trial,
    open_set,
    remove,
    retire,
)
from kzn.probes.declaration import Probe
from kzn.probes.settings import Settings

log = logging.getLogger(__name__)

MAX_RETIRED = 8
"""Replaced sets that wait to be drained; each may hold as much memory as the set that counts."""


@dataclass(frozen=True, slots=True)
class Lost:
    """Sets that were removed before they were drained, and an upper bound of their bytes."""

    sets: int = 0
    bytes: int = 0


def finish_or_remove(pin_dir: Path) -> int:
    """Finish a replacement that a killed agent had begun; remove what it made or had on trial.

    Returns as `replace_set`.
    """
    uncounted_bytes = 0
    with file_errors(pin_dir):
        for folder in sorted(pin_dir.glob(f"*{NEW}")):
            if not folder.is_dir() or not directory.is_set(folder):
                continue
            maps = open_set(folder)
            if maps is None:
                remove(folder)
                continue
            with maps:
                if _is_decided(maps) or any(map(_is_stopped, _counting(pin_dir))):
                    uncounted_bytes += _finish(pin_dir, folder, maps)
                    continue
            remove(folder)
        for folder in filter(_is_stopped, _counting(pin_dir)):  # another process removed `+new`
            _resume(folder)
    return uncounted_bytes


def _finish(pin_dir: Path, folder: Path, maps: MapSet) -> int:
    uncounted_bytes = 0
    if not _is_decided(maps):
        uncounted_bytes = _switch(None, maps, before=0)
    for old in _counting(pin_dir):
        _wait_for_programs(old)
        retire(old)
    name = directory.probe_of(folder)
    _rename(pin_dir, name)  # its first cut clears what it counted on trial
    log.warning(
        "finished replacing programs by those of probe %s, which a killed agent had begun", name
    )
    return uncounted_bytes


def current_probe(pin_dir: Path) -> str:
    """The probe whose set counts here, of several the one cut last; "" when there is none."""
    with file_errors(pin_dir):
        ages = {folder.name: _age(folder) for folder in directory.current(pin_dir)}
    return max(ages, key=lambda name: ages[name], default="")


def retire_others(pin_dir: Path, probe: str) -> None:
    """Retire all sets but this probe's: what they counted is still to be shipped."""
    with file_errors(pin_dir):
        for folder in directory.retired(None, pin_dir):
            release_pins(folder)  # in case another process has renamed a set
        for folder in directory.current(pin_dir):
            if folder.name != probe:
                log.info("detached probe %s; %s will be drained", folder.name, retire(folder))


def drop_excess(pin_dir: Path) -> Lost:
    """Remove retired sets beyond `MAX_RETIRED`, the oldest first: each holds kernel memory."""
    lost = Lost()
    with file_errors(pin_dir):
        found = directory.retired(None, pin_dir)
        excess = [folder for folder in found if directory.is_set(folder)][:-MAX_RETIRED]
        for folder in excess:
            held = held_bytes(folder)
            log.error(
                "%d replaced sets wait to be drained, %d at most are kept: removed %s with at most"
                " %d bytes that were not delivered",
                len(found),
                MAX_RETIRED,
                folder,
                held,
            )
            remove(folder)
            lost = Lost(lost.sets + 1, lost.bytes + held)
    return lost


def install_or_replace(
    probe: Probe,
    settings: Settings,
    pin_dir: Path,
    devices: Sequence[Device] = (),
    prepare: Callable[[MapSet], None] = lambda _: None,
) -> tuple[MapSet, int]:
    """The probe's pinned set, attached: the existing one if it fits, else a new one in its place.

    ``prepare`` is called with a new set before it counts. The second value is as of `replace_set`.
    """
    if not must_replace(probe, settings, pin_dir):
        return install(probe, settings, pin_dir, devices), 0
    trial = on_trial(probe, settings, pin_dir, devices)
    with ExitStack() as cleanup:
        cleanup.callback(trial.end)
        prepare(trial.maps)
        uncounted_bytes = replace_set(pin_dir, probe.name, probe.name, trial)
        cleanup.pop_all()
        return trial.maps, uncounted_bytes


def accept(pin_dir: Path, name: str, trial: TrialSet) -> None:
    """Make the set on trial the probe's set, with what it has counted so far."""
    with file_errors(pin_dir):
        trial.attachments.keep()
        _rename(pin_dir, name)


def replace_set(pin_dir: Path, old: str, name: str, trial: TrialSet) -> int:
    """Retire the set of ``old`` and accept the one of ``name`` on trial.

    Returns an upper bound of the bytes that are in no batch.
    """
    with file_errors(pin_dir):
        trial.attachments.keep()
        PinnedAttachments(pin_dir / old).drop_others()
        hand_over_qdiscs(PinnedAttachments(pin_dir / old), trial.attachments)
        uncounted_bytes = _divide(pin_dir / old, trial.maps)
        retired = retire(pin_dir / old)
        _accept(pin_dir, name, trial.maps)
    log.info(
        "probe %s replaced %s; at most %d bytes that passed in between are not counted;"
        " %s will be drained",
        name,
        f"probe {old}" if old != name else "its programs of another version or options",
        uncounted_bytes,
        retired,
    )
    return uncounted_bytes


def _divide(folder: Path, new: MapSet) -> int:
    """Let ``new`` count in place of the set in ``folder``; an upper bound of the bytes between."""
    from kzn.agent.maps import buffers  # noqa: PLC0415 - numpy, after the programs (main.py)

    old = open_set(folder)
    if old is None:  # it is damaged: what it counts is not read
        return _switch(None, new, leaving(new, new.active()))
    with old:
        buffers.copy_endpoints(old, new)
        before = leaving(new, new.active())
        uncounted_bytes = _switch(old, new, before)
        old.wait()
    return uncounted_bytes


def _switch(old: MapSet | None, new: MapSet, before: int) -> int:
    """Bytes that ``new`` has thrown away beyond those ``before``."""
    trial = new.active()
    now = boottime_ns()
    state = replace(
        new.state(), phase=Phase.ACKNOWLEDGED, buffer=trial, opened_ns=(now, now), server=0
    )
    if old is not None:
        old.stop()
    new.set_active(1 - trial)
    new.write_state(state)
    new.wait()
    return leaving(new, trial) - before


def _accept(pin_dir: Path, name: str, new: MapSet) -> None:
    """Make the set on trial the probe's set, with what it counted since `_switch`."""
    from kzn.agent.maps.spool import Spool  # noqa: PLC0415 - numpy, after the programs (main.py)

    _rename(pin_dir, name)
    Spool(new).finish_clearing()


def _rename(pin_dir: Path, name: str) -> None:
    remove(pin_dir / name)  # not a set, or it would count: it is put aside
    directory.new(pin_dir / name).rename(pin_dir / name)


def _counting(pin_dir: Path) -> list[Path]:
    """Sets that are neither retired nor on trial."""
    return [folder for folder in directory.current(pin_dir) if not folder.name.endswith(NEW)]


def _is_decided(maps: MapSet) -> bool:
    """Whether a set on trial counts in place of the one before it."""
    return maps.state().phase is Phase.ACKNOWLEDGED


def _is_stopped(folder: Path) -> bool:
    maps = open_set(folder)
    if maps is None:
        return False
    with maps:
        return maps.is_stopped


def _wait_for_programs(folder: Path) -> None:
    maps = open_set(folder)
    if maps is not None:
        with maps:
            maps.wait()


def _resume(folder: Path) -> None:
    maps = open_set(folder)
    if maps is not None:
        with maps:
            maps.resume()
        log.warning("%s had stopped counting for a set that is gone: it counts again", folder)


def _age(folder: Path) -> tuple[bool, int]:
    """Orders sets: detached ones before attached ones, then by their last cut."""
    maps = open_set(folder)
    if maps is None:
        return False, 0
    with maps:
        opened = max(maps.state().opened_ns)
    names = PinnedAttachments(folder).names()
    return any(name.startswith((LINK, FILTER)) for name in names), opened
