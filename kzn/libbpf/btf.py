"""Reads types from an object's BTF: a struct as a flat list of its fields.

The format is Documentation/bpf/btf.rst of the kernel. libbpf has checked that every type lies
within the section, and returns NULL for unknown types and names. It has not checked for cycles, so
every walk is bounded here.
"""

from typing import Any, NamedTuple

from kzn.errors import KznError
from kzn.libbpf.library import ffi, libbpf

INT, POINTER, ARRAY, STRUCT, UNION, ENUM = 1, 2, 3, 4, 5, 6
TYPEDEF, VOLATILE, CONST, RESTRICT, VARIABLE, SECTION, TYPE_TAG = 8, 9, 10, 11, 14, 15, 18
MODIFIERS = (TYPEDEF, VOLATILE, CONST, RESTRICT, TYPE_TAG)
SIGNED = 1

MAX_STEPS = 512
"""Limit for the fields and structs of one type, and for the rows of one list."""
MAX_NAMES = 16
"""Limit for nested typedefs, and for nested arrays."""
MAX_NAME = 128


class Field(NamedTuple):
    """One field of a struct: its path, the bit where it begins, and its kind, such as u32."""

    path: str
    bit: int
    kind: str


class Variable(NamedTuple):
    """A variable: the number of its type, its offset in the section and its size in bytes."""

    type: int
    offset: int
    size: int


class Btf:
    """The types of an open object; KznError for invalid ones."""

    def __init__(self, pointer: Any, name: str) -> None:
        self._btf = pointer
        self._name = name

    def fields(self, number: int) -> tuple[Field, ...]:
        """The fields of a type, with those of nested structs; an array is one field."""
        found: list[Field] = []
        waiting = [(number, Field("", 0, ""))]
        for _ in range(MAX_STEPS):
            if not waiting:
                return tuple(found)
            number, at = waiting.pop()
            plain, path = self._element(number, at.path)
            if _kind(plain) in (STRUCT, UNION):
                waiting += reversed(self._members(plain, path, at.bit))
            else:
                found.append(Field(path, at.bit, self._scalar(plain) + at.kind))
        raise self._invalid(f"a type has more than {MAX_STEPS} fields")

    def variable(self, section: str, name: str) -> Variable | None:
        """A variable of a data section by name; None when it does not exist."""
        number = self._find(section, SECTION)
        if number is None:
            return None
        for row in self._rows(self._type(number), "struct btf_var_secinfo *"):
            variable = self._type(row.type)
            if self._text(variable) == name:
                return Variable(variable.size, row.offset, row.size)
        return None

    def constants(self, name: str) -> dict[str, int]:
        """The names and values of an enum; empty when it does not exist."""
        number = self._find(name, ENUM)
        if number is None:
            return {}
        rows = self._rows(self._type(number), "struct btf_enum *")
        return {self._text(row): row.val for row in rows}

    def _element(self, number: int, path: str) -> tuple[Any, str]:
        """The element type of an array, and the path with its size; any other type unchanged."""
        plain = self._plain(number)
        for _ in range(MAX_NAMES):
            if _kind(plain) != ARRAY:
                return plain, path
            array = ffi.cast("struct btf_array *", plain + 1)
            path, plain = f"{path}[{array.nelems}]", self._plain(array.type)
        raise self._invalid(f"more than {MAX_NAMES} nested arrays")

    def _members(self, struct: Any, path: str, bit: int) -> list[tuple[int, Field]]:
        has_bit_fields = struct.info >> 31  # then the offset contains their size
        members = []
        for row in self._rows(struct, "struct btf_member *"):
            offset, width = row.offset, 0
            if has_bit_fields:
                offset, width = row.offset & 0xFFFFFF, row.offset >> 24
            name = ".".join(filter(None, [path, self._text(row)]))
            members.append((row.type, Field(name, bit + offset, f":{width}" if width else "")))
        return members

    def _scalar(self, found: Any) -> str:
        kind = _kind(found)
        if kind == INT:
            about = ffi.cast("__u32 *", found + 1)[0]
            sign = "s" if about >> 24 & SIGNED else "u"
            return f"{sign}{about & 0xFF}"
        if kind == ENUM:
            return f"enum{found.size * 8}"
        if kind == POINTER:
            return "pointer"
        raise self._invalid(f"a field is of kind {kind}")

    def _plain(self, number: int) -> Any:
        for _ in range(MAX_NAMES):
            found = self._type(number)
            if _kind(found) not in MODIFIERS:
                return found
            number = found.size
        raise self._invalid(f"more than {MAX_NAMES} nested typedefs")

    def _rows(self, found: Any, kind: str) -> list[Any]:
        rows, number = ffi.cast(kind, found + 1), found.info & 0xFFFF
        if number > MAX_STEPS:
            raise self._invalid(f"a type has more than {MAX_STEPS} rows")
        return [rows[place] for place in range(number)]

    def _find(self, name: str, kind: int) -> int | None:
        number = int(libbpf().btf__find_by_name_kind(self._btf, name.encode(), kind))
        return number if number > 0 else None

    def _type(self, number: int) -> Any:
        found = libbpf().btf__type_by_id(self._btf, number)
        if found == ffi.NULL or not number:
            raise self._invalid(f"type {number} does not exist")
        return found

    def _text(self, named: Any) -> str:
        name = libbpf().btf__name_by_offset(self._btf, named.name_off)
        return "" if name == ffi.NULL else ffi.string(name, MAX_NAME).decode(errors="replace")

    def _invalid(self, why: str) -> KznError:
        return KznError(
            f"the BTF of object {self._name} is invalid: {why}", hint="build the object again"
        )


def _kind(found: Any) -> int:
    return int(found.info >> 24 & 0x1F)
