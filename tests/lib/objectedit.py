"""Makes invalid BPF objects: changes single numbers and names of an object file in place.

It has its own parser of ELF (elf(5)) and BTF (Documentation/bpf/btf.rst), independent of the one
under test.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

STRUCT, ENUM = 4, 6
BEHIND = {1: 4, 3: 12, 14: 4, 17: 4}
"""Bytes after a type's header, by kind, if the length is fixed."""
ROW = {4: 12, 5: 12, 6: 8, 13: 8, 15: 12, 19: 12}
"""Bytes of each row after a type's header, by kind, if it has rows."""


class Type(NamedTuple):
    """One type: its offset in the file, its name, and the number of rows that follow."""

    at: int
    name: str
    kind: int
    rows: int


class Image:
    """The bytes of an object file, with offsets of its types and members by name."""

    def __init__(self, image: bytes) -> None:
        self.bytes = bytearray(image)
        self.sections = dict(self._sections())
        self._btf = self.sections[".BTF"]
        _, _, _, self._head, _, types, self._strings, _ = self._read("<HBBIIIII", self._btf)
        self._first, self._end = self._btf + self._head, self._btf + self._head + types

    def put(self, at: int, number: int) -> bytes:
        """The object with the 32-bit number at an offset replaced."""
        changed = bytearray(self.bytes)
        struct.pack_into("<I", changed, at, number)
        return bytes(changed)

    def renamed(self, old: str, new: str) -> bytes:
        """The object with every occurrence of a whole name replaced by one of equal length."""
        assert len(old) == len(new)
        before, after = (b"\0" + name.encode() + b"\0" for name in (old, new))
        assert before in self.bytes, old
        return bytes(self.bytes).replace(before, after)

    def without_btf(self) -> bytes:
        """The object without a section .BTF, as compiled without BTF."""
        return bytes(self.bytes).replace(b".BTF", b".XTF")

    def row(self, kind: int, type_name: str, row_name: str) -> int:
        """The offset of a struct member or enum value: its name, then two numbers."""
        [found] = [t for t in self.types() if (t.kind, t.name) == (kind, type_name)]
        for number in range(found.rows):
            at = found.at + 12 + number * ROW[kind]
            if self._text(self._read("<I", at)[0]) == row_name:
                return at
        raise AssertionError(f"{type_name} has no {row_name}")

    def type_at(self, name: str) -> int:
        """The offset of the header of a struct: its name, its kind and its size."""
        [at] = [t.at for t in self.types() if (t.kind, t.name) == (STRUCT, name)]
        return at

    def number(self, at: int) -> int:
        """The 32-bit number at an offset."""
        return int(self._read("<I", at)[0])

    def types(self) -> Iterator[Type]:
        """All types in order."""
        at = self._first
        while at < self._end:
            name, about, _ = self._read("<III", at)
            kind, rows = about >> 24 & 0x1F, about & 0xFFFF
            yield Type(at, self._text(name), kind, rows)
            per_row = ROW.get(kind, 0)
            at += 12 + (rows * per_row if per_row else BEHIND.get(kind, 0))

    def _sections(self) -> Iterator[tuple[str, int]]:
        (table,) = self._read("<Q", 0x28)
        size, number, names = self._read("<HHH", 0x3A)
        (strings,) = self._read("<Q", table + names * size + 0x18)
        for row in range(number):
            name, _, _, _, offset = self._read("<IIQQQ", table + row * size)
            end = self.bytes.index(b"\0", strings + name)
            yield self.bytes[strings + name : end].decode(), offset

    def _text(self, offset: int) -> str:
        begin = self._btf + self._head + self._strings + offset
        return self.bytes[begin : self.bytes.index(b"\0", begin)].decode()

    def _read(self, form: str, at: int) -> tuple[int, ...]:
        return struct.unpack_from(form, self.bytes, at)
