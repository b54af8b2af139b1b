"""kzn/daemon/http/body.py: each form of a body is the bytes that were rendered."""

import gzip
import random
import zlib

import pytest
import zstandard

from kzn.daemon.http import body as module
from kzn.daemon.http.body import COMPRESSED_FROM, PIECE, PLAIN_UP_TO, body_of

TEXT = b'kzn_workload_traffic_bytes_total{namespace="shop",workload="web"} %d\n'


def text(size: int) -> list[bytes]:
    """Lines of metrics, ``size`` bytes in pieces of odd lengths."""
    whole = b"".join(TEXT % (number * number) for number in range(size // 60 + 1))[:size]
    cut = random.Random(size)
    pieces = []
    while whole:
        length = cut.randrange(1, 50_000)
        pieces.append(whole[:length])
        whole = whole[length:]
    return pieces


SIZES = [0, 1, COMPRESSED_FROM - 1, COMPRESSED_FROM, PIECE, PLAIN_UP_TO, PLAIN_UP_TO + 1, 5 << 20]


@pytest.mark.parametrize("size", SIZES)
def test_both_forms_are_the_bytes_that_were_rendered(size: int) -> None:
    pieces = text(size)
    body = body_of(pieces)
    assert body.size == size
    assert b"".join(body.pieces()) == b"".join(pieces)
    assert all(len(piece) <= PIECE for piece in body.pieces())
    if size < COMPRESSED_FROM:
        assert body.gzip is None
    else:
        assert body.gzip is not None
        assert gzip.decompress(b"".join(body.pieces("gzip"))) == b"".join(pieces)
        assert len(body.gzip) < size / 3
    assert (body.plain is not None) is (size <= PLAIN_UP_TO)


def test_a_large_body_is_held_compressed_alone() -> None:
    body = body_of(text(5 << 20))
    assert body.stored < (5 << 20) / 3


def test_equal_bytes_have_one_tag_however_they_are_cut() -> None:
    pieces = text(100_000)
    tag = body_of(pieces, tagged=True).tag
    assert tag.startswith('W/"')
    assert body_of([b"".join(pieces)], tagged=True).tag == tag
    assert body_of([*pieces, b"x"], tagged=True).tag != tag
    assert body_of(pieces).tag == ""


def test_the_standard_library_compresses_where_zlib_ng_is_not_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "make_compressor", zlib.compressobj)
    monkeypatch.setattr(module, "make_decompressor", zlib.decompressobj)
    pieces = text(3 << 20)
    body = body_of(pieces)
    assert b"".join(body.pieces()) == b"".join(pieces)
    assert gzip.decompress(body.gzip or b"") == b"".join(pieces)


@pytest.mark.parametrize("size", SIZES)
def test_a_body_for_clients_that_want_zstd_has_no_gzip_form(size: int) -> None:
    pieces = text(size)
    body = body_of(pieces, coding="zstd")
    assert body.gzip is None
    if size < COMPRESSED_FROM:
        assert (body.zstd, body.plain) == (None, b"".join(pieces))
    else:
        packed = b"".join(body.pieces("zstd"))
        assert zstandard.ZstdDecompressor().decompressobj().decompress(packed) == b"".join(pieces)
        assert len(packed) < size / 3


def test_without_a_zstd_compressor_gzip_serves_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "zstd_maker", lambda: None)
    body = body_of(text(COMPRESSED_FROM), coding="zstd")
    assert body.zstd is None
    assert body.gzip is not None
