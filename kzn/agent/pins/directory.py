"""The pin directory: its lock, the names of what lies in it, and errors of its file system.

    <pin-dir>/<probe>/            a set: flows_0 flows_1 totals control spool fence, and what is
                                  attached: link_ipv4 link_ipv6 and their program_ipv4
                                  program_ipv6, or on devices program_egress and link_<index>, or
                                  filter_<index> and qdisc_<index>
    <pin-dir>/<probe>+new         a set that is being made or on trial: not yet shipped; until it
                                  replaces another, its links are held by the agent, not pinned
    <pin-dir>/<probe>+retired+N   a set that was replaced and detached, not yet drained
    <pin-dir>/<probe>+foreign+N   what was in the place of a set and is not one: not read
    <pin-dir>/auto+...            notes (notes.py)

In: a path. Out: the lock, and paths of sets by what they are. Never: opens or changes a set.
No name has a dot, which bpffs refuses (kernel/bpf/inode.c: bpf_lookup).
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path

from kzn.agent.pins.attachments import LINK, PREFIXES
from kzn.errors import KznError, UnsupportedError
from kzn.libbpf.pins import require_bpffs
from kzn.probes.attach import MAPS
from kzn.probes.declaration import Probe

NEW, RETIRED, FOREIGN, NOTE = "+new", "+retired+", "+foreign+", "auto+"


@contextmanager
def locked(pin_dir: Path) -> Iterator[None]:
    """Lock the pin directory, so that one agent at a time drains its sets.

    KznError when another process holds the lock.
    """
    require_bpffs(pin_dir)
    with file_errors(pin_dir):
        pin_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.statvfs(pin_dir).f_flag & os.ST_RDONLY:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(pin_dir))
        fd = os.open(pin_dir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        flock(fd, LOCK_EX | LOCK_NB)
        yield
    except BlockingIOError as error:
        raise KznError(
            f"another kzn agent uses pin directory {pin_dir}",
            hint="stop it; to look beside it use kzn agent --print",
        ) from error
    finally:
        os.close(fd)


@contextmanager
def file_errors(pin_dir: Path) -> Iterator[None]:
    """Raise an OSError of the block as a KznError with a hint."""
    try:
        yield
    except PermissionError as error:
        if any("." in part for part in pin_dir.parts):
            raise KznError(
                f"pin directory {pin_dir}: {error.strerror}",
                hint="a bpf file system takes no name with a dot: use another --pin-dir",
            ) from error
        raise UnsupportedError(
            f"pin directory {pin_dir}: {error.strerror}",
            hint="run as root, outside a user namespace; a security module may forbid it too",
        ) from error
    except OSError as error:
        name = error.filename or pin_dir
        if error.errno == errno.EROFS:
            raise UnsupportedError(
                f"pin directory {pin_dir}: the bpf file system is read-only",
                hint="mount -o remount,rw /sys/fs/bpf; in a container, mount it without readOnly",
            ) from error
        raise KznError(
            f"pin directory {pin_dir}: {name}: {error.strerror}",
            hint="use a --pin-dir that only kzn agent writes to",
        ) from error


def current(pin_dir: Path) -> list[Path]:
    """Sets that are neither retired nor, once unfinished ones are removed, on trial."""
    return [
        path
        for path in pin_dir.iterdir()
        if path.is_dir()
        and not is_note(path.name)
        and not any(word in path.name for word in (RETIRED, FOREIGN))
        and is_set(path)
    ]


def retired(probe: Probe | None, pin_dir: Path) -> list[Path]:
    """Retired sets of a probe, or of all, which may still hold batches, oldest first."""
    name = probe.name if probe else "*"
    found = [path for path in pin_dir.glob(f"{name}{RETIRED}*") if path.is_dir()]
    return sorted(found, key=lambda path: (_number(path), path.name))


def next_retired(folder: Path) -> Path:
    """The path of a probe's set once it is retired."""
    number = max(map(_number, folder.parent.glob(f"{folder.name}{RETIRED}*")), default=0)
    return folder.with_name(f"{folder.name}{RETIRED}{number + 1}")


def put_aside(folder: Path) -> Path:
    """Rename what is in the place of a set, and is not one, so that no agent reads it any more."""
    stem = f"{probe_of(folder)}{FOREIGN}"
    number = max(map(_number, folder.parent.glob(f"{stem}*")), default=0)
    return folder.rename(folder.with_name(f"{stem}{number + 1}"))


def new(folder: Path) -> Path:
    """The path of a probe's set while it is being made or on trial."""
    return folder.with_name(f"{folder.name}{NEW}")


def probe_of(folder: Path) -> str:
    """The name of the probe that a set, retired or not, is of."""
    return folder.name.partition("+")[0]


def links(folder: Path) -> list[Path]:
    """The links pinned in a set."""
    return sorted(folder.glob(f"{LINK}*"))


def is_note(name: str) -> bool:
    """Whether a folder of this name is a note, and not a set."""
    return name.startswith(NOTE)


def is_set(folder: Path) -> bool:
    """Whether kzn made a folder, also if it was killed meanwhile or was another version."""
    names = {path.name for path in folder.iterdir() if not path.is_dir()}
    if len(names) < len(list(folder.iterdir())):
        return False
    is_whole = {"control", "spool"} <= names
    return is_whole or all(name in MAPS or name.startswith(PREFIXES) for name in names)


def has_maps(folder: Path) -> bool:
    """Whether most maps of kzn are pinned in a folder, which others have changed since."""
    names = {path.name for path in folder.iterdir()}
    return FOREIGN not in folder.name and len(names & {*MAPS}) > len(MAPS) // 2


def _number(folder: Path) -> int:
    """The number at the end of a name; 0 when somebody else chose the name."""
    text = folder.name.rpartition("+")[2]
    return int(text) if text.isdecimal() else 0
