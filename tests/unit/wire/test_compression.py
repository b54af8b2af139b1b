"""Compression of batches: what peers agree on, and streams that are not what they declare."""

import subprocess
import sys
import zlib
from dataclasses import replace

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from kzn.errors import WireError
from kzn.model.batch import AgentIdentity, Batch
from kzn.model.flows import NO_VIA, Flows
from kzn.model.totals import Counts, Totals
from kzn.wire.codec import decode_to_agent, decode_to_server, encode_to_agent, encode_to_server
from kzn.wire.compression import Compression, available, best_of, compress, decompress, offer
from kzn.wire.decode_batch import decode_batch
from kzn.wire.encode_batch import EncodedBatch, encode_batch
from kzn.wire.limits import Limits
from kzn.wire.messages import Welcome
from kzn.wire.session import AgentSession

DATA = bytes(range(256)) * 40
ZSTD = Compression.ZSTD


def flows() -> Flows:
    m = 500
    return Flows(
        addresses=np.arange(64 * 16, dtype=np.uint16).astype(np.uint8).reshape(64, 16),
        src=np.arange(m, dtype=np.uint32) % 64,
        dst=np.arange(m, dtype=np.uint32) * 7 % 64,
        src_port=np.zeros(m, np.uint16),
        dst_port=np.arange(m, dtype=np.uint16),
        protocol=np.full(m, 6, np.uint8),
        flags=np.ones(m, np.uint8),
        packets=np.arange(1, m + 1, dtype=np.uint64),
        bytes=np.arange(m, dtype=np.uint64) * 1_000_003,
        via=np.where(np.arange(m) % 3 == 0, np.uint32(5), np.uint32(NO_VIA)),
    )


@pytest.mark.parametrize("compression", available())
def test_a_batch_is_the_same_under_each_compression(compression: Compression) -> None:
    made = flows()
    batch = Batch(3, 10, 5, made, Totals(Counts(1, 2)))
    sent = encode_to_server(encode_batch(batch, compression))
    message = decode_to_server(sent)
    assert isinstance(message, EncodedBatch)
    assert message.columns.compression == compression
    found = decode_batch(message, Limits()).flows
    plain = decode_batch(encode_batch(batch), Limits()).flows
    for name in ("addresses", "src", "dst", "dst_port", "packets", "bytes"):
        assert getattr(found, name).tolist() == getattr(plain, name).tolist()
    assert found.via is not None
    assert plain.via is not None
    assert found.via.tolist() == plain.via.tolist()
    assert int(found.bytes.sum()) == int(made.bytes.sum())


@given(st.lists(st.binary(max_size=300), max_size=6), st.sampled_from(available()))
def test_streams_decompress_to_their_pieces(pieces: list[bytes], compression: Compression) -> None:
    data = b"".join(pieces)
    assert decompress(compress(pieces, compression), len(data), compression) == data


def unsized(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_content_size=False).compress(data)


def lying(data: bytes, size: int) -> bytes:
    """A frame of more bytes than the size that its header tells (RFC 8878, 3.1.1.1)."""
    honest = zstandard.ZstdCompressor(level=1).compress(data)
    size_of_field = 4 if honest[4] >> 6 == 2 else 2
    told = size - 256 if size_of_field == 2 else size
    at = 5 if honest[4] & 0x20 else 6
    return honest[:at] + told.to_bytes(size_of_field, "little") + honest[at + size_of_field :]


@pytest.mark.parametrize(
    ("data", "length", "compression", "reason"),
    [
        (zstandard.compress(DATA), len(DATA) - 1, 1, "inflated_length"),
        (zstandard.compress(DATA), len(DATA) + 1, 1, "inflated_length"),
        (zstandard.compress(bytes(50_000_000)), 1_000, 1, "inflated_length"),
        (unsized(DATA), len(DATA), 1, "inflated_length"),
        (lying(bytes(50_000_000), 70_000), 70_000, 1, "inflate"),
        (zstandard.compress(DATA)[:-1], len(DATA), 1, "inflate"),
        (zstandard.compress(DATA) + b"x", len(DATA), 1, "inflate"),
        (zlib.compress(DATA), len(DATA), 1, "inflate"),
        (b"", 0, 1, "inflate"),
        (zstandard.compress(DATA), len(DATA), 0, "inflate"),
        (DATA, len(DATA), 2, "compression"),
    ],
)
def test_a_stream_that_is_not_what_it_declares_is_refused(
    data: bytes, length: int, compression: int, reason: str
) -> None:
    with pytest.raises(WireError) as caught:
        decompress(data, length, compression)
    assert caught.value.reason == reason


def test_an_agent_uses_zstd_only_where_the_server_offers_it() -> None:
    assert best_of(0) is Compression.ZLIB
    assert best_of(offer()) is ZSTD
    assert best_of(0b1111_1100) is Compression.ZLIB  # what a later server may offer besides
    assert best_of(0b1111_1110) is ZSTD
    for compressions, expected in ((offer(), ZSTD), (0, Compression.ZLIB)):
        session = AgentSession(AgentIdentity("n", 1, "p", "0"))
        assert session.compression is Compression.ZLIB
        welcome = Welcome(None, Limits(), compressions=compressions)
        session.welcomed(decode_to_agent(encode_to_agent(welcome)))
        assert session.compression is expected


def test_a_batch_of_an_agent_that_knows_no_other_is_zlib() -> None:
    encoded = encode_batch(Batch(1, 0, 0, flows(), Totals()))
    sent = encode_to_server(replace(encoded, columns=replace(encoded.columns, compression=0)))
    message = decode_to_server(sent)
    assert isinstance(message, EncodedBatch)
    assert zlib.decompress(message.columns.data)


def test_without_the_package_only_zlib_is_there() -> None:
    program = """
import sys
sys.modules["zstandard"] = sys.modules["compression"] = None
from kzn.wire.compression import available, best_of, offer
assert (len(available()), int(best_of(2)), offer()) == (1, 0, 0)
"""
    subprocess.run([sys.executable, "-c", program], check=True)
