"""The door to libbpf.so.1 and libc: opened once, on first use, with a clear error when missing."""

import errno
import os
import platform
from functools import cache
from typing import Any

from kzn.errors import KernelError, UnsupportedError
from kzn.libbpf import _libbpf

__all__ = ["SYS_BPF", "check", "ffi", "libbpf", "libc", "possible_cpus", "text", "version"]

ffi: Any = _libbpf.ffi
"""cffi's values have no useful static types; they stay inside this room."""

SYS_BPF = {"x86_64": 321, "aarch64": 280}
"""Number of bpf(2) by machine (arch/x86/entry/syscalls, include/uapi/asm-generic/unistd.h)."""

LIBRARY = "libbpf.so.1"
LIBBPF_ERRNO = 4000
"""libbpf's own numbers, all of which are about the object file, begin here (libbpf_legacy.h)."""


@cache
def libbpf() -> Any:
    """The library; UnsupportedError when it is not installed."""
    try:
        return ffi.dlopen(LIBRARY)
    except OSError as error:
        raise UnsupportedError(
            f"load {LIBRARY}: {error}",
            hint="apt-get install libbpf1 (Debian, Ubuntu), dnf install libbpf (Fedora)",
        ) from error


@cache
def libc() -> Any:
    """The process's own libc."""
    return ffi.dlopen(None)


@cache
def possible_cpus() -> int:
    """How many values a per-CPU map has for each key."""
    return int(check(libbpf().libbpf_num_possible_cpus(), "count the possible CPUs"))


def version() -> str:
    """The library's version, such as "v1.1"."""
    return text(libbpf().libbpf_version_string())


def text(pointer: Any) -> str:
    """A C string as str; empty for NULL."""
    return "" if pointer == ffi.NULL else ffi.string(pointer).decode(errors="replace")


def check(result: int, what: str, *, hint: str = "") -> int:
    """Pass a result of libbpf on; a negative one (-errno since 1.0) becomes a KernelError."""
    if result >= 0:
        return result
    code = -result
    raise KernelError(f"{what}: {errno_text(code)}", errno=code, hint=hint or _hint(code))


def errno_text(code: int) -> str:
    """An error number as "EPERM (Operation not permitted)"."""
    if code >= LIBBPF_ERRNO:
        return f"libbpf cannot read it (its error {code})"
    return f"{errno.errorcode.get(code, code)} ({os.strerror(code)})"


def _hint(code: int) -> str:
    if code == errno.EPERM:
        return "kzn needs root, or CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON; see kzn probes"
    if code == errno.ENOSYS:
        return f"this kernel ({platform.release()}) has no bpf(2)"
    return ""
