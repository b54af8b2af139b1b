"""A BPF object from its bytes to programs and maps in the kernel: open, prepare, load, close."""

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

    File descriptors that it hands out belong to it: what must outlive it is pinned or attached.
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
            if ffi.errno == errno.ENOENT and BTF not in image:  # maps that nothing is said of
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
        """State the type of all programs: an older libbpf does not know every section name."""
        for program in self._programs():
            libbpf().bpf_program__set_type(program, program_type)
            libbpf().bpf_program__set_expected_attach_type(program, attach_type)

    def size(self, map_name: str, key_size: int, max_entries: int) -> None:
        """The bytes of a map's keys and how many it holds, before loading."""
        found, what = self._map(map_name), f"size map {map_name}"
        check(libbpf().bpf_map__set_key_size(found, key_size), what)
        check(libbpf().bpf_map__set_max_entries(found, max_entries), what)

    def btf(self) -> Btf:
        """Its types; KznError when it has none."""
        found = libbpf().bpf_object__btf(self._object)
        if found == ffi.NULL:
            raise no_btf(self.name)
        return Btf(found, self.name)

    def constant(self, name: str) -> bytes:
        """What a ``const volatile`` variable of the object holds before it is loaded."""
        place = self._constant(name)
        return self._rodata()[1][place.offset : place.offset + place.size]

    def constant_type(self, name: str) -> int:
        """The number of its type."""
        return self._constant(name).type

    def set_constant(self, name: str, value: bytes) -> None:
        """Set such a variable, and leave the others. KznError when its size differs."""
        place = self._constant(name)
        if place.size != len(value):
            raise KznError(
                f"object {self.name} has {place.size} bytes of {name}, kzn writes {len(value)}",
                hint="the object was built from another flow.h: make -C bpf",
            )
        section, held = self._rodata()
        changed = held[: place.offset] + value + held[place.offset + place.size :]
        check(
            libbpf().bpf_map__set_initial_value(section, changed, len(changed)),
            f"set {name} of {self.name}",
        )

    def reuse(self, map_name: str, fd: int) -> None:
        """Use a map that is in the kernel already instead of making one."""
        check(libbpf().bpf_map__reuse_fd(self._map(map_name), fd), f"reuse map {map_name}")

    def load(self) -> None:
        """Relocate, create maps, load programs; KernelError with the verifier's log."""
        with captured() as messages:
            result = libbpf().bpf_object__load(self._object)
        if result < 0:
            raise KernelError(
                f"load object {self.name}: {errno_text(-result)}\n{_tail(messages)}".rstrip(),
                errno=-result,
                hint="kzn probes says what this kernel lacks",
            )

    def map_fd(self, name: str) -> int:
        """The descriptor of a loaded map."""
        return int(libbpf().bpf_map__fd(self._map(name)))

    def program_fd(self, name: str) -> int:
        """The descriptor of a loaded program."""
        return int(libbpf().bpf_program__fd(self._program(name)))

    def require_programs(self, names: Iterable[str]) -> None:
        """KznError for the first name that no program has."""
        for name in names:
            self._program(name)

    def map_pointers(self) -> dict[str, Any]:
        """What libbpf calls its maps by name, for this room."""
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
        """Where a variable lies in the section of constants, which has room for it."""
        place = self.btf().variable(RODATA, name)
        if place is None or place.offset + place.size > len(self._rodata()[1]):
            raise KznError(
                f"object {self.name} has no constant {name}",
                hint="a probe's object includes account.bpf.h and its settings",
            )
        return place

    def _rodata(self) -> tuple[Any, bytes]:
        """The map that the section of constants becomes, and what it holds before it is loaded."""
        for name, pointer in self.map_pointers().items():
            if name.endswith(RODATA):
                size = ffi.new("size_t *")
                value = libbpf().bpf_map__initial_value(pointer, size)
                return pointer, b"" if value == ffi.NULL else bytes(ffi.buffer(value, size[0]))
        raise KznError(f"object {self.name} has no section {RODATA}")


def no_btf(name: str) -> KznError:
    """What to say of an object that says nothing of its types."""
    return KznError(
        f"object {name} has no BTF, so nothing is known of its maps",
        hint="compile it with -g, and strip it with llvm-strip -g, which leaves BTF",
    )


def program_id(fd: int) -> int:
    """The kernel's number of a program, by which links and filters name it."""
    # struct bpf_prog_info begins with type and id, as that of a map does.
    info, size = ffi.new("struct kzn_map_info *"), ffi.new("__u32 *", 8)
    check(libbpf().bpf_obj_get_info_by_fd(fd, info, size), "ask for a program")
    return int(info.id)


def _last(messages: list[str]) -> str:
    return messages[-1] if messages else ""


def _tail(messages: list[str]) -> str:
    lines = "\n".join(messages).splitlines()
    cut = [f"... ({len(lines) - LOG_LINES} lines before)"] if len(lines) > LOG_LINES else []
    return "\n".join([*cut, *lines[-LOG_LINES:]])
