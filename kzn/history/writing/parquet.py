"""Writes Parquet files of columns of numbers and of texts by their numbers, without a database.

In: columns. Out: the bytes of a file that any reader of Parquet takes. Pure.
Never: a null, a nested value, or a page with more than `ROW_GROUP` values.

Texts and other values that repeat have a dictionary; the numbers into it take one or two bytes,
which zstd packs as well as it packs bits, and numpy has them without a step. The layout is that of
the Apache Parquet format, version 1 of its pages: thrift's compact protocol, pages, a footer.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cache, lru_cache
from operator import itemgetter
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from kzn.columns.arrays import I64, U16, U64
from kzn.wire.compression import Compression, available, compress

ROW_GROUP = 32_768
"""Small ones let a reader skip what does not concern a workload; a number of a text has 16 bits."""
MAX_BOUND = 200
"""Bytes of a text up to which it may be a bound of its column."""

Kind = Literal["text", "time", "port", "count"]
"""UTF-8, Unix seconds (stored as microseconds), 16 and 64 bits without sign."""

_MAGIC = b"PAR1"
_INT32, _INT64, _BYTES = 1, 2, 6
_UTF8, _MICROSECONDS, _UINT_16, _UINT_64 = 0, 10, 12, 14
_PLAIN, _RLE, _BY_DICTIONARY = 0, 3, 8
_RAW, _ZSTD = 0, 6
_TYPES: dict[Kind, tuple[int, int]] = {
    "text": (_BYTES, _UTF8),
    "time": (_INT64, _MICROSECONDS),
    "port": (_INT32, _UINT_16),
    "count": (_INT64, _UINT_64),
}


class Values:
    """Distinct texts by number, as a dictionary has them."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self.texts: list[bytes] = []
        self.entries: list[bytes] = []
        """With their lengths before them."""
        for text in texts:
            self.add(text)

    def __len__(self) -> int:
        return len(self.texts)

    def add(self, text: str) -> None:
        """The next one."""
        data = text.encode(errors="replace")
        self.texts.append(data)
        self.entries.append(len(data).to_bytes(4, "little") + data)


@dataclass(frozen=True, slots=True, eq=False)
class Texts:
    """A column of texts: ``codes`` (n,) are places in ``values``, of which some are used."""

    codes: npt.NDArray[Any]
    values: Values


Column = Texts | npt.NDArray[Any]
"""Of n values."""


def write(
    names: Mapping[str, Kind],
    groups: Iterable[tuple[int, Mapping[str, Column]]],
    metadata: Mapping[str, str],
) -> Iterator[bytes]:
    """The pieces of a file; each group has its number of rows, at most `ROW_GROUP`, and columns."""
    at, rows, described = len(_MAGIC), 0, []
    yield _MAGIC
    codec = _ZSTD if Compression.ZSTD in available() else _RAW
    for number, columns in groups:
        if not number:
            continue
        chunks = []
        begin, total = at, 0
        for name, kind in names.items():
            pages = _pages(kind, columns[name], codec)
            chunks.append(_struct([(2, _T.I64, at), (3, _T.STRUCT, _chunk(name, kind, pages, at))]))
            yield from pages.pieces
            at += pages.size
            total += pages.unpacked
        described.append(
            _struct(
                [
                    (1, _T.LIST, _list(_T.STRUCT, chunks)),
                    (2, _T.I64, total),
                    (3, _T.I64, number),
                    (5, _T.I64, begin),
                    (6, _T.I64, at - begin),
                ]
            )
        )
        rows += number
    footer = _footer(names, rows, described, metadata)
    yield footer
    yield len(footer).to_bytes(4, "little")
    yield _MAGIC


# Pages.


@dataclass(frozen=True, slots=True)
class _Pages:
    """The pages of a column chunk, the dictionary first if there is one."""

    pieces: list[bytes]
    size: int
    unpacked: int
    values: int
    dictionary: int
    """Bytes of the dictionary's page with its header, 0 without one."""
    bounds: tuple[bytes, bytes] | None
    codec: int


def _pages(kind: Kind, column: Column, codec: int) -> _Pages:
    if isinstance(column, Texts):
        used, codes = _used(column.codes, len(column.values))
        if len(used) == 1:
            return _constant(column.values.texts[used[0]], len(codes))
        select = itemgetter(*used.tolist())
        texts, entries = select(column.values.texts), select(column.values.entries)
        low, high = min(texts), max(texts)
        bounds = (low, high) if max(len(low), len(high)) <= MAX_BOUND else None
        return _with_dictionary(b"".join(entries), len(used), codes, bounds, codec)
    if kind == "time":
        found, codes = _distinct(column)
        micros = (found * 1_000_000).astype("<i8")
        return _with_dictionary(
            micros.tobytes(),
            len(found),
            codes,
            (micros[0].tobytes(), micros[-1].tobytes()),
            codec,
        )
    if kind == "port":
        found, codes = _used(column, 1 << 16)
        return _with_dictionary(found.astype("<i4").tobytes(), len(found), codes, None, codec)
    return _plain(np.ascontiguousarray(column, "<u8"), codec)


@lru_cache(1024)
def _constant(text: bytes, rows: int) -> _Pages:
    """A text that all rows have; as it is, because packed it is not smaller."""
    entry = len(text).to_bytes(4, "little") + text
    bounds = (text, text) if len(text) <= MAX_BOUND else None
    return _with_dictionary(entry, 1, np.zeros(rows, np.uint16), bounds, _RAW)


def _with_dictionary(
    entries: bytes, number: int, codes: U16, bounds: tuple[bytes, bytes] | None, codec: int
) -> _Pages:
    dictionary = _page(2, _dictionary_head(number), entries, codec)
    size = len(codes)
    if number == 1:  # one run
        data = b"\x08" + _varint(size << 1) + b"\x00"
    else:
        width = 1 if number <= 1 << 8 else 2
        packed = codes.astype(np.uint8 if width == 1 else "<u2").tobytes()
        groups = -(-size // 8)
        fill = bytes((groups * 8 - size) * width)
        data = bytes([8 * width]) + _varint(groups << 1 | 1) + packed + fill
    page = _data_page(size, _BY_DICTIONARY, data, codec)
    pieces = [*dictionary, *page]
    first = sum(map(len, dictionary))
    return _Pages(
        pieces,
        first + sum(map(len, page)),
        len(dictionary[0]) + len(page[0]) + len(entries) + len(data),
        size,
        first,
        bounds,
        codec,
    )


def _plain(values: U64, codec: int) -> _Pages:
    data = values.tobytes()
    page = _data_page(len(values), _PLAIN, data, codec)
    size = sum(map(len, page))
    return _Pages(list(page), size, len(page[0]) + len(data), len(values), 0, None, codec)


def _data_page(values: int, encoding: int, data: bytes, codec: int) -> tuple[bytes, bytes]:
    return _page(0, _data_head(values, encoding), data, codec)


@lru_cache(1024)
def _data_head(values: int, encoding: int) -> "_Field":
    fields = [(1, values), (2, encoding), (3, _RLE), (4, _RLE)]
    return 5, _T.STRUCT, _struct([(number, _T.I32, value) for number, value in fields])


@lru_cache(1024)
def _dictionary_head(values: int) -> "_Field":
    return 7, _T.STRUCT, _struct([(1, _T.I32, values), (2, _T.I32, _PLAIN)])


def _page(kind: int, head: "_Field", data: bytes, codec: int) -> tuple[bytes, bytes]:
    packed = compress((data,), Compression.ZSTD) if codec == _ZSTD else data
    sizes: list[_Field] = [(1, _T.I32, kind), (2, _T.I32, len(data)), (3, _T.I32, len(packed))]
    return _struct([*sizes, head]), packed


def _used(codes: npt.NDArray[Any], size: int) -> tuple[I64, U16]:
    """The codes below ``size`` that occur, ascending, and for each row its place among them."""
    if size > 1 << 12 and size > 8 * len(codes):
        return _distinct(codes)
    if (codes == codes[0]).all():
        return codes[:1].astype(np.int64), np.zeros(len(codes), np.uint16)
    is_used = np.zeros(size, np.bool_)
    is_used[codes] = True
    found = np.flatnonzero(is_used)
    place = np.zeros(size, np.uint16)
    place[found] = np.arange(len(found), dtype=np.uint16)
    return found, place.take(codes)


def _distinct(values: npt.NDArray[Any]) -> tuple[I64, U16]:
    if (values == values[0]).all():
        return values[:1].astype(np.int64), np.zeros(len(values), np.uint16)
    found, places = np.unique(values, return_inverse=True)
    return found.astype(np.int64), places.astype(np.uint16)


# Metadata.


def _chunk(name: str, kind: Kind, pages: _Pages, at: int) -> bytes:
    fields: list[_Field] = [
        *_column(name, kind, has_dictionary=bool(pages.dictionary)),
        (4, _T.I32, pages.codec),
        (5, _T.I64, pages.values),
        (6, _T.I64, pages.unpacked),
        (7, _T.I64, pages.size),
        (9, _T.I64, at + pages.dictionary),
    ]
    if pages.dictionary:
        fields.append((11, _T.I64, at))
    statistics: list[_Field] = [(3, _T.I64, 0)]
    if pages.bounds is not None:
        low, high = map(_binary, pages.bounds)
        statistics += [(5, _T.BINARY, high), (6, _T.BINARY, low)]
    fields.append((12, _T.STRUCT, _struct(statistics)))
    return _struct(fields)


@cache
def _column(name: str, kind: Kind, *, has_dictionary: bool) -> Sequence["_Field"]:
    encodings = [_PLAIN, _RLE, *([_BY_DICTIONARY] if has_dictionary else [])]
    return (
        (1, _T.I32, _TYPES[kind][0]),
        (2, _T.LIST, _list(_T.I32, [_varint(one << 1) for one in encodings])),
        (3, _T.LIST, _list(_T.BINARY, [_binary(name.encode())])),
    )


def _footer(
    names: Mapping[str, Kind], rows: int, groups: list[bytes], metadata: Mapping[str, str]
) -> bytes:
    pairs = [
        _struct([(1, _T.BINARY, _binary(key.encode())), (2, _T.BINARY, _binary(value.encode()))])
        for key, value in metadata.items()
    ]
    orders = [_struct([(1, _T.STRUCT, _struct([]))])] * len(names)
    return _struct(
        [
            (1, _T.I32, 1),
            (2, _T.LIST, _schema(tuple(names.items()))),
            (3, _T.I64, rows),
            (4, _T.LIST, _list(_T.STRUCT, groups)),
            (5, _T.LIST, _list(_T.STRUCT, pairs)),
            (6, _T.BINARY, _binary(b"kzn")),
            (7, _T.LIST, _list(_T.STRUCT, orders)),
        ]
    )


@cache
def _schema(names: Sequence[tuple[str, Kind]]) -> bytes:
    schema = [_struct([(4, _T.BINARY, _binary(b"kzn")), (5, _T.I32, len(names))])]
    for name, kind in names:
        physical, converted = _TYPES[kind]
        fields: list[_Field] = [
            (1, _T.I32, physical),
            (3, _T.I32, 0),  # required
            (4, _T.BINARY, _binary(name.encode())),
            (6, _T.I32, converted),
        ]
        if kind == "time":  # a wall clock of no zone, which is UTC
            unit = _struct([(2, _T.STRUCT, _struct([]))])
            stamp = _struct([(1, _T.FALSE, b""), (2, _T.STRUCT, unit)])
            fields.append((10, _T.STRUCT, _struct([(8, _T.STRUCT, stamp)])))
        schema.append(_struct(fields))
    return _list(_T.STRUCT, schema)


# Thrift's compact protocol.


class _T(IntEnum):
    """Types of fields and elements; those of the lists, structs and texts are encoded already."""

    FALSE = 2
    I32 = 5
    I64 = 6
    BINARY = 8
    LIST = 9
    STRUCT = 12


_Field = tuple[int, _T, int | bytes]


def _struct(fields: Iterable[_Field]) -> bytes:
    made, before = bytearray(), 0
    for number, kind, value in fields:
        made.append((number - before) << 4 | kind)
        made += value if isinstance(value, bytes) else _varint(value << 1)  # zigzag, never negative
        before = number
    made.append(0)
    return bytes(made)


def _list(kind: _T, elements: Sequence[bytes]) -> bytes:
    size = len(elements)
    head = bytes([size << 4 | kind]) if size < 15 else bytes([0xF0 | kind]) + _varint(size)
    return head + b"".join(elements)


def _binary(data: bytes) -> bytes:
    return _varint(len(data)) + data


def _varint(number: int) -> bytes:
    if number < 0x80:
        return bytes((number,))
    made = bytearray()
    while number >= 0x80:
        made.append(number & 0x7F | 0x80)
        number >>= 7
    made.append(number)
    return bytes(made)
