"""The limit of open descriptors (RLIMIT_NOFILE) of this process.

A container runtime may start processes with a soft limit of 1,024 and a hard limit of 524,288; the
soft limit exists for programs that use select(2), which kzn does not.
"""

import resource

MAX_DESCRIPTORS = 1 << 20
"""More are never needed, and an unlimited number would be a table of a gigabyte."""


def raise_limit() -> int:
    """Raise the soft limit to the hard limit; returns the soft limit from now on."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MAX_DESCRIPTORS)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return limit()
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):  # a security module may refuse it; the old limit stays
        return limit()
    return wanted


def limit() -> int:
    """The soft limit."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_DESCRIPTORS if soft == resource.RLIM_INFINITY else soft
