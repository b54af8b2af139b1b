"""Checks that a file is a state file of this version of kzn; creates it if it does not exist.

In: a path. Out: a file that can be opened.
Never: a change to a file of another program; a state file replaced, incomplete, or created twice.
"""

import os
import sqlite3
import stat
from contextlib import closing, suppress
from pathlib import Path

from kzn.errors import EXIT_FAULT, EXIT_USAGE, KznError, UsageError
from kzn.server.ledger.family import FAMILIES, FamilyName
from kzn.server.state import schema

_MAGIC = b"SQLite format 3\x00"
_HEADER = 100
_SQLITE_MODE = 0o644
_FILE_MODE = 0o600
"""The file has the names of all workloads."""
_MOVE_HINT = "move it away to start with all counters at zero, or use another --state file"
_ANEW_HINT = (
    "move it away to start with all counters at zero (--state-on-mismatch begin-anew does that), or"
    " use another --state file"
)


class UnreadableStateError(KznError):
    """A state file of kzn that this version cannot read: damaged, or of another layout."""

    def __init__(self, message: str, *, hint: str, exit_code: int) -> None:
        super().__init__(message, hint=hint)
        self.exit_code = exit_code


def prepare(path: Path) -> None:
    """Create ``path`` if it does not exist, else check its header.

    UsageError if it is not a state file of this version, KznError if it cannot be created.
    """
    if not path.exists():
        _create(path)
    # Read before SQLite opens it: closing any descriptor of a file drops the process's POSIX locks.
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER)
    except OSError as error:
        raise UsageError(
            f"state file {path}: {error.strerror}", hint="--state must be a readable file"
        ) from error
    if len(header) < _HEADER or not header.startswith(_MAGIC):
        raise UsageError(f"{path} is not a state file of kzn server", hint=_MOVE_HINT)
    check(path, int.from_bytes(header[68:72], "big"), int.from_bytes(header[60:64], "big"))
    restrict(path)


def check(path: Path, application_id: int, version: int) -> None:
    """UsageError unless this version of kzn reads such a file; it migrates older layouts."""
    if application_id != schema.APPLICATION_ID:
        raise UsageError(
            f"{path} is an SQLite file of another program, not a state file of kzn server",
            hint=_MOVE_HINT,
        )
    if not 1 <= version <= schema.VERSION:
        raise UnreadableStateError(
            f"{path} has layout {version}, and this version of kzn reads layout {schema.VERSION}",
            hint="run the version of kzn that wrote it, or " + _ANEW_HINT,
            exit_code=EXIT_USAGE,
        )


def check_labels(path: Path, family: FamilyName, labels: list[str]) -> None:
    """UsageError unless the series of ``family`` have the labels of this version."""
    if labels != [*FAMILIES[family].labels]:
        raise UnreadableStateError(
            f"{path} was written by another version of kzn: the labels of its {family} series are"
            f" {', '.join(labels) or 'missing'}",
            hint="run that version, or " + _ANEW_HINT,
            exit_code=EXIT_USAGE,
        )


def damaged(path: Path, what: str) -> UnreadableStateError:
    """The error for a state file with inconsistent contents."""
    return UnreadableStateError(
        f"state file {path} is damaged: {what}",
        hint="restore a copy, or " + _ANEW_HINT + "; agents still have what was not acknowledged",
        exit_code=EXIT_FAULT,
    )


def locked(path: Path) -> KznError:
    """The error for a state file that another process has open."""
    return KznError(
        f"state file {path} is locked by another process",
        hint="stop the other server, or use another --state file for this one",
    )


def restrict(path: Path) -> None:
    """Take from a file of mode 0644, as SQLite makes it, what others may do."""
    with suppress(OSError):  # a file of another owner stays as it is
        if stat.S_IMODE(path.stat().st_mode) == _SQLITE_MODE:
            path.chmod(_FILE_MODE)


def _create(path: Path) -> None:
    """Create the file under another name, then link it to ``path``: it is never incomplete."""
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        unfinished.unlink(missing_ok=True)
        os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _FILE_MODE))
        with closing(sqlite3.connect(unfinished)) as connection:
            connection.executescript(schema.CREATE)
            with connection:
                instance = int.from_bytes(os.urandom(4), "big") or 1
                connection.execute("INSERT INTO meta VALUES ('instance', ?)", (instance,))
        _sync(unfinished)
        with suppress(FileExistsError):  # another server created it just now; the lock decides
            os.link(unfinished, path)
        unfinished.unlink()
        _sync(path.parent)
    except (OSError, sqlite3.Error) as error:
        raise KznError(
            f"state file {path} cannot be created: {error}",
            hint="its folder must exist and be writable for the server",
        ) from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
