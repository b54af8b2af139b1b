"""Whole per-CPU hashes as numpy columns, by the kernel's batch calls."""

import errno
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from kzn.errors import KernelError
from kzn.libbpf.door import errno_text, ffi, libbpf, possible_cpus
from kzn.libbpf.maps import Map

CHUNK_BYTES = 4 << 20
"""Memory for one batch of a per-CPU map's values: rows are fewer where CPUs are many."""


def batches(
    source: Map, key: np.dtype[Any], value: np.dtype[Any], *, delete: bool = False
) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    """Read a per-CPU hash: keys (n,) and values (n, CPUs) at a time, in views reused.

    With ``delete`` every entry read is removed. Nothing may be inserted meanwhile (the buffer
    is quiet); then every entry comes exactly once. Sizes must be multiples of 8.
    """
    cpus = possible_cpus()
    rows = max(256, CHUNK_BYTES // (key.itemsize + value.itemsize * cpus))
    keys, values = np.empty(rows, key), np.empty((rows, cpus), value)
    call = libbpf().bpf_map_lookup_batch
    if delete:
        call = libbpf().bpf_map_lookup_and_delete_batch
    positions = ffi.new("__u32[2]")
    before, after = ffi.NULL, positions
    count = ffi.new("__u32 *")
    while True:
        count[0] = len(keys)
        result = call(
            source.fd,
            before,
            after,
            ffi.from_buffer(keys.view(np.uint8)),
            ffi.from_buffer(values.view(np.uint8)),
            count,
            ffi.NULL,
        )
        if result == -errno.ENOSPC:  # one bucket holds more than the rows asked for
            keys, values = np.empty(len(keys) * 4, key), np.empty((len(keys) * 4, cpus), value)
            continue
        if result < 0 and result != -errno.ENOENT:
            raise KernelError(
                f"read map {source.name}: {errno_text(-result)}",
                errno=-result,
            )
        yield keys[: count[0]], values[: count[0]]
        if result == -errno.ENOENT:
            return
        before = positions
