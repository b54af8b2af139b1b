"""Makes one set the one that counts on this node, in place of another.

The one way to replace programs: by another probe, another version or other options.

In: a pin directory that the caller has locked. Out: one set that counts; all others are retired,
to be drained. Never: a packet in the batches of two sets.

While one set replaces another, both are attached. Two writes, one after the other, divide the
traffic: after the first, the old set counts into a buffer that is thrown away; after the second,
the new one counts into a buffer that is kept, and what it counted before is thrown away. What
passes between the two, in some ten microseconds, is in no batch; its upper bound is reported.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from kzn.agent.coverage.hook_coverage import leaving
from kzn.agent.devices.table import Device
from kzn.agent.maps.mapset import MapSet
from kzn.agent.maps.structs import boottime_ns
from kzn.agent.pins import directory
from kzn.agent.pins.attachments import (
    FILTER,
    LINK,
    PinnedAttachments,
    hand_over_qdiscs,
    release,
)
from kzn.agent.pins.directory import NEW, file_errors
from kzn.agent.pins.install import install, must_replace, on_trial, open_set, remove, retire
from kzn.probes.declaration import Probe
from kzn.probes.settings import Settings

log = logging.getLogger(__name__)


def remove_unfinished(pin_dir: Path) -> None:
    """Remove sets that a killed agent was making or had on trial."""
    with file_errors(pin_dir):
        for folder in pin_dir.glob(f"*{NEW}"):
            if folder.is_dir() and directory.is_set(folder):
                remove(folder)


def current_probe(pin_dir: Path) -> str:
    """The probe whose set counts here, of several the one cut last; "" when there is none."""
    with file_errors(pin_dir):
        ages = {folder.name: _age(folder) for folder in directory.current(pin_dir)}
    return max(ages, key=lambda name: ages[name], default="")


def retire_others(pin_dir: Path, probe: str) -> None:
    """Retire all sets but this probe's: what they counted is still to be shipped."""
    with file_errors(pin_dir):
        for folder in directory.retired(None, pin_dir):
            release(PinnedAttachments(folder))  # in case another process has renamed a set
        for folder in directory.current(pin_dir):
            if folder.name != probe:
                log.info("detached probe %s; %s will be drained", folder.name, retire(folder))


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
    maps = on_trial(probe, settings, pin_dir, devices)
    try:
        prepare(maps)
        return maps, replace_set(pin_dir, probe.name, probe.name, maps)
    except BaseException:
        maps.close()
        raise


def accept(pin_dir: Path, name: str) -> None:
    """Make the set on trial the probe's set, with what it has counted so far."""
    with file_errors(pin_dir):
        remove(pin_dir / name)  # not a set, or it would count: it is put aside
        directory.new(pin_dir / name).rename(pin_dir / name)


def replace_set(pin_dir: Path, old: str, name: str, new: MapSet) -> int:
    """Retire the set of ``old`` and accept the one of ``name`` on trial, whose maps are ``new``.

    Returns an upper bound of the bytes that are in no batch. If the agent is killed meanwhile, what
    passes until the next one starts is not counted.
    """
    with file_errors(pin_dir):
        hand_over_qdiscs(
            PinnedAttachments(pin_dir / old), PinnedAttachments(directory.new(pin_dir / name))
        )
        uncounted_bytes = _switch_at_one_instant(pin_dir / old, new)
        retired = retire(pin_dir / old)
    accept(pin_dir, name)
    log.info(
        "probe %s replaced %s; at most %d bytes that passed in between are not counted;"
        " %s will be drained",
        name,
        f"probe {old}" if old != name else "its programs of another version or options",
        uncounted_bytes,
        retired,
    )
    return uncounted_bytes


def _switch_at_one_instant(folder: Path, new: MapSet) -> int:
    """Switch from the set in ``folder`` to ``new``; an upper bound of the bytes in between."""
    from kzn.agent.maps import buffers  # noqa: PLC0415 - numpy, after the programs (main.py)
    from kzn.agent.maps.spool import Spool  # noqa: PLC0415 - as above

    trial = new.active()
    old = open_set(folder)
    if old is not None:
        buffers.copy_endpoints(old, new)
    before = leaving(new, trial)
    started = old is not None and Spool(old).start_batch()
    if not started:  # a batch is under way, so no buffer can be thrown away: detach first
        release(PinnedAttachments(folder))
    new.set_active(1 - trial)
    new.switch_and_wait(1 - trial)
    uncounted_bytes = leaving(new, trial) - before
    if old is not None:
        with old:
            if started:
                release(PinnedAttachments(folder))
                old.switch_and_wait(old.active())
                buffers.clear(old, old.active())
    buffers.clear(new, trial)
    now = boottime_ns()
    new.write_state(replace(new.state(), buffer=trial, opened_ns=(now, now)))
    return uncounted_bytes


def _age(folder: Path) -> tuple[bool, int]:
    """Orders sets: detached ones before attached ones, then by their last cut."""
    maps = open_set(folder)
    if maps is None:
        return False, 0
    with maps:
        opened = max(maps.state().opened_ns)
    names = PinnedAttachments(folder).names()
    return any(name.startswith((LINK, FILTER)) for name in names), opened
