"""A cpio archive (newc) of folders, written as the kernel reads it: the guest's whole world."""

import gzip
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

SKIP = frozenset({"__pycache__", ".git", ".venv", "var/cache", "var/lib/apt"})


@dataclass(frozen=True, slots=True)
class Part:
    """A folder of the host and where it appears in the guest."""

    source: Path
    target: str = ""


def write(path: Path, parts: Iterable[Part], files: dict[str, tuple[int, bytes]]) -> None:
    """An archive of ``parts`` and of ``files`` (mode and content by name); later ones win."""
    with gzip.open(path, "wb", compresslevel=1) as out:
        number = 0
        for part in parts:
            for entry in _walk(part.source):
                number += 1
                name = str(Path(part.target, entry))
                _entry(out, number, name, os.lstat(part.source / entry), part.source / entry)
        for name, (mode, content) in files.items():
            number += 1
            _header(out, number, name, mode, len(content), 0, 0)
            _padded(out, content)
        _header(out, 0, "TRAILER!!!", 0, 0, 0, 0)


def _walk(top: Path) -> Iterable[str]:
    for folder, folders, names in os.walk(top):
        inside = os.path.relpath(folder, top)
        folders[:] = [
            f for f in folders if f not in SKIP and os.path.normpath(f"{inside}/{f}") not in SKIP
        ]
        for name in [*folders, *names]:
            yield os.path.normpath(Path(inside, name))


def _entry(out: BinaryIO, number: int, name: str, info: os.stat_result, source: Path) -> None:
    content = b""
    if stat.S_ISLNK(info.st_mode):
        content = os.fsencode(source.readlink())
    elif stat.S_ISREG(info.st_mode):
        content = source.read_bytes()
    elif not stat.S_ISDIR(info.st_mode):
        return  # devices come from devtmpfs
    _header(out, number, name, info.st_mode, len(content), int(info.st_mtime), info.st_nlink)
    _padded(out, content)


def _header(
    out: BinaryIO, number: int, name: str, mode: int, size: int, mtime: int, _links: int
) -> None:
    """A newc header: 13 numbers of 8 hexadecimal digits (cpio(5)); every file has one link."""
    encoded = os.fsencode(name) + b"\0"
    numbers = (number, mode, 0, 0, 1, mtime, size, 0, 0, 0, 0, len(encoded), 0)
    head = b"070701" + b"".join(b"%08x" % value for value in numbers)
    _padded(out, head + encoded)


def _padded(out: BinaryIO, data: bytes) -> None:
    out.write(data + bytes(-len(data) % 4))
