"""What libbpf prints, kept for the error that follows instead of going to stderr.

The verifier's log comes this way. libbpf hands over a format and a va_list; the latter is a
pointer on x86-64 (an array) and on AArch64 (a struct over 16 bytes is passed by reference,
AAPCS64 6.8.2), so it can be given on to vsnprintf as it came.
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
    """Collect libbpf's warnings for the length of the block; at most MAX_MESSAGES."""
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
