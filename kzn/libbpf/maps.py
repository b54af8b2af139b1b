"""Maps by descriptor: reads and writes single values as bytes (whole hashes: map_batch.py)."""

import errno
import mmap
import os
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from kzn.errors import KernelError
from kzn.libbpf.library import check, errno_text, ffi, libbpf, text

ARRAY = 2  # enum bpf_map_type


@dataclass(frozen=True, slots=True)
class MapInfo:
    """A map's properties in the kernel; sizes in bytes."""

    kind: int
    name: str
    key_size: int
    value_size: int
    max_entries: int


class Map:
    """A map; owns its descriptor and closes it on exit."""

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
        """This map's properties in the kernel."""
        return map_info(self.fd, self.name)

    def read(self, index: int, size: int) -> bytes:
        """``size`` bytes of entry ``index`` of an array; of a per-CPU array, all CPUs in a row."""
        value = ffi.new("char[]", size)
        key = ffi.new("__u32 *", index)
        result = libbpf().bpf_map_lookup_elem(self.fd, key, value)
        check(result, f"read entry {index} of map {self.name}")
        return bytes(ffi.buffer(value, size))

    def write(self, index: int, value: bytes) -> None:
        """Set entry ``index`` of an array; of a per-CPU array, all CPUs in a row."""
        key = ffi.new("__u32 *", index)
        result = libbpf().bpf_map_update_elem(self.fd, key, value, 0)
        check(result, f"write entry {index} of map {self.name}")

    def put(self, key: bytes, value: bytes) -> None:
        """Set an entry of a hash."""
        result = libbpf().bpf_map_update_elem(
            self.fd, ffi.from_buffer(key), ffi.from_buffer(value), 0
        )
        check(result, f"write an entry of map {self.name}")

    def get(self, key: bytes, size: int) -> bytes:
        """The value of an entry of a hash, ``size`` bytes."""
        value = ffi.new("char[]", size)
        result = libbpf().bpf_map_lookup_elem(self.fd, ffi.from_buffer(key), value)
        check(result, f"read an entry of map {self.name}")
        return bytes(ffi.buffer(value, size))

    def remove(self, key: bytes) -> None:
        """Remove an entry of a hash, if it is there."""
        result = libbpf().bpf_map_delete_elem(self.fd, ffi.from_buffer(key))
        if result != -errno.ENOENT:
            check(result, f"remove an entry of map {self.name}")

    def keys(self, size: int) -> list[bytes]:
        """Keys of a hash, ``size`` bytes each; as they are when nothing changes meanwhile."""
        found: list[bytes] = []
        key, following = ffi.NULL, ffi.new("char[]", size)
        while True:
            result = libbpf().bpf_map_get_next_key(self.fd, key, following)
            if result == -errno.ENOENT:
                return found
            check(result, f"read the keys of map {self.name}")
            found.append(bytes(ffi.buffer(following, size)))
            key = ffi.from_buffer(found[-1])

    def mapped(self, offset: int, size: int, *, writable: bool = False) -> memoryview:
        """Bytes of an array with BPF_F_MMAPABLE, shared with the kernel.

        Unmapped when nothing refers to them any more.
        """
        begin = offset - offset % mmap.ALLOCATIONGRANULARITY
        access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
        try:
            shared = mmap.mmap(self.fd, offset + size - begin, access=access, offset=begin)
            return memoryview(shared)[offset - begin :]
        except OSError as error:
            what = f"map the memory of map {self.name}: {errno_text(error.errno or 0)}"
            raise KernelError(what, errno=error.errno or 0) from error

    def write_fd(self, index: int, fd: int) -> None:
        """Set the inner map of a map of maps; the kernel waits for running programs."""
        key, value = ffi.new("__u32 *", index), ffi.new("int *", fd)
        result = libbpf().bpf_map_update_elem(self.fd, key, value, 0)
        check(result, f"replace inner map {index} of {self.name}")


def map_info(fd: int, name: str) -> MapInfo:
    """The properties of a map by descriptor."""
    info, size = ffi.new("struct kzn_map_info *"), ffi.new("__u32 *")
    size[0] = ffi.sizeof("struct kzn_map_info")
    check(libbpf().bpf_obj_get_info_by_fd(fd, info, size), f"get the info of map {name}")
    return MapInfo(info.type, text(info.name), info.key_size, info.value_size, info.max_entries)


def create_array(name: str, value_size: int) -> Map:
    """Create an array of one entry."""
    fd = libbpf().bpf_map_create(ARRAY, name.encode(), 4, value_size, 1, ffi.NULL)
    return Map(check(fd, f"create map {name}"), name)
