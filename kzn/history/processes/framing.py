"""Messages between a server and its history processes, and the end of one.

In: a header (a JSON object) and a payload (raw bytes). Out: both at the other end of a pipe.
Never: an answer that is waited for without a deadline.
"""

import json
import os
import select
import struct
import subprocess
import time
from contextlib import suppress
from typing import IO, Any

HEAD = struct.Struct("<IQ")
Payload = bytes | memoryview
"""Of bytes."""


def message(header: Any, size: int = 0) -> bytes:
    """A message up to its payload of ``size`` bytes."""
    text = json.dumps(header).encode()
    return HEAD.pack(len(text), size) + text


def write_message(stream: IO[bytes], header: Any, payload: Payload = b"") -> None:
    """Write and flush one message; OSError if the other end is gone."""
    stream.write(message(header, len(payload)))
    stream.write(payload)
    stream.flush()


def read_message(stream: IO[bytes]) -> tuple[Any, bytes] | None:
    """The next message of a blocking stream; None at its end, also within a message."""
    head = stream.read(HEAD.size)
    if len(head) < HEAD.size:
        return None
    text_size, size = HEAD.unpack(head)
    text, payload = stream.read(text_size), stream.read(size)
    if len(text) < text_size or len(payload) < size:
        return None
    return json.loads(text), payload


def read_message_until(descriptor: int, deadline: float) -> tuple[Any, bytes]:
    """The next message; EOFError at the end, TimeoutError at ``deadline`` (time.monotonic)."""
    text_size, size = HEAD.unpack(_exactly(descriptor, HEAD.size, deadline))
    text = _exactly(descriptor, text_size, deadline)
    return json.loads(text), _exactly(descriptor, size, deadline)


def _exactly(descriptor: int, size: int, deadline: float) -> bytes:
    parts: list[bytes] = []
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    while size:
        left = deadline - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            raise TimeoutError
        part = os.read(descriptor, min(size, 1 << 20))
        if not part:
            raise EOFError
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def end_process(process: "subprocess.Popen[bytes]") -> None:
    """Kill a process and close its pipes; what was buffered for it is dropped."""
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with suppress(OSError):
                stream.close()
