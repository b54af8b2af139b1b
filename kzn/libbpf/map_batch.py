"""Reads, zeroes and deletes per-CPU hashes as numpy columns, and copies plain ones, by the kernel's
batch commands.
"""

import errno
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from kzn.errors import KernelError
from kzn.libbpf.library import errno_text, ffi, libbpf, possible_cpus
from kzn.libbpf.maps import Map

CHUNK_BYTES = 1 << 20
"""Memory of one chunk of values; the more CPUs, the fewer rows."""


def read(
    source: Map, key: np.dtype[Any], value: np.dtype[Any], cpus: int | None = None
) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    """Read a per-CPU hash in chunks of keys (n,) and values (n, CPUs), valid until the next chunk.

    Each entry is read once unless entries are inserted or deleted meanwhile. The size of a value
    must be a multiple of 8. ``cpus`` is 1 for a hash that is not per CPU.
    """
    cpus = cpus or possible_cpus()
    keys, values = _room(key, value, _rows(key, value), cpus)
    positions, count = ffi.new("__u32[2]"), ffi.new("__u32 *")
    before = ffi.NULL
    while True:
        count[0] = len(keys)
        result = libbpf().bpf_map_lookup_batch(
            source.fd, before, positions, _bytes(keys), _bytes(values), count, ffi.NULL
        )
        if result == -errno.ENOSPC:  # one bucket holds more than the rows asked for
            keys, values = _room(key, value, 4 * len(keys), cpus)
            continue
        if result < 0 and result != -errno.ENOENT:
            raise _failed("read", source, result)
        yield keys[: count[0]], values[: count[0]]
        if result == -errno.ENOENT:
            return
        before = positions


def copy(source: Map, target: Map, key: np.dtype[Any], value: np.dtype[Any]) -> None:
    """Write all entries of a hash that is not per CPU to another one."""
    for keys, values in read(source, key, value, cpus=1):
        if len(keys):
            count = ffi.new("__u32 *", len(keys))
            result = libbpf().bpf_map_update_batch(
                target.fd, _bytes(keys), _bytes(values), count, ffi.NULL
            )
            if result < 0:
                raise _failed("copy to", target, result)


def zero(target: Map, keys: npt.NDArray[Any], value: np.dtype[Any]) -> None:
    """Set the values of existing ``keys`` to zero on every CPU."""
    rows = _rows(keys.dtype, value)
    zeros = np.zeros((min(rows, len(keys)), possible_cpus()), value)
    for first in range(0, len(keys), rows):
        some = np.ascontiguousarray(keys[first : first + rows])
        count = ffi.new("__u32 *", len(some))
        result = libbpf().bpf_map_update_batch(
            target.fd, _bytes(some), _bytes(zeros), count, ffi.NULL
        )
        if result < 0:
            raise _failed("zero", target, result)


def delete(target: Map, keys: npt.NDArray[Any]) -> None:
    """Delete existing ``keys``."""
    if len(keys):
        count = ffi.new("__u32 *", len(keys))
        some = np.ascontiguousarray(keys)
        result = libbpf().bpf_map_delete_batch(target.fd, _bytes(some), count, ffi.NULL)
        if result < 0:
            raise _failed("delete from", target, result)


def _rows(key: np.dtype[Any], value: np.dtype[Any]) -> int:
    return max(256, CHUNK_BYTES // (key.itemsize + value.itemsize * possible_cpus()))


def _room(
    key: np.dtype[Any], value: np.dtype[Any], rows: int, cpus: int
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    return np.empty(rows, key), np.empty((rows, cpus), value)


def _bytes(array: npt.NDArray[Any]) -> Any:
    return ffi.from_buffer(array.view(np.uint8))


def _failed(verb: str, which: Map, result: int) -> KernelError:
    return KernelError(f"{verb} map {which.name}: {errno_text(-result)}", errno=-result)
