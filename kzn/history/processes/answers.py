"""Answers as bytes, for the pipe between the reader process and its server: JSON by msgspec.

In: an answer. Out: bytes, and the answer again. Never: a Python loop over rows, which would hold
the server's interpreter lock while agents wait for their acks.
"""

import msgspec

from kzn.history.query import Answer

_DECODER = msgspec.json.Decoder(Answer)


def encode(answer: Answer) -> bytes:
    """The bytes of an answer."""
    return msgspec.json.encode(answer)


def decode(data: bytes) -> Answer:
    """The answer that another process sent."""
    return _DECODER.decode(data)
