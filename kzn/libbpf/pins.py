"""Pins: paths in a bpffs that keep maps and links in the kernel without a process."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kzn.errors import KernelError, UnsupportedError
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


def open_as(path: Path, kind: str) -> int | None:
    """A new descriptor of what is pinned at a path; None when that is not of this ``kind``.

    ``kind`` is "map", "prog" or "link". A directory, and a symbolic link that leads to no pin, are
    none either. KernelError for any other failure.
    """
    try:
        fd = open_pin(path)
    except KernelError as error:
        is_entry = error.errno == errno.EACCES and (path.is_dir() or path.is_symlink())
        if is_entry or error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return None
        raise
    if kind_of(fd) == kind:
        return fd
    os.close(fd)
    return None


def kind_of(fd: int) -> str:
    """What a descriptor is of, "map", "prog" or "link"; another word for anything else."""
    # anon_inode:bpf-map, :bpf-prog and :bpf_link (kernel/bpf/syscall.c)
    name = Path(f"/proc/self/fd/{fd}").readlink().name.replace("_", "-")
    return name.removeprefix("anon-inode:bpf-")


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
