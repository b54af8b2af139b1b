"""A client that reads as fast as the server sends: other work of the event loop goes on."""

import asyncio
from typing import Any

import pytest

from kzn.daemon.http.body import PIECE, Body, body_of
from kzn.daemon.http.messages import Response, Route
from kzn.daemon.http.server import PIECES_AT_ONCE, HttpServer

PIECES = 5 * PIECES_AT_ONCE
TEXT = b"0123456789abcdef" * (PIECES * PIECE // 16)


class Taken(asyncio.Transport):
    """A transport whose peer takes all bytes at once; says in which turn of the loop."""

    def __init__(self) -> None:
        super().__init__()
        self.turn = 0
        self.taken: list[tuple[int, bytes]] = []
        self.is_closed = False

    def write(self, data: Any) -> None:
        self.taken.append((self.turn, bytes(data)))

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        del high, low

    def is_closing(self) -> bool:
        return self.is_closed

    def can_write_eof(self) -> bool:
        return False

    def close(self) -> None:
        self.is_closed = True

    abort = close


async def sent(body: Body) -> Taken:
    transport, loop = Taken(), asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    server = HttpServer({"/": Route(lambda _: Response(body))})
    server._accept(reader, asyncio.StreamWriter(transport, protocol, reader, loop))
    reader.feed_data(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    reader.feed_eof()
    async with asyncio.timeout(20):
        while not transport.is_closed:
            transport.turn += 1
            await asyncio.sleep(0)
    await server.close()
    return transport


@pytest.mark.parametrize("kept", [False, True], ids=["decompressed", "as it is"])
def test_the_loop_turns_while_a_large_body_is_sent_to_a_fast_client(*, kept: bool) -> None:
    body = Body(len(TEXT), TEXT, None) if kept else body_of([TEXT])
    assert (body.plain is None) != kept
    taken = asyncio.run(sent(body)).taken
    assert b"".join(data for _, data in taken).endswith(TEXT)
    turns = [turn for turn, _ in taken]
    assert max(turns.count(turn) for turn in turns) <= PIECES_AT_ONCE + 1  # and the head
