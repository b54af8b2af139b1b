"""kzn/wire/frames.py: every split of a stream gives the same messages; bad lengths fail early."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kzn.errors import WireError
from kzn.wire.frames import FrameReader, frame

MESSAGES = st.lists(st.binary(min_size=1, max_size=40), max_size=6)


def test_a_frame_is_a_big_endian_length_and_the_message() -> None:
    assert frame(b"abc") == b"\x00\x00\x00\x03abc"


def test_an_empty_message_cannot_be_framed() -> None:
    with pytest.raises(ValueError, match="at least one byte"):
        frame(b"")


@given(MESSAGES, st.data())
def test_every_split_of_a_stream_gives_the_same_messages(
    messages: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(frame(m) for m in messages)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    reader = FrameReader(40)
    got: list[bytes] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        got.extend(reader.feed(stream[start:end]))
    assert got == messages
    assert reader.buffered == 0


def test_bytes_one_at_a_time_give_the_same_messages() -> None:
    stream = frame(b"one") + frame(b"x" * 300) + frame(b"\x00")
    reader = FrameReader(300)
    got = [m for i in range(len(stream)) for m in reader.feed(stream[i : i + 1])]
    assert got == [b"one", b"x" * 300, b"\x00"]


@given(st.integers(min_value=11, max_value=2**32 - 1))
def test_a_length_beyond_the_limit_is_refused_on_its_header(length: int) -> None:
    reader = FrameReader(10)
    with pytest.raises(WireError) as caught:
        list(reader.feed(length.to_bytes(4, "big")))
    assert caught.value.reason == "frame_too_large"


@pytest.mark.parametrize(
    ("start", "reason"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "speaks_http"),
        (b"POST /api", "speaks_http"),
        (b"PRI * HTTP/2.0\r\n", "speaks_http"),
        (b"HTTP/1.0 400 Bad Request\r\n", "speaks_http"),
        (b"\x16\x03\x01\x02\x00\x01", "speaks_tls"),
        (b"\x15\x03\x03\x00\x02", "speaks_tls"),
        (b"GETX", "frame_too_large"),
        (b"\x16\x04\x01\x02", "frame_too_large"),
    ],
)
def test_http_and_tls_are_recognized(start: bytes, reason: str) -> None:
    with pytest.raises(WireError) as caught:
        list(FrameReader(8 << 20).feed(start))
    assert caught.value.reason == reason


def test_a_length_at_the_limit_is_accepted() -> None:
    assert list(FrameReader(10).feed(frame(b"x" * 10))) == [b"x" * 10]


def test_a_length_of_zero_is_refused() -> None:
    with pytest.raises(WireError) as caught:
        list(FrameReader(10).feed(b"\x00\x00\x00\x00"))
    assert caught.value.reason == "frame_empty"


def test_after_a_bad_length_every_call_fails() -> None:
    reader = FrameReader(10)
    for data in (b"GET / HTTP/1.1\r\n\r\n", frame(b"ok")):
        with pytest.raises(WireError):
            list(reader.feed(data))


def test_frames_before_a_bad_length_are_returned() -> None:
    messages = FrameReader(10).feed(frame(b"ok") + b"\xff\xff\xff\xff")
    assert next(messages) == b"ok"
    with pytest.raises(WireError):
        next(messages)


def test_the_limit_may_change_between_frames() -> None:
    reader = FrameReader(3)
    messages = reader.feed(frame(b"abc") + frame(b"abcdef"))
    assert next(messages) == b"abc"
    reader.max_frame = 6
    assert next(messages) == b"abcdef"


def test_a_message_that_is_not_consumed_is_kept() -> None:
    reader = FrameReader(10)
    reader.feed(frame(b"one"))
    assert list(reader.feed(frame(b"two"))) == [b"one", b"two"]


def test_a_declared_length_allocates_nothing() -> None:
    reader = FrameReader(1 << 30)
    tracemalloc.start()
    try:
        assert list(reader.feed((1 << 30).to_bytes(4, "big"))) == []
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
