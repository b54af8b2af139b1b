"""Network and mount namespaces of the calling thread: create, enter, leave.

Python has ``os.setns`` and ``os.unshare`` only since 3.12, and never ``mount(2)``, so these calls
go to libc.
"""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kzn.errors import UnsupportedError

NAMES = Path("/run/netns")
"""The directory where iproute2 names network namespaces."""

CLONE_NEWNS = 0x00020000
CLONE_NEWNET = 0x40000000
MS_NOSUID_NODEV_NOEXEC = 2 | 4 | 8
MS_REC = 16384
MS_PRIVATE = 1 << 18
MNT_DETACH = 2


def _call(name: str, *arguments: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


def mount(kind: str, target: Path, flags: int = MS_NOSUID_NODEV_NOEXEC) -> None:
    """Mount a file system without a device (tmpfs, bpffs); OSError if the kernel refuses."""
    _call("mount", kind.encode(), bytes(target), kind.encode(), ctypes.c_ulong(flags), b"")


def unmount(target: Path) -> None:
    """Detach the mount from this mount namespace now; it ends with its last user."""
    _call("umount2", bytes(target), MNT_DETACH)


@contextmanager
def private_names() -> Iterator[Path]:
    """Give this thread its own mount namespace with an empty tmpfs over `NAMES`.

    Only this thread and the processes that it starts see what is named, mounted or pinned below
    it. The kernel removes everything with the last of them, also after SIGKILL.
    """
    try:
        NAMES.mkdir(parents=True, exist_ok=True)
        _call("unshare", CLONE_NEWNS)
        _call("mount", b"none", b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None)
        mount("tmpfs", NAMES)
    except OSError as error:
        raise UnsupportedError(
            f"create private namespaces: {error.strerror}",
            hint="this needs root with CAP_SYS_ADMIN: try sudo, or a privileged container"
            " (in a chroot, / must be a mount point)",
        ) from error
    try:
        yield NAMES
    finally:
        unmount(NAMES)


@contextmanager
def inside(namespace: str) -> Iterator[None]:
    """Run the block with this thread in a named network namespace.

    A socket stays in the namespace in which it was made, so it can be used after the block. The
    block must not await.
    """
    with (
        Path("/proc/thread-self/ns/net").open("rb") as home,
        (NAMES / namespace).open("rb") as there,
    ):
        _call("setns", there.fileno(), CLONE_NEWNET)
        try:
            yield
        finally:
            _call("setns", home.fileno(), CLONE_NEWNET)
