"""Finds out whether a file is a state file of this kzn, and makes a new one where there is none.

In: a path. Out: a file that may be opened. Never: a change of a file that is not one of ours, or
a file replaced, half made, or made twice.
"""

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from kzn.errors import KznError, UsageError
from kzn.server.ledger.family import FAMILIES, FamilyName
from kzn.server.state import schema

_MAGIC = b"SQLite format 3\x00"
_HEADER = 100
_KEEP_OR_MOVE = "move it away to begin with all counters at zero, or give another --state"


def prepare(path: Path) -> None:
    """Make ``path`` when it does not exist, else look at its header.

    UsageError when it is not a state file or of a newer kzn, KznError when it cannot be made.
    """
    if not path.exists():
        _create(path)
    # Read before SQLite opens it: closing any descriptor of a file drops a process's locks on it.
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER)
    except OSError as error:
        raise UsageError(
            f"state file {path}: {error.strerror}", hint="--state names a file, not a folder"
        ) from error
    if len(header) < _HEADER or not header.startswith(_MAGIC):
        raise UsageError(f"{path} is not a state file of kzn server", hint=_KEEP_OR_MOVE)
    check(path, int.from_bytes(header[68:72], "big"), int.from_bytes(header[60:64], "big"))


def check(path: Path, application_id: int, version: int) -> None:
    """UsageError unless both numbers are those of this kzn."""
    if application_id != schema.APPLICATION_ID:
        raise UsageError(
            f"{path} is an SQLite file of another program, not a state file of kzn server",
            hint=_KEEP_OR_MOVE,
        )
    if version != schema.VERSION:
        raise UsageError(
            f"{path} has layout {version}, this kzn reads {schema.VERSION}",
            hint="run the kzn that wrote it, or " + _KEEP_OR_MOVE,
        )


def check_labels(path: Path, family: FamilyName, labels: list[str]) -> None:
    """UsageError unless the series of ``family`` are labelled as this kzn labels them."""
    if labels != [*FAMILIES[family].labels]:
        raise UsageError(
            f"{path} was written by a kzn whose {family} series have the labels"
            f" {', '.join(labels) or 'of no table'}",
            hint="run that kzn, or " + _KEEP_OR_MOVE,
        )


def damaged(path: Path, what: str) -> KznError:
    """What to say of a file that is ours and cannot be trusted."""
    return KznError(
        f"state file {path} is damaged: {what}",
        hint="restore a copy, or " + _KEEP_OR_MOVE + "; agents' unacknowledged bytes are safe",
    )


def _create(path: Path) -> None:
    """Make the file under another name and then give it its own: it is never there in part."""
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        unfinished.unlink(missing_ok=True)
        with closing(sqlite3.connect(unfinished)) as connection:
            connection.executescript(schema.CREATE)
            with connection:
                instance = int.from_bytes(os.urandom(4), "big") or 1
                connection.execute("INSERT INTO meta VALUES ('instance', ?)", (instance,))
        _sync(unfinished)
        with suppress(FileExistsError):  # made by another server just now: who locks it has it
            os.link(unfinished, path)
        unfinished.unlink()
        _sync(path.parent)
    except (OSError, sqlite3.Error) as error:
        raise KznError(
            f"state file {path} cannot be made: {error}",
            hint="its folder must exist and be writable for the server",
        ) from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
