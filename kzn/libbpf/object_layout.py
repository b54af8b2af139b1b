"""The programs, maps and constants of an object file, read before it is loaded.

Objects of third parties are read in a child process, which limits its memory and CPU time: libbpf
1.1 does not validate BTF and reads out of bounds if it is damaged (1 in 100 changed bytes, tried).
"""

import resource
from base64 import b64decode, b64encode
from dataclasses import asdict, dataclass
from typing import Any, Self

from kzn.child import ChildError, run_child, serve_request
from kzn.errors import KznError
from kzn.libbpf.btf import Field
from kzn.libbpf.library import ffi, libbpf, version
from kzn.libbpf.objects import BpfObject

MAX_IMAGE = 8 << 20
MEMORY = 1 << 30
"""Limit of the child's address space; Python, libbpf and the object need a tenth."""
SECONDS = 20

DAMAGED = "the file is damaged: install the probe's package again, or build it again"


@dataclass(frozen=True, slots=True)
class MapLayout:
    """A map as the object declares it; ``inner`` is what a map of maps holds."""

    kind: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int
    key: tuple[Field, ...]
    value: tuple[Field, ...]
    inner: "MapLayout | None"

    @classmethod
    def of(cls, found: dict[str, Any]) -> Self:
        """The inverse of `dataclasses.asdict`."""
        fields = {name: tuple(Field(*row) for row in found[name]) for name in ("key", "value")}
        inner = found["inner"] and cls.of(found["inner"])
        return cls(**found | fields | {"inner": inner})


@dataclass(frozen=True, slots=True)
class ObjectLayout:
    """The programs and maps of an object, one of its constants and one of its enums."""

    programs: tuple[str, ...]
    maps: dict[str, MapLayout]
    constant: tuple[Field, ...]
    initial: str
    """The constant's initial value in hexadecimal digits."""
    enum: dict[str, int]

    @classmethod
    def of(cls, found: dict[str, Any]) -> Self:
        """The inverse of `dataclasses.asdict`."""
        maps = {name: MapLayout.of(layout) for name, layout in found["maps"].items()}
        constant = tuple(Field(*row) for row in found["constant"])
        programs = tuple(found["programs"])
        return cls(**found | {"maps": maps, "constant": constant, "programs": programs})


def layout_of(opened: BpfObject, constant: str, enum: str) -> ObjectLayout:
    """The layout of an open object, with maps that kzn does not know, without data sections.

    KznError for invalid BTF.
    """
    btf = opened.btf()
    maps = {n: p for n, p in opened.map_pointers().items() if "." not in n}
    return ObjectLayout(
        programs=tuple(opened.programs()),
        maps={name: _map_layout(opened, pointer) for name, pointer in maps.items()},
        constant=btf.fields(opened.constant_type(constant)),
        initial=opened.constant(constant).hex(),
        enum=btf.constants(enum),
    )


def read_layout(image: bytes, name: str, constant: str, enum: str) -> ObjectLayout:
    """The layout of an untrusted object, read in a child process; KznError if it is not one."""
    if len(image) > MAX_IMAGE:
        raise KznError(
            f"object {name} has {len(image)} bytes, more than {MAX_IMAGE}",
            hint="check that it is a BPF object, and strip it with llvm-strip -g",
        )
    request = {"name": name, "constant": constant, "enum": enum}
    request["image"] = b64encode(image).decode()
    try:
        answer = run_child(__name__, request, seconds=SECONDS)
    except ChildError as error:
        by_libbpf = f"libbpf {version()} " if error.killed_by else ""
        raise KznError(
            f"open object {name}: it cannot be read: {by_libbpf}{error}", hint=DAMAGED
        ) from error
    if "error" in answer:
        raise KznError(answer["error"], hint=answer["hint"])
    return ObjectLayout.of(answer)


def _map_layout(opened: BpfObject, pointer: Any) -> MapLayout:
    ask = libbpf()
    inner = ask.bpf_map__inner_map(pointer)
    return MapLayout(
        kind=int(ask.bpf_map__type(pointer)),
        key_size=int(ask.bpf_map__key_size(pointer)),
        value_size=int(ask.bpf_map__value_size(pointer)),
        max_entries=int(ask.bpf_map__max_entries(pointer)),
        flags=int(ask.bpf_map__map_flags(pointer)),
        key=_fields(opened, ask.bpf_map__btf_key_type_id(pointer)),
        value=_fields(opened, ask.bpf_map__btf_value_type_id(pointer)),
        inner=None if inner == ffi.NULL else _map_layout(opened, inner),
    )


def _fields(opened: BpfObject, number: int) -> tuple[Field, ...]:
    """Empty for a map that declares only sizes."""
    return opened.btf().fields(number) if number else ()


def _child_main(request: dict[str, str]) -> dict[str, Any]:
    """The layout, or why the object has none."""
    try:
        with BpfObject(b64decode(request["image"]), request["name"]) as opened:
            return asdict(layout_of(opened, request["constant"], request["enum"]))
    except KznError as error:
        return {"error": error.message, "hint": error.hint}


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    serve_request(_child_main)
