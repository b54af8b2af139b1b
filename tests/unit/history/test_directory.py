"""A history's directory: one writer at a time, and a journal that a kill leaves whole."""

import errno
import os
import struct
from pathlib import Path

import pytest

from kzn.errors import KznError
from kzn.history.directory import JOURNAL, MARKER, Journal, open_directory
from kzn.model.settled import Sum


def test_a_directory_is_created_and_keeps_its_name(tmp_path: Path) -> None:
    first = open_directory(tmp_path / "a" / "b")
    first.close()
    second = open_directory(tmp_path / "a" / "b")
    second.close()
    assert first.server == second.server
    assert len(first.server) == 8


def test_a_second_server_is_refused_while_any_process_of_the_first_is_left(tmp_path: Path) -> None:
    first = open_directory(tmp_path)
    inherited = os.dup(first.lock)  # as the writer process has it
    first.close()
    with pytest.raises(KznError, match="in use by another server"):
        open_directory(tmp_path, wait=0.0)
    os.close(inherited)
    open_directory(tmp_path, wait=0.0).close()


def test_a_directory_that_cannot_be_used_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(KznError, match="file"):
        open_directory(tmp_path / "file" / "x")
    (tmp_path / MARKER).write_text('{"layout": 99, "server": "00000000"}')
    with pytest.raises(KznError, match="layout 99"):
        open_directory(tmp_path)
    (tmp_path / MARKER).write_text('{"layout": 1}')
    with pytest.raises(KznError, match="cannot be read: key 'server' is missing"):
        open_directory(tmp_path)
    (tmp_path / MARKER).write_text("something else")
    with pytest.raises(KznError, match="cannot be read"):
        open_directory(tmp_path)
    (tmp_path / MARKER).write_text('{"layout": 1, "server": "../other"}')
    with pytest.raises(KznError, match="not the name of a server"):
        open_directory(tmp_path)


def test_a_full_disk_is_an_error_and_the_next_start_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, _mode: str) -> object:
        os.close(descriptor)
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fdopen", full)
        with pytest.raises(KznError, match="No space left"):
            open_directory(tmp_path)
    found = open_directory(tmp_path, wait=0.0)
    found.close()
    assert len(found.server) == 8


def test_the_journal_has_what_was_written_last(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    assert journal.read() == (0, {})
    journal.write(5, {"same_zone": Sum(1, 2)})
    journal.write(5, {"same_zone": Sum(3, 4), "external": Sum(5, (1 << 64) - 1)})
    found = Journal(tmp_path).read()  # as after a kill: nothing was closed
    assert found == (5, {"same_zone": Sum(3, 4), "external": Sum(5, (1 << 64) - 1)})
    journal.close()


def test_a_kill_within_a_write_leaves_the_journal_before_it(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.write(5, {"same_zone": Sum(1, 2)})
    before = (tmp_path / JOURNAL).read_bytes()
    journal.write(5, {"same_zone": Sum(3, 4)})
    after = (tmp_path / JOURNAL).read_bytes()
    journal.close()
    which = struct.calcsize("<Q")
    for cut in range(which, len(after), 8):  # the slot is written before the word that selects it
        (tmp_path / JOURNAL).write_bytes(before[:which] + after[which:cut] + before[cut:])
        assert Journal(tmp_path).read() == (5, {"same_zone": Sum(1, 2)})
