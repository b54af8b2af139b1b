"""Messages between server and history process: whole, or the end of the stream."""

import io
import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kzn.history.processes.framing import read_message, read_message_until, write_message

MESSAGES = st.lists(st.tuples(st.dictionaries(st.text(), st.integers()), st.binary()), max_size=4)


@given(MESSAGES, st.data())
def test_what_was_written_is_read_up_to_where_it_is_cut(
    messages: list[tuple[dict[str, int], bytes]], data: st.DataObject
) -> None:
    stream, ends = io.BytesIO(), [0]
    for header, payload in messages:
        write_message(stream, header, payload)
        ends.append(stream.tell())
    cut = data.draw(st.integers(0, ends[-1]))
    source = io.BytesIO(stream.getvalue()[:cut])
    found = []
    while (message := read_message(source)) is not None:
        found.append(message)
    assert found == messages[: sum(end <= cut for end in ends) - 1]


def test_an_answer_is_waited_for_no_longer_than_its_deadline() -> None:
    source, sink = os.pipe()
    with pytest.raises(TimeoutError):
        read_message_until(source, time.monotonic())
    with os.fdopen(sink, "wb") as stream:
        write_message(stream, {"a": 1}, b"xyz")
    assert read_message_until(source, time.monotonic() + 20) == ({"a": 1}, b"xyz")
    with pytest.raises(EOFError):
        read_message_until(source, time.monotonic() + 20)
    os.close(source)
