"""A rendered body: compressed once, and sent to each client as it asks.

In: pieces of plain bytes. Out: the body in pieces, compressed or plain. Never: a large body held
uncompressed: 57 MB of metrics are 3 MB here, and a client that wants them plain gets them
decompressed piece by piece, as it reads.
"""

import hashlib
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

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
    """``size`` plain bytes: ``plain``, or ``gzip``, or both. ``tag`` is an entity tag, or empty."""

    size: int
    plain: bytes | None
    gzip: bytes | None
    tag: str = ""

    @property
    def stored(self) -> int:
        """Bytes of memory."""
        return len(self.plain or b"") + len(self.gzip or b"")

    def pieces(self, *, gzip: bool) -> Iterator[bytes]:
        """The body, compressed (only if `gzip` is there) or plain."""
        whole = self.gzip if gzip else self.plain
        if whole is not None:
            for first in range(0, len(whole), PIECE):
                yield whole[first : first + PIECE]
            return
        stream = make_decompressor(wbits=_GZIP)
        left = self.gzip or b""
        while not stream.eof:
            yield stream.decompress(left, PIECE)
            left = stream.unconsumed_tail


def body_of(pieces: Iterable[bytes], *, tagged: bool = False) -> Body:
    """A body; to be called in a thread if it may be large. ``tagged``: with an entity tag."""
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
            compressor = make_compressor(_LEVEL, zlib.DEFLATED, _GZIP)
            compressed += [compressor.compress(part) for part in plain]
        if size > PLAIN_UP_TO:
            plain = None
    if compressor is not None:
        compressed.append(compressor.flush())
    return Body(
        size,
        b"".join(plain) if plain is not None else None,
        b"".join(compressed) if compressor is not None else None,
        f'W/"{digest.hexdigest()}"' if tagged else "",
    )
