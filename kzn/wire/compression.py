"""Compression of the streams in a batch: zlib, which every peer has, or zstd if a server offers it.

In: pieces, or a stream of a peer and the length that it declares. Out: a stream, or bytes of just
that length, or WireError with a reason. Never: memory beyond the declared length and a window.

zstd packs a batch in a sixth of zlib's time on the node, and unpacks it in a third on the server.
It is in Python from 3.14 on, before that in the package zstandard; without it an agent uses zlib.
The server's fast zlib is imported at its first use: agents, which decompress nothing, lack it.
"""

import zlib
from collections.abc import Callable, Iterable
from enum import IntEnum
from functools import cache
from typing import Any, NamedTuple

from kzn.errors import WireError

LEVEL = 1
_WINDOW_LOG = 23
"""The largest window of a stream, 8 MiB; that of level 1 is 512 KiB."""


class Compression(IntEnum):
    """`FlowBatch.compression` of kzn.proto; a Welcome has bit N for number N, never for zlib."""

    ZLIB = 0
    ZSTD = 1


class _Zstd(NamedTuple):
    compress: Callable[[bytes], bytes]
    decompress: Callable[[bytes, int], tuple[bytes, bool]]
    """At most so many bytes and one more, and whether the stream ends with them and the data."""
    error: type[Exception]


@cache
def _zstd() -> _Zstd | None:
    try:
        return _of_package()
    except ImportError:
        pass
    try:
        return _of_python()
    except ImportError:
        return None


def _of_package() -> _Zstd:
    import zstandard  # noqa: PLC0415 - an agent whose server does not offer zstd never needs it

    packer = zstandard.ZstdCompressor(level=LEVEL, write_content_size=True)
    unpacker = zstandard.ZstdDecompressor(max_window_size=1 << _WINDOW_LOG)

    def decompress(data: bytes, most: int) -> tuple[bytes, bool]:
        # It allocates the size that the frame tells, not only what the caller's limit allows.
        if zstandard.frame_content_size(data) != most:
            return b"", False
        return unpacker.decompress(data, max_output_size=most, allow_extra_data=False), True

    return _Zstd(packer.compress, decompress, zstandard.ZstdError)


def _of_python() -> _Zstd:
    from compression import zstd  # type: ignore[import-not-found]  # noqa: PLC0415 - as above

    options: Any = {zstd.DecompressionParameter.window_log_max: _WINDOW_LOG}

    def decompress(data: bytes, most: int) -> tuple[bytes, bool]:
        stream = zstd.ZstdDecompressor(options=options)
        found = stream.decompress(data, max_length=most + 1)
        return found, stream.eof and not stream.unused_data

    return _Zstd(lambda data: zstd.compress(data, LEVEL), decompress, zstd.ZstdError)


def available() -> tuple[Compression, ...]:
    """What this process can compress and decompress, the best last."""
    return tuple(Compression) if _zstd() is not None else (Compression.ZLIB,)


def best_of(offered: int) -> Compression:
    """The best of those in the bits ``offered`` by a server, 0 by an older one."""
    if not offered:
        return Compression.ZLIB
    return [one for one in available() if one is Compression.ZLIB or offered >> one & 1][-1]


def offer() -> int:
    """The bits that a server offers."""
    return sum(1 << one for one in available() if one is not Compression.ZLIB)


def compress(pieces: Iterable[bytes], compression: Compression) -> bytes:
    """A stream of ``pieces``; ``compression`` is one of `available`."""
    zstd = _zstd()
    if compression is Compression.ZSTD and zstd is not None:
        return zstd.compress(b"".join(pieces))
    deflate = zlib.compressobj(LEVEL)
    return b"".join([*map(deflate.compress, pieces), deflate.flush()])


def decompress(data: bytes, length: int, compression: int) -> bytes:
    """The ``length`` bytes of a stream; WireError if it has another length or is not valid."""
    if compression == Compression.ZLIB:
        return _inflate(data, length)
    zstd = _zstd()
    if compression != Compression.ZSTD or zstd is None:
        raise WireError(f"unknown compression {compression}", reason="compression")
    try:
        found, is_whole = zstd.decompress(data, length)
    except zstd.error as error:
        raise WireError(f"decompress columns: {error}", reason="inflate") from error
    return _checked(found, length, is_whole=is_whole)


def _inflate(data: bytes, length: int) -> bytes:
    from zlib_ng import zlib_ng  # noqa: PLC0415 - of the server alone

    stream = zlib_ng.decompressobj()
    try:
        # One byte more than declared detects data that is longer.
        inflated = stream.decompress(data, length + 1)
    except zlib_ng.error as error:  # type: ignore[misc]  # its stub says that this is a value
        raise WireError(f"decompress columns: {error}", reason="inflate") from error
    found = _checked(inflated, length, is_whole=stream.eof)
    if stream.unused_data:
        raise WireError(f"{len(stream.unused_data)} bytes after the columns", reason="trailing")
    return found


def _checked(found: bytes, length: int, *, is_whole: bool) -> bytes:
    if len(found) != length or not is_whole:
        raise WireError(
            f"the columns do not decompress to the declared {length} bytes",
            reason="inflated_length",
        )
    return found
