"""The writer as a child process: answers, its death, a server that is killed."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from historic import bytes_of, rows_of

from kzn.errors import KznError
from kzn.history.directory import Directory, open_directory
from kzn.history.processes import writer_process
from kzn.history.processes.writer_process import RefusedSegmentError, WriterGoneError, WriterProcess
from kzn.history.retention import Keep
from kzn.model.settled import SETTLED, End, Sum

T0 = 1_795_651_200
END = End("Pod", "shop", "Deployment", "web", "web-1", "n1", "a", "r", "10.0.0.1")


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Directory]:
    made = open_directory(tmp_path)
    yield made
    made.close()


@pytest.fixture
def process(directory: Directory) -> Iterator[WriterProcess]:
    made = WriterProcess(directory, [("same_zone", "")], Keep())
    yield made
    made.close()


def minute(size: int) -> bytes:
    rows = np.zeros(1, SETTLED)
    rows["time"], rows["bytes"], rows["packets"] = T0, size, 1
    return rows.tobytes()


def test_a_process_that_died_is_started_again_and_knows_what_is_durable(
    process: WriterProcess, tmp_path: Path
) -> None:
    process.open()
    process.open_books(7, {})
    process.add_ends([END], anew=True)
    process.write(1, minute(5), {}, T0)
    os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(WriterGoneError, match="ended"):
        process.write(2, minute(6), {}, T0)
    books = process.open()
    assert (books.number, books.recorded) == (1, {"same_zone": Sum(1, 5)})
    process.add_ends([END], anew=True)
    process.write(2, minute(6), {"io": {"same_zone": Sum(1, 1)}}, T0 + 60)
    assert process.note({}, [], T0 + 120).until == T0 + 120
    assert process.maintain(T0 + 7200.0)
    while process.maintain(T0 + 1e6):
        pass
    with pytest.raises(RefusedSegmentError) as caught:
        process.write(3, minute(6), {}, T0)
    assert caught.value.reason == "too_late"
    process.close()
    assert bytes_of(tmp_path, "hour") == {"same_zone": 11}


def test_ends_are_told_in_messages_that_do_not_hold_up_the_server(
    process: WriterProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_process, "ENDS_AT_ONCE", 2)
    process.open()
    for anew, names in ((True, "abcde"), (False, "fg"), (True, "vwxyz")):
        process.add_ends([END._replace(pod=name) for name in names], anew=anew)
    rows = np.zeros(5, SETTLED)
    rows["time"], rows["packets"], rows["bytes"] = T0, 1, 1
    rows["src"] = rows["dst"] = range(5)
    process.write(1, rows.view(np.uint8).data, {}, T0)
    process.close()
    found = rows_of(tmp_path, columns="src_pod, dst_pod", tail="ORDER BY 1")
    assert found == [(name, name) for name in "vwxyz"]


def test_the_writer_holds_the_lock_until_it_has_ended(
    process: WriterProcess, directory: Directory, tmp_path: Path
) -> None:
    process.open()
    lock = os.dup(directory.lock)
    os.close(lock)
    os.dup2(os.open(os.devnull, os.O_RDONLY), directory.lock)  # as if the server were killed
    with pytest.raises(KznError, match="in use"):
        open_directory(tmp_path, wait=0.0)
    process.close()
    open_directory(tmp_path).close()


def test_without_a_process_there_is_no_answer(process: WriterProcess) -> None:
    with pytest.raises(WriterGoneError, match="does not run"):
        process.write(1, minute(5), {}, T0)
    assert process.pid == 0
