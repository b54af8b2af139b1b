"""kzn/topology/kube/lines.py."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kzn.topology.kube.errors import KubeError
from kzn.topology.kube.lines import LineSplitter


@pytest.mark.slow
@given(st.lists(st.binary(min_size=1).filter(lambda b: b"\n" not in b and b.strip())), st.data())
def test_lines_are_complete_for_any_chunks(lines: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(line + b"\n" for line in lines)
    splitter, got, at = LineSplitter(), [], 0
    while at < len(stream):
        size = data.draw(st.integers(1, len(stream) - at))
        got += splitter.feed(stream[at : at + size])
        at += size
    assert got == lines
    assert splitter.pending == 0


def test_empty_lines_are_skipped_and_an_incomplete_one_is_pending() -> None:
    splitter = LineSplitter()
    assert splitter.feed(b"a\n\n\r\nb\nopen") == [b"a", b"b"]
    assert splitter.pending == 4


def test_a_line_beyond_the_limit_is_an_error() -> None:
    splitter = LineSplitter(limit=10)
    splitter.feed(b"12345678")
    with pytest.raises(KubeError, match="more than 10 bytes") as caught:
        splitter.feed(b"90a")
    assert caught.value.reason == "bad_line"
