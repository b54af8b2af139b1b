"""Captures libbpf's log, the verifier's included, for error messages; nothing goes to stderr.

libbpf passes a format and a va_list. The va_list is passed as a pointer on x86-64 (an array) and on
AArch64 (a struct over 16 bytes, AAPCS64 6.8.2), so it can be passed on to vsnprintf unchanged.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kzn.libbpf.library import ffi, libbpf, libc

WARN = 0
MAX_MESSAGE = 1 << 20
MAX_MESSAGES = 200


@contextmanager
def captured() -> Iterator[list[str]]:
    """Collect libbpf's warnings within the block; at most MAX_MESSAGES."""
    messages: list[str] = []

    @ffi.callback("int(int, const char *, void *)")  # type: ignore[untyped-decorator]
    def keep(level: int, form: Any, arguments: Any) -> int:
        if level > WARN or len(messages) >= MAX_MESSAGES:
            return 0
        buffer = ffi.new("char[]", MAX_MESSAGE)
        libc().vsnprintf(buffer, MAX_MESSAGE, form, arguments)
        messages.append(ffi.string(buffer).decode(errors="replace").rstrip())
        return 0

    previous = libbpf().libbpf_set_print(keep)
    try:
        yield messages
    finally:
        libbpf().libbpf_set_print(previous)
