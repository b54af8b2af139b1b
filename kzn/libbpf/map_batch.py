"""Reads, copies and empties hashes as numpy columns, by the kernel's batch commands."""

import errno
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from kzn.errors import KernelError
from kzn.libbpf.library import errno_text, ffi, libbpf
from kzn.libbpf.maps import Map

CHUNK_BYTES = 1 << 20
"""Memory of one chunk of keys and values."""


def read(
    source: Map, key: np.dtype[Any], value: np.dtype[Any]
) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    """Read a hash in chunks of keys (n,) and values (n,), valid until the next chunk.

    Each entry is read once unless entries are inserted or deleted meanwhile.
    """
    return _chunks(source, key, value, libbpf().bpf_map_lookup_batch)


def empty(target: Map, key: np.dtype[Any], value: np.dtype[Any]) -> None:
    """Delete all entries of a hash that no program inserts to."""
    for _ in _chunks(target, key, value, libbpf().bpf_map_lookup_and_delete_batch):
        pass


def _chunks(
    source: Map, key: np.dtype[Any], value: np.dtype[Any], command: Callable[..., int]
) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    keys, values = _room(key, value, _rows(key, value))
    positions, count = ffi.new("__u32[2]"), ffi.new("__u32 *")
    before = ffi.NULL
    while True:
        count[0] = len(keys)
        result = command(
            source.fd, before, positions, _bytes(keys), _bytes(values), count, ffi.NULL
        )
        if result == -errno.ENOSPC:  # one bucket holds more than the rows asked for
            keys, values = _room(key, value, 4 * len(keys))
            continue
        if result < 0 and result != -errno.ENOENT:
            raise _failed("read", source, result)
        yield keys[: count[0]], values[: count[0]]
        if result == -errno.ENOENT:
            return
        before = positions


def copy(source: Map, target: Map, key: np.dtype[Any], value: np.dtype[Any]) -> None:
    """Write all entries of a hash to another one."""
    for keys, values in read(source, key, value):
        if len(keys):
            count = ffi.new("__u32 *", len(keys))
            result = libbpf().bpf_map_update_batch(
                target.fd, _bytes(keys), _bytes(values), count, ffi.NULL
            )
            if result < 0:
                raise _failed("copy to", target, result)


def _rows(key: np.dtype[Any], value: np.dtype[Any]) -> int:
    return CHUNK_BYTES // (key.itemsize + value.itemsize)


def _room(
    key: np.dtype[Any], value: np.dtype[Any], rows: int
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    return np.empty(rows, key), np.empty(rows, value)


def _bytes(array: npt.NDArray[Any]) -> Any:
    return ffi.from_buffer(array.view(np.uint8))


def _failed(verb: str, which: Map, result: int) -> KernelError:
    return KernelError(f"{verb} map {which.name}: {errno_text(-result)}", errno=-result)
