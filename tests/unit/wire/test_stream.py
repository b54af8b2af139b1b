"""kzn/wire/stream.py: frames over asyncio streams, and how connections end."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from kzn.errors import WireError
from kzn.wire.frames import frame
from kzn.wire.stream import FrameStream

Talk = Callable[[FrameStream, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def talk(client: Talk, max_frame: int = 100) -> None:
    """Run ``client`` with a frame stream and the plain streams of its peer."""

    async def run() -> None:
        accepted: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]]
        accepted = asyncio.Queue()

        async def accept(r: asyncio.StreamReader, w: asyncio.StreamWriter) -> None:
            await accepted.put((r, w))

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        streams = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(10):
            reader, writer = await accepted.get()
            await client(FrameStream(*streams, max_frame), reader, writer)
        streams[1].close()
        writer.close()
        server.close()

    asyncio.run(run())


def test_messages_arrive_whole_and_in_order_and_bytes_are_counted() -> None:
    async def client(
        stream: FrameStream, _r: asyncio.StreamReader, peer: asyncio.StreamWriter
    ) -> None:
        peer.write(frame(b"one") + frame(b"two"))
        assert [await stream.receive(), await stream.receive()] == [b"one", b"two"]
        assert stream.received == 14

    talk(client)


def test_send_writes_a_frame() -> None:
    async def client(
        stream: FrameStream, peer: asyncio.StreamReader, _w: asyncio.StreamWriter
    ) -> None:
        await stream.send(b"one")
        assert await peer.readexactly(7) == frame(b"one")
        assert stream.sent == 7

    talk(client)


def test_a_close_within_a_frame_is_an_error_and_between_frames_is_not() -> None:
    async def clean(
        stream: FrameStream, _r: asyncio.StreamReader, peer: asyncio.StreamWriter
    ) -> None:
        peer.write(frame(b"one"))
        peer.write_eof()
        assert await stream.receive() == b"one"
        assert await stream.receive() is None

    async def cut(
        stream: FrameStream, _r: asyncio.StreamReader, peer: asyncio.StreamWriter
    ) -> None:
        peer.write(frame(b"one")[:-1])
        peer.write_eof()
        with pytest.raises(WireError) as caught:
            await stream.receive()
        assert caught.value.reason == "frame_cut"

    talk(clean)
    talk(cut)


def test_the_limit_can_be_raised_after_the_first_frame() -> None:
    async def client(
        stream: FrameStream, _r: asyncio.StreamReader, peer: asyncio.StreamWriter
    ) -> None:
        peer.write(frame(b"one") + frame(b"x" * 50))
        assert await stream.receive() == b"one"
        stream.set_max_frame(50)
        assert await stream.receive() == b"x" * 50

    talk(client, max_frame=3)


def test_lingering_reads_to_the_end_or_to_its_limit() -> None:
    async def client(
        stream: FrameStream, reader: asyncio.StreamReader, peer: asyncio.StreamWriter
    ) -> None:
        peer.write(b"x" * 200_000)
        await stream.linger(limit=100_000)
        assert await reader.read() == b""
        peer.write_eof()
        await stream.linger()

    talk(client)
