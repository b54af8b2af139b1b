"""A rendered body: compressed once, and sent to each client as it asks.

In: pieces of plain bytes. Out: the body in pieces, compressed or plain. Never: a large body held
uncompressed: 57 MB of metrics are 3 MB here, and a client that wants them plain gets them
decompressed piece by piece, as it reads.
"""

import hashlib
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

make_compressor: Callable[..., Any]
make_decompressor: Callable[..., Any]
try:  # three times as fast, and required by the server alone
    from zlib_ng import zlib_ng
except ImportError:
    make_compressor, make_decompressor = zlib.compressobj, zlib.decompressobj
else:
    make_compressor, make_decompressor = zlib_ng.compressobj, zlib_ng.decompressobj

COMPRESSED_FROM = 4096
"""Bytes from which on a body is compressed; less fits into a few packets anyway."""
PLAIN_UP_TO = 1 << 20
"""Bytes up to which the plain form is kept beside the compressed one."""
PIECE = 1 << 16
"""Bytes handed to a connection at a time."""
_GZIP = 31
_LEVEL = 1


@dataclass(frozen=True, slots=True, eq=False)
class Body:
    """``size`` plain bytes: ``plain``, ``gzip`` or ``zstd``, or the first and another.

    ``tag`` is an entity tag, or empty.
    """

    size: int
    plain: bytes | None
    gzip: bytes | None
    tag: str = ""
    zstd: bytes | None = None

    @property
    def stored(self) -> int:
        """Bytes of memory."""
        return sum(len(form or b"") for form in (self.plain, self.gzip, self.zstd))

    def form(self, coding: str) -> bytes | None:
        """The whole body in a coding, None if it is not there."""
        return {"": self.plain, "gzip": self.gzip, "zstd": self.zstd}[coding]

    def pieces(self, coding: str = "") -> Iterator[bytes]:
        """The body, compressed (only in a form that is there) or plain."""
        whole = self.form(coding)
        if whole is not None:
            for first in range(0, len(whole), PIECE):
                yield whole[first : first + PIECE]
            return
        stream = make_decompressor(wbits=_GZIP)
        left = self.gzip or b""
        while not stream.eof:
            yield stream.decompress(left, PIECE)
            left = stream.unconsumed_tail


@cache
def zstd_maker() -> Callable[[int], Any] | None:
    """What makes a compressor of a level; None where none is installed.

    Looked up once a client wants it: an agent, which no such client asks, does not load it.
    """
    with suppress(ImportError):  # Python 3.14
        from compression import zstd  # type: ignore[import-not-found]  # noqa: PLC0415

        return cast(Callable[[int], Any], zstd.ZstdCompressor)
    with suppress(ImportError):  # required by the server alone
        import zstandard  # noqa: PLC0415

        return lambda level: zstandard.ZstdCompressor(level=level).compressobj()
    return None


def body_of(pieces: Iterable[bytes], *, tagged: bool = False, coding: str = "gzip") -> Body:
    """A body; to be called in a thread if it may be large. ``tagged``: with an entity tag.

    A body that is compressed by zstd is for clients that want that: its plain form is not kept.
    """
    make_zstd = zstd_maker() if coding == "zstd" else None
    plain: list[bytes] | None = []
    compressed: list[bytes] = []
    compressor = None
    digest = hashlib.blake2b(digest_size=12)
    size = 0
    for piece in pieces:
        size += len(piece)
        if tagged:
            digest.update(piece)
        if plain is not None:
            plain.append(piece)
        if compressor is not None:
            compressed.append(compressor.compress(piece))
        elif size >= COMPRESSED_FROM and plain is not None:
            compressor = (
                make_zstd(_LEVEL)
                if make_zstd is not None
                else make_compressor(_LEVEL, zlib.DEFLATED, _GZIP)
            )
            compressed += [compressor.compress(part) for part in plain]
        if size > PLAIN_UP_TO:
            plain = None
    if compressor is not None:
        compressed.append(compressor.flush())
    packed = b"".join(compressed) if compressor is not None else None
    return Body(
        size,
        b"".join(plain) if plain is not None else None,
        None if make_zstd is not None else packed,
        f'W/"{digest.hexdigest()}"' if tagged else "",
        packed if make_zstd is not None else None,
    )
