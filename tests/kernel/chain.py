"""tc programs of another owner, such as a CNI: they only return a verdict."""

import ctypes
import os
import platform
import struct
from collections.abc import Iterator
from contextlib import contextmanager

SYS_BPF = {"x86_64": 321, "aarch64": 280}[platform.machine()]
PROG_LOAD, LINK_CREATE = 5, 28
SCHED_CLS, TCX_EGRESS = 3, 47
NEXT, PASS, DROP = -1, 0, 2


def bpf(command: int, attributes: bytes) -> int:
    """One system call; OSError when it fails."""
    libc = ctypes.CDLL(None, use_errno=True)
    result: int = libc.syscall(SYS_BPF, command, attributes, len(attributes))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


@contextmanager
def program(verdict: int) -> Iterator[int]:
    """The descriptor of a program that returns a verdict."""
    code = ctypes.create_string_buffer(
        struct.pack("<BBhiBBhi", 0xB7, 0, 0, verdict, 0x95, 0, 0, 0)  # r0 = verdict; exit
    )
    name = ctypes.create_string_buffer(b"GPL")
    head = struct.pack("=IIQQ", SCHED_CLS, 2, ctypes.addressof(code), ctypes.addressof(name))
    fd = bpf(PROG_LOAD, head + bytes(48))
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def tcx_program(index: int, verdict: int) -> Iterator[None]:
    """Attach such a program last in a device's tcx egress chain, as a CNI does."""
    with program(verdict) as fd:
        link = bpf(LINK_CREATE, struct.pack("=IIII", fd, index, TCX_EGRESS, 0) + bytes(16))
        try:
            yield
        finally:
            os.close(link)
