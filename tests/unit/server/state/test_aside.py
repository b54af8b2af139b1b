"""kzn/server/state/aside.py: which files are moved aside, and that no byte of them is lost."""

import logging
import os
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from kzn.errors import EXIT_FAULT, EXIT_USAGE, KznError
from kzn.server.ledger.family import Row
from kzn.server.ledger.ledger import Ledger
from kzn.server.ledger.limits import LedgerLimits
from kzn.server.ledger.node_totals import TotalsByNode
from kzn.server.state.aside import open_state
from kzn.server.state.checkpoint import CheckpointedState
from kzn.wire.sequences import AppliedSequences

NOW = 1_800_000_000.0
STAMP = "20270115T080000Z"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A state file with one series, and a file of another program beside it."""
    found = tmp_path / "state"
    state = CheckpointedState(Ledger(LedgerLimits()), TotalsByNode(10), AppliedSequences())
    file = open_state(found)
    state.restore(file.read(), 0.0)
    state.ledger.load([Row("pod", ("shop", "web-1"), 7)], 0.0)
    file.write(state.take())
    file.close()
    return found


def newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")


def other_labels(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("ALTER TABLE pod_series RENAME COLUMN pod TO container")


def unknown_family(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("INSERT INTO family_sums VALUES ('galaxy', 5, 0, 1, 0, 0, 0, '')")


def torn(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


MISTAKES = pytest.mark.parametrize(
    ("make", "exit_code"),
    [
        (newer, EXIT_USAGE),
        (other_labels, EXIT_USAGE),
        (unknown_family, EXIT_FAULT),
        (torn, EXIT_FAULT),
    ],
)


@MISTAKES
def test_a_file_that_cannot_be_read_is_moved_aside_and_a_new_one_begins(
    path: Path, make: Callable[[Path], None], exit_code: int, caplog: pytest.LogCaptureFixture
) -> None:
    make(path)
    before = path.read_bytes()
    with caplog.at_level(logging.WARNING):
        file = open_state(path, begin_anew=True, wall=lambda: NOW)
    assert file.read().rows == []
    file.close()
    aside = path.with_name(f"state.{STAMP}")
    assert aside.read_bytes() == before
    assert str(aside) in caplog.text
    assert exit_code
    open_state(path, begin_anew=True).close()  # the next start finds the new one
    assert names(path.parent) == ["state", aside.name]


@MISTAKES
def test_without_the_choice_it_is_refused_and_not_changed(
    path: Path, make: Callable[[Path], None], exit_code: int
) -> None:
    make(path)
    before = path.read_bytes()
    with pytest.raises(KznError) as caught, closing(open_state(path)) as file:
        file.read()
    assert caught.value.exit_code == exit_code
    assert "--state-on-mismatch begin-anew" in caught.value.hint
    assert path.read_bytes() == before
    assert names(path.parent) == ["state"]


def names(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir())


def test_a_file_that_can_be_read_stays(path: Path) -> None:
    file = open_state(path, begin_anew=True)
    assert [(row.labels, row.bytes) for row in file.read().rows] == [(("shop", "web-1"), 7)]
    file.close()


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.write_bytes(b"zones: []\n" * 100),
        lambda path: sqlite3.connect(path).executescript("PRAGMA application_id = 1"),
    ],
)
def test_a_file_of_another_program_is_never_moved(
    tmp_path: Path, make: Callable[[Path], object]
) -> None:
    path = tmp_path / "precious"
    make(path)
    before = path.read_bytes()
    with pytest.raises(KznError, match="not a state file"):
        open_state(path, begin_anew=True)
    assert path.read_bytes() == before


def test_a_file_that_another_server_has_open_is_not_moved(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA user_version = 99")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(KznError, match="locked by another process"):
            open_state(path, begin_anew=True)
        other.execute("ROLLBACK")
    assert names(path.parent) == ["state"]


def test_two_files_moved_in_one_second_have_two_names(path: Path) -> None:
    for _ in range(2):
        newer(path)
        open_state(path, begin_anew=True, wall=lambda: NOW).close()
    assert names(path.parent) == ["state", f"state.{STAMP}", f"state.{STAMP}-2"]


def test_only_the_owner_can_read_the_file_and_those_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "new"
    before = os.umask(0)
    try:
        file = open_state(path)
        modes = {one.name: stat.S_IMODE(one.stat().st_mode) for one in tmp_path.iterdir()}
        file.close()
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(modes, 0o600)
    assert "new" in modes


@pytest.mark.parametrize(("before", "after"), [(0o644, 0o600), (0o660, 0o660), (0o640, 0o640)])
def test_a_file_of_sqlites_own_mode_is_restricted(path: Path, before: int, after: int) -> None:
    path.chmod(before)
    open_state(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == after
