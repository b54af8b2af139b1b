"""Which set counts on this node, and how it gives way to another probe's.

In: a pin directory that is locked. Out: one set that counts; all others retired, to be drained.
Never: a packet in the batches of two probes.

When one probe gives way to another, both are attached for a while, and the new one's counts so far
are thrown away. The moment that divides them is that of two writes, one after the other: from the
first on the old one's packets go to a buffer that is thrown away, from the second on the new one's
to a buffer that is kept. What passes between them, some ten microseconds, is in no batch, and is
told as a number that is not too low.
"""

import logging
from dataclasses import replace
from pathlib import Path

from kzn.agent.coverage.hook_coverage import leaving
from kzn.agent.maps.mapset import MapSet
from kzn.agent.maps.structs import boottime_ns
from kzn.agent.pins import directory
from kzn.agent.pins.attachments import FILTER, LINK, PinnedAttachments, release
from kzn.agent.pins.directory import NEW, file_errors
from kzn.agent.pins.install import open_set, remove, retire

log = logging.getLogger(__name__)


def remove_unfinished(pin_dir: Path) -> None:
    """Remove sets that an agent was making, or had on trial, when it was killed."""
    with file_errors(pin_dir):
        for folder in pin_dir.glob(f"*{NEW}"):
            remove(folder)


def current(pin_dir: Path) -> str:
    """The probe whose set counts here, of several the one cut last; empty when there is none."""
    with file_errors(pin_dir):
        ages = {folder.name: _age(folder) for folder in directory.current(pin_dir)}
    return max(ages, key=lambda name: ages[name], default="")


def set_aside(pin_dir: Path, keep: str) -> None:
    """Retire all sets but one: what they counted is still to be shipped."""
    with file_errors(pin_dir):
        for folder in directory.current(pin_dir):
            if folder.name != keep:
                log.info("%s no longer counts; %s will be drained", folder.name, retire(folder))


def take(pin_dir: Path, name: str) -> None:
    """Make the set that is on trial the probe's own, with what it has counted so far."""
    with file_errors(pin_dir):
        directory.new(pin_dir / name).rename(pin_dir / name)


def replace_probe(pin_dir: Path, old: str, name: str, new: MapSet) -> int:
    """Retire ``old`` for the set ``name`` that is on trial, whose maps are ``new``.

    Bytes that may be in no batch: at most these. Killed meanwhile, what passed since is not
    counted; the next agent begins anew with what it finds.
    """
    with file_errors(pin_dir):
        uncounted_bytes = _switch_at_one_instant(pin_dir / old, new)
        retired = retire(pin_dir / old)
    take(pin_dir, name)
    log.info(
        "%s has given way to %s; at most %d bytes that passed in between are in no batch;"
        " %s will be drained",
        old,
        name,
        uncounted_bytes,
        retired,
    )
    return uncounted_bytes


def _switch_at_one_instant(folder: Path, new: MapSet) -> int:
    from kzn.agent.maps import buffers  # noqa: PLC0415 - numpy, once all is loaded
    from kzn.agent.maps.spool import Spool  # noqa: PLC0415 - as above

    trial = new.active()
    maps = open_set(folder)
    before = leaving(new, trial)
    divided = maps is not None and Spool(maps).start_batch()
    if not divided:  # a batch is under way, so there is no buffer to throw away: all of it counts
        release(PinnedAttachments(folder))
    new.set_active(1 - trial)
    new.switch_and_wait(1 - trial)
    uncounted_bytes = leaving(new, trial) - before
    if maps is not None:
        with maps:
            if divided:
                release(PinnedAttachments(folder))
                maps.switch_and_wait(maps.active())
                buffers.clear(maps, maps.active())
    buffers.clear(new, trial)
    now = boottime_ns()
    new.write_state(replace(new.state(), buffer=trial, opened_ns=(now, now)))
    return uncounted_bytes


def _age(folder: Path) -> tuple[bool, int]:
    """Sets that are attached come first, then those that were cut last."""
    maps = open_set(folder)
    if maps is None:
        return False, 0
    with maps:
        opened = max(maps.state().opened_ns)
    names = PinnedAttachments(folder).names()
    return any(name.startswith((LINK, FILTER)) for name in names), opened
