"""Loads a BPF object file into the kernel: open, set constants and sizes, load, close."""

import errno
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

from kzn.errors import KernelError, KznError
from kzn.libbpf.btf import Btf, Variable
from kzn.libbpf.library import check, errno_text, ffi, libbpf, text
from kzn.libbpf.messages import captured

LOG_LINES = 40
RODATA = ".rodata"
BTF = b".BTF\0"  # the section's name, in the table of names


class BpfObject:
    """An object file in memory; a context manager that closes it.

    It owns the descriptors that it returns: pin or attach what must outlive it.
    """

    def __init__(self, image: bytes, name: str) -> None:
        self.name = name
        self._image = image  # libbpf reads from it until the object is closed
        options = ffi.new("struct bpf_object_open_opts *")
        object_name = ffi.new("char[]", name.encode())
        options.sz = ffi.sizeof("struct bpf_object_open_opts")
        options.object_name = object_name
        with captured() as messages:
            self._object: Any = libbpf().bpf_object__open_mem(image, len(image), options)
        if self._object == ffi.NULL:
            if ffi.errno == errno.ENOENT and BTF not in image:  # maps without BTF
                raise no_btf(name)
            raise KznError(
                f"open object {name}: {errno_text(ffi.errno)}",
                hint=_last(messages) or "the file is not a BPF object that libbpf understands",
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        libbpf().bpf_object__close(self._object)

    def programs(self) -> list[str]:
        """The names of all programs."""
        return [text(libbpf().bpf_program__name(p)) for p in self._programs()]

    def set_program_type(self, program_type: int, attach_type: int) -> None:
        """Set the type of all programs, since an older libbpf does not know every section name."""
        for program in self._programs():
            libbpf().bpf_program__set_type(program, program_type)
            libbpf().bpf_program__set_expected_attach_type(program, attach_type)

    def size(self, map_name: str, max_entries: int) -> None:
        """Set a map's number of entries, before loading."""
        found = self._map(map_name)
        check(libbpf().bpf_map__set_max_entries(found, max_entries), f"size map {map_name}")

    def btf(self) -> Btf:
        """The types of the object; KznError when it has no BTF."""
        found = libbpf().bpf_object__btf(self._object)
        if found == ffi.NULL:
            raise no_btf(self.name)
        return Btf(found, self.name)

    def constant(self, name: str) -> bytes:
        """The initial value of a ``const volatile`` variable, before loading."""
        place = self._constant(name)
        return self._rodata()[1][place.offset : place.offset + place.size]

    def constant_type(self, name: str) -> int:
        """The number of such a variable's type."""
        return self._constant(name).type

    def set_constant(self, name: str, value: bytes) -> None:
        """Set such a variable, before loading; KznError when its size differs."""
        place = self._constant(name)
        if place.size != len(value):
            raise KznError(
                f"object {self.name} has {place.size} bytes of {name}, kzn writes {len(value)}",
                hint="the object was built from another flow.h: make -C bpf",
            )
        section, old = self._rodata()
        changed = old[: place.offset] + value + old[place.offset + place.size :]
        check(
            libbpf().bpf_map__set_initial_value(section, changed, len(changed)),
            f"set {name} of {self.name}",
        )

    def reuse(self, map_name: str, fd: int) -> None:
        """Use a map that exists in the kernel instead of creating one."""
        check(libbpf().bpf_map__reuse_fd(self._map(map_name), fd), f"reuse map {map_name}")

    def load(self) -> None:
        """Relocate, create maps, load programs; KernelError contains the verifier's log."""
        with captured() as messages:
            result = libbpf().bpf_object__load(self._object)
        if result < 0:
            raise KernelError(
                f"load object {self.name}: {errno_text(-result)}\n{_tail(messages)}".rstrip(),
                errno=-result,
                hint="kzn probes shows what this kernel lacks",
            )

    def map_fd(self, name: str) -> int:
        """The descriptor of a loaded map."""
        return int(libbpf().bpf_map__fd(self._map(name)))

    def program_fd(self, name: str) -> int:
        """The descriptor of a loaded program."""
        return int(libbpf().bpf_program__fd(self._program(name)))

    def require_programs(self, names: Iterable[str]) -> None:
        """KznError for the first name without a program."""
        for name in names:
            self._program(name)

    def map_pointers(self) -> dict[str, Any]:
        """Pointers of libbpf to the maps by name; only for this room."""
        found, pointer = {}, ffi.NULL
        while pointer := libbpf().bpf_object__next_map(self._object, pointer):
            found[text(libbpf().bpf_map__name(pointer))] = pointer
        return found

    def _program(self, name: str) -> Any:
        program = libbpf().bpf_object__find_program_by_name(self._object, name.encode())
        if program == ffi.NULL:
            raise KznError(
                f"object {self.name} has no program {name}",
                hint=f"its programs are {', '.join(self.programs()) or 'none'}",
            )
        return program

    def _programs(self) -> list[Any]:
        found, program = [], ffi.NULL
        while program := libbpf().bpf_object__next_program(self._object, program):
            found.append(program)
        return found

    def _map(self, name: str) -> Any:
        found = libbpf().bpf_object__find_map_by_name(self._object, name.encode())
        if found == ffi.NULL:
            raise KznError(
                f"object {self.name} has no map {name}",
                hint="a probe's object includes account.bpf.h and shares its maps",
            )
        return found

    def _constant(self, name: str) -> Variable:
        """A variable of the constants section; its offset and size lie within the section."""
        place = self.btf().variable(RODATA, name)
        if place is None or place.offset + place.size > len(self._rodata()[1]):
            raise KznError(
                f"object {self.name} has no constant {name}",
                hint="a probe's object includes account.bpf.h and its settings",
            )
        return place

    def _rodata(self) -> tuple[Any, bytes]:
        """The map of the constants section, and its initial contents."""
        for name, pointer in self.map_pointers().items():
            if name.endswith(RODATA):
                size = ffi.new("size_t *")
                value = libbpf().bpf_map__initial_value(pointer, size)
                return pointer, b"" if value == ffi.NULL else bytes(ffi.buffer(value, size[0]))
        raise KznError(f"object {self.name} has no section {RODATA}")


def no_btf(name: str) -> KznError:
    """The error for an object without BTF."""
    return KznError(
        f"object {name} has no BTF, so its maps cannot be checked",
        hint="compile it with -g and strip it with llvm-strip -g, which keeps BTF",
    )


def program_id(fd: int) -> int:
    """The kernel's id of a program, which links and filters refer to."""
    # struct bpf_prog_info begins with type and id, as that of a map does.
    info, size = ffi.new("struct kzn_map_info *"), ffi.new("__u32 *", 8)
    check(libbpf().bpf_obj_get_info_by_fd(fd, info, size), "get the info of a program")
    return int(info.id)


def _last(messages: list[str]) -> str:
    return messages[-1] if messages else ""


def _tail(messages: list[str]) -> str:
    lines = "\n".join(messages).splitlines()
    cut = [f"... ({len(lines) - LOG_LINES} earlier lines)"] if len(lines) > LOG_LINES else []
    return "\n".join([*cut, *lines[-LOG_LINES:]])
