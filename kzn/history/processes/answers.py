"""Answers as bytes, for the pipe between the reader process and its server: JSON by msgspec.

In: an answer. Out: bytes, and the answer again. Never: a call or a Python loop that holds the
server's interpreter lock for thousands of rows, while agents wait for their acks.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain

import msgspec

from kzn.history.query import Answer, Row

ROWS_A_LINE = 500
"""Decoded in a millisecond."""
_ANSWER = msgspec.json.Decoder(Answer)
_ROWS = msgspec.json.Decoder(tuple[Row, ...])


def encode(answer: Answer) -> bytes:
    """A line with the answer without its rows, and lines with those."""
    return b"\n".join(_lines(answer))


def decode(data: bytes) -> Answer:
    """The answer that another process sent."""
    about, *lines = data.split(b"\n")
    rows = chain.from_iterable(map(_ROWS.decode, lines))
    return replace(_ANSWER.decode(about), rows=tuple(rows))


def _lines(answer: Answer) -> Iterator[bytes]:
    yield msgspec.json.encode(replace(answer, rows=()))
    for first in range(0, len(answer.rows), ROWS_A_LINE):
        yield msgspec.json.encode(answer.rows[first : first + ROWS_A_LINE])
