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
        packed, position, left = self.gzip or b"", 0, b""
        while not stream.eof:
            if not left:  # not all at once: the tail is a copy of what is left
                left = packed[position : position + PIECE]
                position += PIECE
            piece = stream.decompress(left, PIECE)
            left = stream.unconsumed_tail
            if piece:
                yield piece


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


class BodyMaker:
    """Makes a body of its pieces; to be called in threads if it may be large, in one at a time.

    ``tagged``: with an entity tag. A body that is compressed by zstd is for clients that want that:
    its plain form is not kept.
    """

    def __init__(self, *, tagged: bool = False, coding: str = "gzip") -> None:
        self._make_zstd = zstd_maker() if coding == "zstd" else None
        self._digest = hashlib.blake2b(digest_size=12) if tagged else None
        self._plain: list[bytes] | None = []
        self._compressed: list[bytes] = []
        self._compressor: Any = None
        self._size = 0

    def add(self, pieces: Iterable[bytes]) -> None:
        """Add pieces."""
        for piece in pieces:
            self._add(piece)

    def body(self) -> Body:
        """The body, once all pieces were added."""
        if self._compressor is not None:
            self._compressed.append(self._compressor.flush())
        packed = b"".join(self._compressed) if self._compressor is not None else None
        is_zstd = self._make_zstd is not None
        return Body(
            self._size,
            b"".join(self._plain) if self._plain is not None else None,
            None if is_zstd else packed,
            f'W/"{self._digest.hexdigest()}"' if self._digest is not None else "",
            packed if is_zstd else None,
        )

    def _add(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._digest is not None:
            self._digest.update(piece)
        if self._plain is not None:
            self._plain.append(piece)
        if self._compressor is not None:
            self._compressed.append(self._compressor.compress(piece))
        elif self._size >= COMPRESSED_FROM and self._plain is not None:
            self._compressor = (
                self._make_zstd(_LEVEL)
                if self._make_zstd is not None
                else make_compressor(_LEVEL, zlib.DEFLATED, _GZIP)
            )
            self._compressed += [self._compressor.compress(part) for part in self._plain]
        if self._size > PLAIN_UP_TO:
            self._plain = None


def body_of(pieces: Iterable[bytes], *, tagged: bool = False, coding: str = "gzip") -> Body:
    """The body of all ``pieces``, as `BodyMaker` makes it."""
    maker = BodyMaker(tagged=tagged, coding=coding)
    maker.add(pieces)
    return maker.body()
