"""Settings of the C library's allocator for a process that needs large arrays again and again."""

import ctypes

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
"""``M_*`` of malloc.h (glibc)."""
KEPT_BYTES = 64 << 20
PAD_BYTES = 16 << 20
HEAP_BYTES = 32 << 20
"""The largest threshold that glibc takes before 2.35."""


def keep_freed_memory() -> bool:
    """Keep up to `KEPT_BYTES` of freed memory instead of returning it to the kernel at once.

    Each batch has arrays of megabytes: without this their pages are mapped and cleared anew for
    each, which is up to a tenth of its CPU time. False where the C library has no such settings.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    settings = (
        (_MMAP_THRESHOLD, HEAP_BYTES),
        (_TRIM_THRESHOLD, KEPT_BYTES),
        (_TOP_PAD, PAD_BYTES),
    )
    return all(mallopt(*setting) == 1 for setting in settings)
