"""Writes the initramfs of a guest: a cpio archive (newc) of folders of the host."""

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

SKIP = frozenset({".git", ".venv", "var/cache", "var/lib/apt"})
BYTECODE = "__pycache__"
FOLDER = stat.S_IFDIR | 0o755


@dataclass(frozen=True, slots=True)
class Part:
    """A folder of the host and its path in the guest.

    ``bytecode``: include Python bytecode, which must be that of the guest's Python version.
    """

    source: Path
    target: str = ""
    bytecode: bool = False


def write(path: Path, parts: Iterable[Part], files: Mapping[str, tuple[int, bytes]]) -> None:
    """Write ``parts``, then ``files`` (mode and content by name); later entries replace earlier.

    Not compressed: an emulated CPU inflates far more slowly than QEMU copies.
    """
    with path.open("wb") as out:
        archive = _Archive(out)
        for part in parts:
            for entry in _walk(part):
                archive.copy(str(Path(part.target, entry)), part.source / entry)
        for name, (mode, content) in files.items():
            archive.add(name, mode, content)
        archive.add("TRAILER!!!", 0, b"")


def _walk(part: Part) -> Iterator[str]:
    skip = SKIP if part.bytecode else SKIP | {BYTECODE}
    for folder, folders, names in os.walk(part.source):
        inside = os.path.relpath(folder, part.source)
        folders[:] = [
            f for f in folders if f not in skip and os.path.normpath(f"{inside}/{f}") not in skip
        ]
        for name in [*folders, *names]:
            yield os.path.normpath(Path(inside, name))


class _Archive:
    """Writes entries and, before each, the missing folders above it."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._number = 0
        self._folders = {"."}

    def copy(self, name: str, source: Path) -> None:
        """Add a file, folder or link of the host."""
        info = os.lstat(source)
        content = b""
        if stat.S_ISLNK(info.st_mode):
            content = os.fsencode(source.readlink())
        elif stat.S_ISREG(info.st_mode):
            content = source.read_bytes()
        elif not stat.S_ISDIR(info.st_mode):
            return  # devices come from devtmpfs
        # Whole seconds, as in the archive: bytecode is stale when its source's time differs.
        self.add(name, info.st_mode, content, int(info.st_mtime))

    def add(self, name: str, mode: int, content: bytes, mtime: int = 0) -> None:
        """Add an entry, and before it the missing folders above it.

        A newc header has 13 numbers of 8 hexadecimal digits (cpio(5)); every file has one link.
        """
        above = str(Path(name).parent)
        if above not in self._folders:
            self.add(above, FOLDER, b"")
        if stat.S_ISDIR(mode):
            self._folders.add(name)
        self._number += 1
        encoded = os.fsencode(name) + b"\0"
        numbers = (self._number, mode, 0, 0, 1, mtime, len(content), 0, 0, 0, 0, len(encoded), 0)
        head = b"070701" + b"".join(b"%08x" % value for value in numbers)
        for data in (head + encoded, content):
            self._out.write(data + bytes(-len(data) % 4))
