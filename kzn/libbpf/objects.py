"""A BPF object from its bytes to programs and maps in the kernel: open, prepare, load, close."""

from types import TracebackType
from typing import Any, Self

from kzn.errors import KernelError, KznError
from kzn.libbpf.door import check, errno_text, ffi, libbpf, text
from kzn.libbpf.messages import captured

LOG_LINES = 40


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

    def set_constants(self, value: bytes) -> None:
        """The bytes of the object's .rodata section; KznError when the size differs."""
        rodata, size = self._map_ending(".rodata"), ffi.new("size_t *")
        libbpf().bpf_map__initial_value(rodata, size)
        if size[0] != len(value):
            raise KznError(
                f"object {self.name} has {size[0]} bytes of settings, kzn writes {len(value)}",
                hint="the object was built from another flow.h: make -C bpf",
            )
        check(
            libbpf().bpf_map__set_initial_value(rodata, value, len(value)),
            f"set the settings of {self.name}",
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
        program = libbpf().bpf_object__find_program_by_name(self._object, name.encode())
        if program == ffi.NULL:
            raise KznError(
                f"object {self.name} has no program {name}",
                hint=f"its programs are {', '.join(self.programs()) or 'none'}",
            )
        return int(libbpf().bpf_program__fd(program))

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

    def _map_ending(self, ending: str) -> Any:
        found = ffi.NULL
        while found := libbpf().bpf_object__next_map(self._object, found):
            if text(libbpf().bpf_map__name(found)).endswith(ending):
                return found
        raise KznError(f"object {self.name} has no section {ending}")


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
