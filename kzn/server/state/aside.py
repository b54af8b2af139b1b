"""Opens the state file, and moves aside one that this version of kzn cannot read, if it may.

In: a path and the choice of the operator. Out: an open state file, perhaps a new one.
Never: a file of another program moved, a file moved while another server has it open, or a file
deleted: what is moved aside keeps its bytes under another name.
"""

import logging
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from kzn.errors import KznError
from kzn.server.state.file_check import UnreadableStateError, locked
from kzn.server.state.sqlite_store import StateFile

_LOG = logging.getLogger(__name__)

_PARTS = ("", "-wal", "-shm")
"""A database and the files beside it that belong to its last commits."""


def open_state(
    path: Path, *, begin_anew: bool = False, wall: Callable[[], float] = time.time
) -> StateFile:
    """The state file at ``path``; UsageError or KznError with a hint if it cannot be used.

    With ``begin_anew`` a file of kzn that is damaged, or of a layout that this version cannot read,
    is moved aside, and a new one begins with all counters at zero.
    """
    try:
        return _opened(path, is_read=begin_anew)
    except UnreadableStateError as error:
        if not begin_anew:
            raise
        aside = _move(path, wall())
        _LOG.warning("%s; it is now %s, and all counters begin at zero", error.message, aside)
    return _opened(path, is_read=False)


def _opened(path: Path, *, is_read: bool) -> StateFile:
    state = StateFile(path)
    if is_read:
        try:
            state.read()  # damage may be found only here
        except BaseException:
            state.close()
            raise
    return state


def _move(path: Path, now: float) -> Path:
    _refuse_open(path)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    aside = path.with_name(f"{path.name}.{stamp}")
    number = 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}.{stamp}-{number}")
    try:
        for part in reversed(_PARTS):  # the database last: an interrupted move is done again
            whole = path.with_name(path.name + part)
            if whole.exists():
                whole.rename(aside.with_name(aside.name + part))
    except OSError as error:
        raise KznError(
            f"state file {path} cannot be moved aside: {error}",
            hint=f"its folder {path.parent} must be writable for the server",
        ) from error
    return aside


def _refuse_open(path: Path) -> None:
    """KznError if another process has the database open."""
    try:
        with closing(sqlite3.connect(path, timeout=1.0, isolation_level=None)) as db:
            db.execute("BEGIN EXCLUSIVE")
            db.execute("ROLLBACK")
    except sqlite3.OperationalError as error:
        if (error.sqlite_errorcode & 0xFF) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise locked(path) from error
    except sqlite3.DatabaseError:
        return  # too damaged to be open
