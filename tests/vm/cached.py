"""Locks on the cache of kernels and root file systems, which runs at the same time share.

Never: a folder that is built, replaced or removed while another run reads it.
"""

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

KEPT = 3
"""Folders of a name that stay, so that work trees with other dependencies do not take turns."""


@contextmanager
def locked(cache: Path, name: str) -> Iterator[None]:
    """Hold the exclusive lock of a name; waits for another run that holds it."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def held(cache: Path, name: str, wanted: str, build: Callable[[Path], None]) -> Iterator[Path]:
    """A folder of the cache that ``build`` has filled once for the text ``wanted``.

    Readers share the lock of the name within the block; the run that builds has it alone. A build
    that fails, or whose process is killed, leaves no folder of that name.
    """
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / f"{name}-{hashlib.sha256(wanted.encode()).hexdigest()[:12]}"
    with (cache / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        while not folder.is_dir():
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.is_dir():
                _build(cache, folder, build)
                _forget(cache, name, folder)
            fcntl.flock(lock, fcntl.LOCK_SH)  # not atomic: hence the loop
        os.utime(folder)
        yield folder


def _build(cache: Path, folder: Path, build: Callable[[Path], None]) -> None:
    with tempfile.TemporaryDirectory(dir=cache) as work:
        Path(work).chmod(0o755)  # apt fetches as another user
        made = Path(work, folder.name)
        build(made)
        made.rename(folder)


def _forget(cache: Path, name: str, newest: Path) -> None:
    """Remove the folders of a name that were not used for the longest time."""
    old = [path for path in cache.glob(f"{name}-*") if path.is_dir() and path != newest]
    old.sort(key=lambda path: path.stat().st_mtime)
    for path in old[: 1 - KEPT]:
        shutil.rmtree(path)
