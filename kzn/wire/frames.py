"""Frames: a 4-byte big-endian length, then one message. Pure: bytes in, messages out.

In: bytes in any pieces, as a socket hands them over.
Out: whole messages in order, none longer than the limit.
Never: waits, or keeps more than one limit and one piece of bytes.
"""

from collections.abc import Iterator

from kzn.errors import WireError

HEADER = 4

_HTTP = frozenset(
    word[:HEADER]
    for word in (b"GET /", b"HEAD /", b"POST /", b"PUT /", b"DELETE", b"OPTIONS", b"PATCH",
                 b"CONNECT", b"TRACE", b"PRI * HTTP/2.0", b"HTTP/1.1")
)  # fmt: skip
"""How requests begin (RFC 9110, 9.3; RFC 9113, 3.4), and answers."""
_TLS = (b"\x16\x03", b"\x15\x03")
"""A handshake and an alert of any version since SSL 3 (RFC 8446, 5.1)."""


def frame(message: bytes) -> bytes:
    """The frame that carries ``message``, which must not be empty."""
    if not message:
        raise ValueError("a frame carries at least one byte")
    return len(message).to_bytes(HEADER, "big") + message


class FrameReader:
    """Cuts a stream of bytes into messages; one per connection.

    A length of zero or beyond ``max_frame`` raises WireError as soon as its four bytes are there,
    and ever after: a stream that lied once has no frame borders any more.
    """

    def __init__(self, max_frame: int) -> None:
        self.max_frame = max_frame
        """May be changed between frames: it holds for the next length that is read."""
        self._buffer = bytearray()

    @property
    def buffered(self) -> int:
        """Bytes of a frame that is not whole yet."""
        return len(self._buffer)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take ``data`` and yield the messages it completes; those not asked for are kept."""
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
            raise WireError("a frame of length 0", reason="frame_empty")
        if length > self.max_frame:
            raise self._too_large(length)
        end = HEADER + length
        return end if len(self._buffer) >= end else None

    def _too_large(self, length: int) -> WireError:
        """Text and TLS, read as a length, are hundreds of megabytes: beyond any limit in use."""
        start = bytes(self._buffer[:HEADER])
        if start in _HTTP:
            return WireError(
                "what came is HTTP, and no frame of kzn",
                reason="speaks_http",
                hint="agents and server meet on a port of their own, :7070 unless set otherwise",
            )
        if start[:2] in _TLS:
            return WireError(
                "what came is TLS, which is not configured at this end",
                reason="speaks_tls",
                hint="give both ends their --tls options, or neither",
            )
        return WireError(
            f"a frame of {length} bytes where at most {self.max_frame} are taken",
            reason="frame_too_large",
            hint="is the peer a kzn of this version, and not something else on this port?",
        )
