"""Frames: a 4-byte big-endian length, then one message. Pure.

In: bytes in pieces of any size, as a socket returns them.
Out: whole messages in order, none longer than the limit.
Never: waits, or buffers more than one frame at the limit and one piece.
"""

from collections.abc import Iterator

from kzn.errors import WireError

HEADER = 4

_HTTP = frozenset(
    word[:HEADER]
    for word in (b"GET /", b"HEAD /", b"POST /", b"PUT /", b"DELETE", b"OPTIONS", b"PATCH",
                 b"CONNECT", b"TRACE", b"PRI * HTTP/2.0", b"HTTP/1.1")
)  # fmt: skip
"""The first bytes of HTTP requests (RFC 9110, 9.3; RFC 9113, 3.4) and answers."""
_TLS = (b"\x16\x03", b"\x15\x03")
"""The first bytes of a TLS handshake and alert, of any version since SSL 3 (RFC 8446, 5.1)."""


def frame(message: bytes) -> bytes:
    """The frame that carries ``message``, which must not be empty."""
    if not message:
        raise ValueError("a frame has at least one byte")
    return len(message).to_bytes(HEADER, "big") + message


class FrameReader:
    """Splits a stream of bytes into messages; one for each connection.

    A length of 0 or above ``max_frame`` raises WireError as soon as its four bytes are read, and
    on every later call: after it the borders of frames are unknown.
    """

    def __init__(self, max_frame: int) -> None:
        self.max_frame = max_frame
        """May change between frames; applies to the next length that is read."""
        self._buffer = bytearray()

    @property
    def buffered(self) -> int:
        """Bytes of an incomplete frame."""
        return len(self._buffer)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Add ``data`` and yield the messages it completes; those not consumed are kept."""
        self._buffer += data
        return self._complete()

    def _complete(self) -> Iterator[bytes]:
        while (end := self._end_of_first()) is not None:
            message = bytes(memoryview(self._buffer)[HEADER:end])
            del self._buffer[:end]
            yield message

    def _end_of_first(self) -> int | None:
        if len(self._buffer) < HEADER:
            return None
        length = int.from_bytes(self._buffer[:HEADER], "big")
        if length == 0:
            raise WireError("a frame has length 0", reason="frame_empty")
        if length > self.max_frame:
            raise self._too_large(length)
        end = HEADER + length
        return end if len(self._buffer) >= end else None

    def _too_large(self, length: int) -> WireError:
        """Text and TLS read as a length are hundreds of MB: always beyond the limit."""
        start = bytes(self._buffer[:HEADER])
        if start in _HTTP:
            return WireError(
                "the peer sent HTTP instead of a frame of kzn",
                reason="speaks_http",
                hint="agents connect to the server's --listen-agents port, by default 7070",
            )
        if start[:2] in _TLS:
            return WireError(
                "the peer sent TLS, which is not configured on this side",
                reason="speaks_tls",
                hint="set the --tls options on both sides or on neither",
            )
        return WireError(
            f"a frame has {length} bytes, the limit is {self.max_frame}",
            reason="frame_too_large",
            hint="check that the peer is kzn of this version",
        )
