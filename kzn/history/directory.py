"""A history's directory: its lock, its identity and the journal of what is counted.

In: a path. Out: a locked directory, held by one server and its writer at a time; reading needs no
lock. Never: two servers that write, or a directory that holds something else.

The journal is two slots of sums in a mapped file, so that the page cache has them when the process
is killed: the next server then says exactly how much was not recorded, also without a state file.
"""

import fcntl
import json
import mmap
import os
import re
import secrets
import struct
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from kzn.errors import KznError, json_fault
from kzn.model.settled import CLASSES, ByClass, Sum

MARKER = "kzn-history.json"
JOURNAL = "journal"
LAYOUT = 1
LOCK_SECONDS = 20.0
"""A writer whose server was killed ends within the time of a merge."""
_POLL_SECONDS = 0.05
_SERVER = re.compile(r"[0-9a-f]{8}")
_SLOT = struct.Struct(f"<Q{2 * len(CLASSES)}Q")
_WHICH = struct.Struct("<Q")
_SLOT_AT = (64, 512)
_SIZE = 1024


@dataclass(frozen=True, slots=True)
class Directory:
    """An open and locked directory. ``server`` names its segments, eight hex digits."""

    root: Path
    server: str
    lock: int
    """The descriptor that holds the lock, which the writer process inherits."""

    def close(self) -> None:
        """Release this process' part of the lock."""
        os.close(self.lock)


def open_directory(root: Path, *, wait: float = LOCK_SECONDS) -> Directory:
    """Create or open a directory and lock it; KznError with a hint if it cannot be used."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = os.open(root / MARKER, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise KznError(
            f"history {root}: {error.strerror}",
            hint="it must be a folder that the server can write",
        ) from error
    try:
        _lock(root, lock, wait)
        return Directory(root, _identity(root, lock), lock)
    except OSError as error:  # a full disk
        os.close(lock)
        raise KznError(f"history {root}: {error.strerror}") from error
    except BaseException:
        os.close(lock)
        raise


def _lock(root: Path, descriptor: int, wait: float) -> None:
    deadline = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise KznError(
                    f"history {root} is in use by another server",
                    hint="each server needs a directory of its own",
                ) from None
            time.sleep(_POLL_SECONDS)
        else:
            return


def _identity(root: Path, descriptor: int) -> str:
    """The name of the server that writes here; a new one for an empty directory."""
    with os.fdopen(os.dup(descriptor), "r+") as file:
        text = file.read()
        if text.strip():
            try:
                found = json.loads(text)
                layout, server = int(found["layout"]), str(found["server"])
                if not _SERVER.fullmatch(server):  # no reader would find its files
                    raise ValueError(f"{server!r} is not the name of a server")  # noqa: TRY301
            except (ValueError, KeyError, TypeError) as error:
                why = json_fault(error)
                raise KznError(f"{root / MARKER} cannot be read: {why}") from error
            if layout > LAYOUT:
                raise KznError(
                    f"history {root} has layout {layout}; this version of kzn knows {LAYOUT}"
                )
            return server
        server = secrets.token_hex(4)
        file.write(json.dumps({"layout": LAYOUT, "server": server}) + "\n")
        file.flush()
        with suppress(OSError):
            os.fsync(file.fileno())
    return server


class Journal:
    """What a ledger has counted so far, in a mapped file: written for each batch, never synced."""

    def __init__(self, root: Path) -> None:
        """Map the file, creating it; OSError if that fails."""
        with (root / JOURNAL).open("a+b") as file:
            os.posix_fallocate(file.fileno(), 0, _SIZE)  # a full disk must not be a SIGBUS
            self._map = mmap.mmap(file.fileno(), _SIZE)
        self._which = _WHICH.unpack_from(self._map)[0] & 1

    def read(self) -> tuple[int, ByClass]:
        """The ledger's instance and what it had counted."""
        instance, *numbers = _SLOT.unpack_from(self._map, _SLOT_AT[self._which])
        pairs = zip(numbers[::2], numbers[1::2], strict=True)
        sums = {name: Sum(*pair) for name, pair in zip(CLASSES, pairs, strict=True)}
        return instance, {name: amount for name, amount in sums.items() if amount != Sum()}

    def write(self, instance: int, sums: Mapping[str, Sum]) -> None:
        """Replace the contents: the other slot is written, then one word selects it."""
        numbers = [number & (1 << 64) - 1 for name in CLASSES for number in sums.get(name, Sum())]
        self._which ^= 1
        _SLOT.pack_into(self._map, _SLOT_AT[self._which], instance, *numbers)
        _WHICH.pack_into(self._map, 0, self._which)

    def close(self) -> None:
        """Unmap the file."""
        self._map.close()
