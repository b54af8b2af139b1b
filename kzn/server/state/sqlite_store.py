"""The state file: one SQLite database in WAL mode, locked by one server.

In: the changes since the last commit. Out: everything committed, at the start of a server.
Never: a partial commit, concurrent calls, or a file locked by another process.
"""

import json
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import astuple
from itertools import chain
from pathlib import Path
from typing import Any

from kzn.errors import KznError, StateError
from kzn.model.endpoint import Endpoint
from kzn.server.ledger.family import FAMILIES, Family, FamilyName, Row
from kzn.server.ledger.labels import OWNED_KINDS, LabelKind, Labels
from kzn.server.resolve.reporting import HeardNode
from kzn.server.state import schema
from kzn.server.state.checkpoint import Changes, Saved, SavedTotal
from kzn.server.state.file_check import check, check_labels, damaged, locked, prepare
from kzn.topology.rollouts import LogChanges, Rollout, Watched
from kzn.wire.sequences import Key

_LOG = logging.getLogger(__name__)

LOCK_SECONDS = 5.0
"""Seconds that opening waits for a lock that another process holds."""
_JOURNAL_BYTES = 64 << 20
_REASONS = {
    sqlite3.SQLITE_FULL: "disk_full",
    sqlite3.SQLITE_IOERR: "io",
    sqlite3.SQLITE_BUSY: "locked",
    sqlite3.SQLITE_READONLY: "readonly",
    sqlite3.SQLITE_CORRUPT: "damaged",
    sqlite3.SQLITE_NOTADB: "damaged",
}


class StateFile:
    """An open state file: `read` once, then `write` for each commit; both block."""

    def __init__(self, path: Path, *, synchronous: str = "FULL") -> None:
        """Open or create the file; UsageError or KznError with a hint if it cannot be used."""
        self.path = path
        self._commits = 0
        prepare(path)
        self._inode = path.stat().st_ino
        self._db = _open(path, synchronous)

    def close(self) -> None:
        """Close the file and release its lock."""
        with suppress(sqlite3.Error):
            self._db.close()

    def read(self) -> Saved:
        """Everything committed; KznError if the file is damaged."""
        try:
            return self._read()
        except (sqlite3.Error, ValueError, TypeError) as error:
            raise damaged(self.path, str(error)) from error

    def write(self, changes: Changes) -> None:
        """Commit ``changes`` atomically; on StateError nothing is changed."""
        self._check_inode()
        try:
            with self._transaction():
                self._write(changes)
        except sqlite3.Error as error:
            code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
            reason = _REASONS.get(code, "other")
            raise StateError(f"state file {self.path}: {error}", reason=reason) from error
        except (ValueError, OverflowError) as error:  # a lone surrogate, which YAML can contain
            raise StateError(f"state file {self.path}: {error}", reason="value") from error
        self._commits += 1

    def _check_inode(self) -> None:
        try:
            inode = self.path.stat().st_ino
        except OSError:
            inode = 0
        if inode != self._inode:
            raise StateError(
                f"state file {self.path} was moved or replaced while the server ran",
                reason="replaced",
                hint="move it back, or restart the server",
            )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise

    def _write(self, changes: Changes) -> None:
        execute = self._db.executemany
        for family, change in changes.families.items():
            execute(schema.delete_series(family), change.ended)
            rows = change.rows.items()
            execute(
                schema.upsert_series(family),
                ((*labels, _number(state.bytes), *state[1:]) for labels, state in rows),
            )
        for kind, owners in changes.owners.items():
            execute(schema.delete_name(kind), owners.freed)
            names = ((*labels, *schema.endpoint_row(owner)) for labels, owner in owners.changed)
            execute(schema.upsert_name(kind), names)
        execute(
            "INSERT OR REPLACE INTO family_sums VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (family, _number(change.other.bytes), _number(change.retired), *change.other[1:])
                for family, change in changes.families.items()
            ],
        )
        execute("INSERT OR REPLACE INTO zone_labels VALUES (?, ?, ?)", changes.zones)
        execute("DELETE FROM books WHERE node = ?", [(node,) for node in changes.removed_nodes])
        execute(
            "INSERT OR REPLACE INTO books VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                (*row[:3], _number(row.packets), _number(row.bytes), row.exposed, row.created)
                for row in changes.node_totals
            ],
        )
        execute("DELETE FROM heard WHERE node = ?", [(node,) for node in changes.forgotten])
        execute(
            "INSERT OR REPLACE INTO heard VALUES (?, ?, ?, ?, ?)",
            [(*row[:4], _number(row.counted)) for row in changes.heard],
        )
        self._write_sequences(changes.sequences)
        if changes.rollouts is not None:
            self._write_rollouts(changes.rollouts)

    def _write_rollouts(self, changes: LogChanges) -> None:
        removed = [(_text(key),) for key in changes.removed]
        self._db.executemany("DELETE FROM rollouts WHERE key = ?", removed)
        self._db.executemany(
            "INSERT OR REPLACE INTO rollouts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [(_text(key), *map(_text, astuple(one))) for key, one in changes.rollouts.items()],
        )
        self._db.execute(
            "INSERT OR REPLACE INTO meta VALUES (?, ?)",
            (schema.WATCHED, json.dumps(changes.watched)),
        )

    def _write_sequences(self, sequences: dict[Key, int | None]) -> None:
        evicted = [_key(key) for key, last in sequences.items() if last is None]
        self._db.executemany("DELETE FROM sequences WHERE node = ? AND epoch = ?", evicted)
        self._db.executemany(
            "INSERT OR REPLACE INTO sequences VALUES (?, ?, ?, ?)",
            [
                (*_key(key), _number(last), self._commits)
                for key, last in sequences.items()
                if last is not None
            ],
        )

    def _read(self) -> Saved:
        (instance,) = self._rows("SELECT value FROM meta WHERE key = 'instance'")
        sums = self._rows(
            "SELECT family, other, retired, exposed, created, cost, priced_bytes, cost_currency"
            " FROM family_sums"
        )
        for family, *_ in sums:
            if family not in FAMILIES:
                raise damaged(
                    self.path, f"it has sums of a family {family!r}, which does not exist"
                )
        rows = [row for family in FAMILIES for row in self._series(family)]
        rows += [
            _row(FAMILIES[family], FAMILIES[family].other_labels, other, *rest)
            for family, other, _, *rest in sums
            if float(other)
        ]
        sequences = self._rows("SELECT node, epoch, last, changed FROM sequences ORDER BY changed")
        self._commits = 1 + max((changed for *_, changed in sequences), default=0)
        return Saved(
            instance=int(instance[0]),
            rows=rows,
            retired={family: _amount(FAMILIES[family], retired) for family, _, retired, *_ in sums},
            owners=[row for kind in OWNED_KINDS for row in self._owners(kind)],
            zones=self._rows("SELECT region, zone, label FROM zone_labels"),
            node_totals=[
                SavedTotal(node, term, reason, int(n), int(size), bool(exposed), float(created))
                for node, term, reason, n, size, exposed, created in self._rows(
                    "SELECT node, term, reason, packets, bytes, exposed, created FROM books"
                )
            ],
            sequences=[((n, int(epoch, 16)), int(last)) for n, epoch, last, _ in sequences],
            heard=[
                HeardNode(node, float(heard), float(since), float(until), int(counted))
                for node, heard, since, until, counted in self._rows(
                    "SELECT node, heard, since, until, counted FROM heard"
                )
            ],
            rollouts=dict(map(_rollout, self._rows("SELECT * FROM rollouts"))),
            watched=self._watched(),
        )

    def _watched(self) -> Watched | None:
        found = self._db.execute("SELECT value FROM meta WHERE key = ?", (schema.WATCHED,))
        row = found.fetchone()
        if row is None:
            return None
        begin, end, gaps, forgotten = json.loads(row[0])
        spans = tuple((float(first), float(last)) for first, last in gaps)
        return Watched(float(begin), float(end), spans, float(forgotten))

    def _series(self, family: FamilyName) -> Iterator[Row]:
        found = self._rows(f"SELECT * FROM {family}_series")  # noqa: S608
        width = len(FAMILIES[family].labels)
        for row in found:
            yield _row(FAMILIES[family], tuple(row[:width]), *row[width:])

    def _owners(self, kind: LabelKind) -> Iterator[tuple[LabelKind, Labels, Endpoint]]:
        width = OWNED_KINDS[kind]
        for row in self._rows(f"SELECT * FROM {kind}_names"):  # noqa: S608
            yield kind, tuple(row[:width]), Endpoint(*row[width:])

    def _rows(self, statement: str) -> list[Any]:
        return self._db.execute(statement).fetchall()


def _open(path: Path, synchronous: str) -> sqlite3.Connection:
    try:
        db = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw",
            uri=True,
            timeout=LOCK_SECONDS,
            isolation_level=None,
            check_same_thread=False,  # one call at a time, from any thread
        )
    except sqlite3.Error as error:
        raise KznError(f"state file {path}: {error}") from error
    try:
        _lock_and_check(db, path, synchronous)
    except BaseException:
        db.close()
        raise
    return db


def _lock_and_check(db: sqlite3.Connection, path: Path, synchronous: str) -> None:
    """Lock the file for as long as the connection is open, and check its integrity."""
    try:
        for pragma in (
            "locking_mode = EXCLUSIVE",
            "journal_mode = WAL",
            f"synchronous = {synchronous}",
            f"journal_size_limit = {_JOURNAL_BYTES}",
        ):
            db.execute(f"PRAGMA {pragma}")
        db.execute("BEGIN EXCLUSIVE")
        numbers = [
            db.execute(f"PRAGMA {p}").fetchone()[0] for p in ("application_id", "user_version")
        ]
        check(path, *numbers)
        _check_contents(db, path)
        if numbers[1] < schema.VERSION:
            _migrate(db, path)
        for statement in schema.ALWAYS:
            db.execute(statement)
        db.execute("COMMIT")
    except sqlite3.OperationalError as error:
        if (error.sqlite_errorcode & 0xFF) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise locked(path) from error
        raise KznError(
            f"state file {path} cannot be opened: {error}",
            hint=f"{path} and its folder {path.parent} must be writable for the server",
        ) from error
    except sqlite3.DatabaseError as error:
        raise damaged(path, str(error)) from error


def _check_contents(db: sqlite3.Connection, path: Path) -> None:
    problems = db.execute("PRAGMA quick_check(1)").fetchone()[0]
    if problems != "ok":
        raise damaged(path, str(problems).splitlines()[-1])
    (version,) = db.execute("PRAGMA user_version").fetchone()
    for family in FAMILIES if version >= schema.COSTS_SINCE else schema.OLD_FAMILIES:
        names = [name for _, name, *_ in db.execute(f"PRAGMA table_info({family}_series)")]
        check_labels(path, family, names[: names.index("bytes")] if "bytes" in names else [])


def _migrate(db: sqlite3.Connection, path: Path) -> None:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    migrations = (schema.MIGRATE_FROM_1, schema.MIGRATE_FROM_2, schema.MIGRATE_FROM_3)
    for statement in chain.from_iterable(migrations[version - 1 :]):
        db.execute(statement)
    db.execute(f"PRAGMA user_version = {schema.VERSION}")
    _LOG.info("state file %s: migrated to layout %d", path, schema.VERSION)


def _row(
    family: Family,
    labels: Labels,
    total: Any,
    exposed: Any,
    created: Any,
    cost: Any,
    priced_bytes: Any,
    currency: Any,
) -> Row:
    return Row(
        family.name,
        labels,
        _amount(family, total),
        bool(exposed),
        float(created),
        float(cost),
        int(priced_bytes),
        str(currency),
    )


def _amount(family: Family, value: Any) -> int:
    # The type of amounts in general: money in a family of money.
    return float(value) if family.unit == "money" else int(value)  # type: ignore[return-value]


def _key(key: Key) -> tuple[str, str]:
    node, epoch = key
    return node, f"{epoch:016x}"


def _rollout(row: Any) -> tuple[str, Rollout]:
    key, time, until, *texts, times, via = row
    namespace, kind, name, what, before, after = map(str, texts)
    return str(key), Rollout(
        float(time), float(until), namespace, kind, name, what, before, after, int(times), str(via)
    )


def _text(value: object) -> object:
    """A text without half of a surrogate pair, which no file has room for; others as they are."""
    return value.encode(errors="replace").decode() if isinstance(value, str) else value


def _number(value: int) -> int | str:
    return value if value <= schema.MAX_INTEGER else str(value)
