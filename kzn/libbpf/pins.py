"""Pins: paths in a bpffs that keep maps and links in the kernel without a process."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kzn.errors import UnsupportedError
from kzn.libbpf.library import check, libbpf

BPFFS = Path("/sys/fs/bpf")
"""The mount point of the bpf file system, by systemd, and the default of libbpf."""


def pin(fd: int, path: Path) -> None:
    """Pin an object at a path; KernelError when the path exists."""
    check(libbpf().bpf_obj_pin(fd, str(path).encode()), f"pin {path}")


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """A descriptor of a pinned object, closed at the end of the block."""
    fd = open_pin(path)
    try:
        yield fd
    finally:
        os.close(fd)


def open_pin(path: Path) -> int:
    """A new descriptor of a pinned object; KernelError with ENOENT when there is none."""
    return check(libbpf().bpf_obj_get(str(path).encode()), f"open pin {path}")


def require_bpffs(path: Path) -> None:
    """UnsupportedError unless ``path``, or its nearest existing parent, is on a bpffs."""
    path = path.absolute()
    existing = next(p for p in [path, *path.parents] if _exists(p))
    kind, mount = _mount_of(existing.resolve())
    if kind != "bpf":
        wanted = BPFFS in path.parents
        raise UnsupportedError(
            f"pin directory {path} is not on a bpf file system ({mount} is {kind})",
            hint=f"mount one: mount -t bpf bpf {BPFFS}"
            + ("" if wanted else f", and set --pin-dir to a path in it, such as {BPFFS / 'kzn'}"),
        )


def _exists(path: Path) -> bool:
    """False also for EPERM, which a bpffs returns for a name with a dot (kernel/bpf/inode.c)."""
    try:
        path.stat()
    except OSError:
        return False
    return True


def _mount_of(path: Path) -> tuple[str, str]:
    """File system type and mount point that ``path`` is on (proc_pid_mountinfo(5))."""
    best = ("unknown", "/")
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split(" ")
        point = fields[4].encode().decode("unicode_escape")
        kind = fields[fields.index("-") + 1]
        inside = path == Path(point) or Path(point) in path.parents
        if inside and len(point) >= len(best[1]):  # of mounts on one point, the last is visible
            best = (kind, point)
    return best
