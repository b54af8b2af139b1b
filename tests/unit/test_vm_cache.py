"""Runs of `make vm` at the same time share kernels and root file systems (tests/vm/cached.py)."""

import fcntl
import importlib
import os
import threading
from pathlib import Path
from typing import Any

import pytest

VM = Path(__file__).parents[1] / "vm"
WAIT = 60.0


@pytest.fixture
def cached(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module under test, which the programs of tests/vm import by this name."""
    monkeypatch.syspath_prepend(str(VM))
    return importlib.import_module("cached")


def fill(folder: Path) -> None:
    """A build."""
    folder.mkdir()
    (folder / "file").write_text(folder.name)


def test_two_runs_build_a_folder_once(cached: Any, tmp_path: Path) -> None:
    built, may_end = threading.Semaphore(0), threading.Event()
    folders = []

    def slowly(folder: Path) -> None:
        built.release()
        assert may_end.wait(WAIT)
        fill(folder)

    def run() -> None:
        with cached.held(tmp_path, "root", "a", slowly) as folder:
            folders.append((folder, (folder / "file").read_text()))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert built.acquire(timeout=WAIT)
    may_end.set()
    for thread in threads:
        thread.join(WAIT)
    assert len(folders) == 2
    assert len(set(folders)) == 1
    assert not built.acquire(blocking=False)


def test_readers_share_the_lock_without_which_a_folder_is_neither_made_nor_removed(
    cached: Any, tmp_path: Path
) -> None:
    def alone() -> bool:
        with (tmp_path / "root.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

    def build(folder: Path) -> None:
        assert not alone()
        fill(folder)

    with cached.held(tmp_path, "root", "a", build), cached.held(tmp_path, "root", "a", build):
        assert not alone()
    assert alone()


def test_folders_of_some_other_dependencies_stay_and_those_unused_for_longest_go(
    cached: Any, tmp_path: Path
) -> None:
    for number, wanted in enumerate("abacd"):
        with cached.held(tmp_path, "root", wanted, fill) as folder:
            assert (folder / "file").exists()
        os.utime(folder, (number, number))
    left = {path.name for path in tmp_path.glob("root-*")}
    assert len(left) == cached.KEPT
    with cached.held(tmp_path, "root", "a", pytest.fail):
        pass


def test_a_build_that_fails_leaves_nothing_and_is_tried_again(cached: Any, tmp_path: Path) -> None:
    def fails(folder: Path) -> None:
        fill(folder)
        raise SystemExit("no network")

    with pytest.raises(SystemExit), cached.held(tmp_path, "root", "a", fails):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["root.lock"]
    with cached.held(tmp_path, "root", "a", fill) as folder:
        assert (folder / "file").exists()
