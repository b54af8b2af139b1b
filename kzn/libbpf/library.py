"""Loads libbpf.so.1 and libc on first use, and translates their errors to kzn's."""

import errno
import os
import platform
from functools import cache
from typing import Any

from kzn.errors import KernelError, UnsupportedError
from kzn.libbpf import _libbpf

__all__ = ["SYS_BPF", "check", "ffi", "libbpf", "libc", "possible_cpus", "text", "version"]

ffi: Any = _libbpf.ffi
"""cffi values have no useful static types; they stay inside this room."""

SYS_BPF = {"x86_64": 321, "aarch64": 280}
"""Syscall number of bpf(2) by machine (arch/x86/entry/syscalls, asm-generic/unistd.h)."""

LIBRARY = "libbpf.so.1"
LIBBPF_ERRNO = 4000
"""Error numbers of libbpf itself, all about object files, begin here (libbpf_legacy.h)."""


@cache
def libbpf() -> Any:
    """libbpf; UnsupportedError when it is not installed."""
    try:
        return ffi.dlopen(LIBRARY)
    except OSError as error:
        raise UnsupportedError(
            f"load {LIBRARY}: {error}",
            hint="apt-get install libbpf1 (Debian, Ubuntu), dnf install libbpf (Fedora)",
        ) from error


@cache
def libc() -> Any:
    """The libc of this process."""
    return ffi.dlopen(None)


@cache
def possible_cpus() -> int:
    """The number of values of each key in a per-CPU map."""
    return int(check(libbpf().libbpf_num_possible_cpus(), "count the possible CPUs"))


def version() -> str:
    """The library's version, such as "v1.1"."""
    return text(libbpf().libbpf_version_string())


def text(pointer: Any) -> str:
    """A C string as str; empty for NULL."""
    return "" if pointer == ffi.NULL else ffi.string(pointer).decode(errors="replace")


def check(result: int, what: str, *, hint: str = "") -> int:
    """Return a result of libbpf; a negative one (-errno since 1.0) raises KernelError."""
    if result >= 0:
        return result
    code = -result
    raise KernelError(f"{what}: {errno_text(code)}", errno=code, hint=hint or _hint(code))


def errno_text(code: int) -> str:
    """An error number as "EPERM (Operation not permitted)"."""
    if code >= LIBBPF_ERRNO:
        return f"libbpf cannot read it (libbpf error {code})"
    return f"{errno.errorcode.get(code, code)} ({os.strerror(code)})"


def _hint(code: int) -> str:
    if code == errno.EPERM:
        return "run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON; see kzn probes"
    if code == errno.ENOSYS:
        return f"this kernel ({platform.release()}) has no bpf(2)"
    return ""
