"""Maps in the kernel, by descriptor: single values as bytes, whole hashes as numpy columns."""

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from kzn.errors import KernelError
from kzn.libbpf.door import check, errno_text, ffi, libbpf, possible_cpus, text

ARRAY = 2
PERCPU_HASH = 5
PERCPU_ARRAY = 6
ARRAY_OF_MAPS = 12

CHUNK_BYTES = 4 << 20
"""Memory for one batch of a per-CPU map's values: rows are fewer where CPUs are many."""


@dataclass(frozen=True, slots=True)
class MapInfo:
    """What the kernel says of a map; sizes in bytes."""

    kind: int
    name: str
    key_size: int
    value_size: int
    max_entries: int


class Map:
    """A map by descriptor, which this object owns and closes."""

    def __init__(self, fd: int, name: str) -> None:
        self.fd = fd
        self.name = name

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self.fd)

    def info(self) -> MapInfo:
        """Ask the kernel what this map is."""
        return map_info(self.fd, self.name)

    def read(self, index: int, size: int) -> bytes:
        """Entry ``index`` of an array, ``size`` bytes; of a per-CPU one, all CPUs' in a row."""
        value = ffi.new("char[]", size)
        key = ffi.new("__u32 *", index)
        result = libbpf().bpf_map_lookup_elem(self.fd, key, value)
        check(result, f"read entry {index} of map {self.name}")
        return bytes(ffi.buffer(value, size))

    def write(self, index: int, value: bytes) -> None:
        """Set entry ``index`` of an array; of a per-CPU one, all CPUs' in a row."""
        key = ffi.new("__u32 *", index)
        result = libbpf().bpf_map_update_elem(self.fd, key, value, 0)
        check(result, f"write entry {index} of map {self.name}")

    def write_fd(self, index: int, fd: int) -> None:
        """Put a map into a map of maps; from user space this waits for running programs."""
        key, value = ffi.new("__u32 *", index), ffi.new("int *", fd)
        result = libbpf().bpf_map_update_elem(self.fd, key, value, 0)
        check(result, f"replace the map in {self.name}[{index}]")

    def batches(
        self, key: np.dtype[Any], value: np.dtype[Any], *, delete: bool = False
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
                self.fd,
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
                    f"read map {self.name}: {errno_text(-result)}",
                    errno=-result,
                )
            yield keys[: count[0]], values[: count[0]]
            if result == -errno.ENOENT:
                return
            before = positions


def map_info(fd: int, name: str) -> MapInfo:
    """What the kernel says of the map behind a descriptor."""
    info, size = ffi.new("struct kzn_map_info *"), ffi.new("__u32 *")
    size[0] = ffi.sizeof("struct kzn_map_info")
    check(libbpf().bpf_obj_get_info_by_fd(fd, info, size), f"ask for map {name}")
    return MapInfo(info.type, text(info.name), info.key_size, info.value_size, info.max_entries)


def create_array(name: str, value_size: int) -> Map:
    """A new array of one entry."""
    fd = libbpf().bpf_map_create(ARRAY, name.encode(), 4, value_size, 1, ffi.NULL)
    return Map(check(fd, f"create map {name}"), name)
