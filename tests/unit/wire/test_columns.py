"""kzn/wire/columns.py and decode_batch.py: round trips, size, speed, false headers."""

import sys
import tracemalloc
import zlib
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from types import FrameType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kzn.errors import WireError
from kzn.model.batch import Batch
from kzn.model.flows import NO_VIA, Flows
from kzn.model.ip import MAPPED_PREFIX
from kzn.model.ip import pack as pack_address
from kzn.wire.columns import PLANES, Columns, pack
from kzn.wire.decode_batch import decode_batch, decode_batches
from kzn.wire.encode_batch import EncodedBatch
from kzn.wire.limits import Limits

NAMES = ("src_port", "dst_port", "protocol", "flags", "packets", "bytes")
KINDS = {"src_port": np.uint16, "dst_port": np.uint16, "protocol": np.uint8, "flags": np.uint8}


def unpack(columns: Columns) -> Flows:
    """The flows of a batch with these columns."""
    return decode_batch(EncodedBatch(1, 0, 0, columns, b""), Limits()).flows


def typical(addresses: int, flows: int, seed: int = 1) -> Flows:
    """A node of 40 pods that send to services, most of them to a few; keys are distinct."""
    rng = np.random.default_rng(seed)
    table = np.zeros((addresses, 16), np.uint8)
    table[:] = np.frombuffer(pack_address("10.0.0.0"), np.uint8)
    table[:, 13:] = rng.integers(0, 256, (addresses, 3)) % np.array([4, 256, 256])
    weight = 1 / np.arange(1, addresses + 1) ** 0.8
    drawn = flows * 4
    pods = rng.choice(addresses, 40, replace=False)
    src, dst = (
        rng.choice(pods, drawn),
        rng.choice(addresses, drawn, p=weight / weight.sum()),
    )
    services = np.array([80, 443, 8080, 5432, 6379, 9090, 9092, 3306, 53, 50051])
    client = rng.random(drawn) < 0.5
    dst_port = np.where(client, services[dst % 10], 0)
    src_port = np.where(client, 0, services[src % 10])
    protocol = np.where((dst_port == 53) | (src_port == 53), 17, 6)
    keys = np.stack([src, dst, src_port, dst_port, protocol, np.where(client, 1, 2)], axis=1)
    _, first = np.unique(keys, axis=0, return_index=True)
    keep = rng.permutation(first)[:flows]
    assert len(keep) == flows
    packets = np.maximum(1, rng.lognormal(3.5, 2, flows)).astype(np.uint64)
    return Flows(
        addresses=table,
        src=src[keep].astype(np.uint32),
        dst=dst[keep].astype(np.uint32),
        src_port=src_port[keep].astype(np.uint16),
        dst_port=dst_port[keep].astype(np.uint16),
        protocol=protocol[keep].astype(np.uint8),
        flags=keys[keep, 5].astype(np.uint8),
        packets=packets,
        bytes=(packets * rng.uniform(52, 1448, flows)).astype(np.uint64),
    )


def rows(flows: Flows) -> Counter[tuple[object, ...]]:
    """The flows as a multiset of rows, since the order of flows and addresses has no meaning."""
    address = [row.tobytes() for row in flows.addresses]
    columns = [getattr(flows, name).tolist() for name in NAMES]
    for further in (flows.via, flows.sender):
        of_flows = np.full(len(flows), NO_VIA) if further is None else further
        columns.append([b"" if row == NO_VIA else address[row] for row in of_flows.tolist()])
    ends = zip(flows.src.tolist(), flows.dst.tolist(), strict=True)
    return Counter(
        (address[s], address[d], *rest) for (s, d), *rest in zip(ends, *columns, strict=True)
    )


@st.composite
def any_flows(draw: st.DrawFn) -> Flows:
    n, m = draw(st.integers(1, 12)), draw(st.integers(0, 20))
    addresses = draw(hnp.arrays(np.uint8, (n, 16)))
    mapped = draw(hnp.arrays(np.bool_, n))
    addresses[mapped, :12] = np.frombuffer(MAPPED_PREFIX, np.uint8)
    ends = st.integers(0, n - 1)
    count = st.integers(0, (1 << 59) // max(m, 1))  # so that the sum of a batch is in range
    column = {
        name: draw(hnp.arrays(KINDS[name], m))
        if name in KINDS
        else draw(hnp.arrays(np.uint64, m, elements=count))
        for name in NAMES
    }
    src, dst = (draw(hnp.arrays(np.uint32, m, elements=ends)) for _ in range(2))
    via, sender = (
        draw(st.none() | hnp.arrays(np.uint32, m, elements=ends | st.just(NO_VIA)))
        for _ in range(2)
    )
    return Flows(addresses=addresses, src=src, dst=dst, **column, via=via, sender=sender)


@pytest.mark.slow
@given(any_flows())
def test_flows_survive_a_round_trip(flows: Flows) -> None:
    back = unpack(pack(flows))
    assert rows(back) == rows(flows)
    assert Counter(map(bytes, back.addresses)) == Counter(map(bytes, flows.addresses))
    for name in ("addresses", "src", "dst", *NAMES):
        assert getattr(back, name).dtype == getattr(flows, name).dtype


Breaks = Callable[[Columns], Columns]
BROKEN: tuple[tuple[Breaks, str], ...] = (
    (lambda columns: replace(columns, planes=1 << PLANES), "planes"),
    (lambda columns: replace(columns, flows=1 << 20), "flows_limit"),
    (lambda columns: replace(columns, ipv4=columns.ipv4 + 1), "inflated_length"),
    (lambda columns: replace(columns, via_planes=1 << 8), "planes"),
)


@pytest.mark.slow
@given(st.lists(st.tuples(any_flows(), st.none() | st.sampled_from(BROKEN)), max_size=6))
def test_batches_decoded_together_are_those_decoded_alone(
    drawn: list[tuple[Flows, tuple[Breaks, str] | None]],
) -> None:
    encoded = []
    for number, (flows, broken) in enumerate(drawn):
        columns = pack(flows) if broken is None else broken[0](pack(flows))
        encoded.append(EncodedBatch(number, 0, 0, columns, b""))
    found = decode_batches(encoded, Limits())
    for one, batch, (flows, broken) in zip(encoded, found, drawn, strict=True):
        if broken is not None:
            assert isinstance(batch, WireError)
            assert batch.reason == broken[1]
            continue
        assert isinstance(batch, Batch)
        assert batch.sequence == one.sequence
        assert rows(batch.flows) == rows(flows)
        alone = decode_batch(one, Limits()).flows
        for name in ("addresses", "src", "dst", *NAMES):
            together, by_itself = getattr(batch.flows, name), getattr(alone, name)
            assert together.dtype == by_itself.dtype
            assert together.tolist() == by_itself.tolist()


def test_a_batch_out_of_range_does_not_concern_those_decoded_with_it() -> None:
    one = pack(typical(addresses=50, flows=80))
    raw = zlib.decompress(one.data)
    wrong = replace(one, data=zlib.compress(raw[:200] + b"\xff" * (len(raw) - 200)))
    large = typical(addresses=50, flows=80)
    large.bytes[7] = 1 << 60
    batches = [
        EncodedBatch(number, 0, 0, columns, b"")
        for number, columns in enumerate([one, wrong, pack(Flows.empty()), pack(large), one])
    ]
    found = decode_batches(batches, Limits())
    assert [each.reason if isinstance(each, WireError) else len(each.flows) for each in found] == [
        80,
        "index_range",
        0,
        "counts_range",
        80,
    ]


def test_no_flows_survive_a_round_trip() -> None:
    back = unpack(pack(Flows.empty()))
    assert len(back) == 0
    assert back.addresses.shape == (0, 16)


def test_a_typical_node_takes_at_most_8_bytes_a_flow() -> None:
    packed = pack(typical(addresses=500, flows=5000))
    assert len(packed.data) <= 8 * 5000


def over_nodes(flows: Flows, nodes: int = 30) -> Flows:
    """``flows`` as an overlay carries them: each destination is behind one of the nodes."""
    table = np.concatenate((flows.addresses, flows.addresses[:nodes]))
    table[-nodes:, 12] = 172
    node = (flows.addresses[:, 14].astype(np.uint32) % nodes + len(flows.addresses)).take(flows.dst)
    return replace(flows, addresses=table, via=np.where(flows.dst % 7 == 0, NO_VIA, node))


def test_what_an_overlay_carries_takes_a_tenth_of_a_byte_more_a_flow() -> None:
    flows = typical(addresses=500, flows=5000)
    plain, overlay = pack(flows), pack(over_nodes(flows))
    assert (plain.via_planes, plain.via) == (0, b"")
    assert rows(unpack(overlay)) == rows(over_nodes(flows))
    assert len(overlay.data) + len(overlay.via) - len(plain.data) < 5000 * 0.2


@pytest.mark.parametrize(
    ("planes", "via", "reason"),
    [
        (1 << 8, b"", "planes"),
        (1, b"", "inflated_length"),
        (1, zlib.compress(bytes(9)), "inflated_length"),
        (0x10, zlib.compress(b"\xff" * 3), "index_range"),
        (0x10, zlib.compress(bytes(3)) + b"x", "trailing"),
    ],
)
def test_outer_destinations_that_are_not_there_are_refused(
    planes: int, via: bytes, reason: str
) -> None:
    packed = Columns(3, 2, 0, 0, zlib.compress(bytes(8)), planes, via)
    with pytest.raises(WireError) as raised:
        unpack(packed)
    assert raised.value.reason == reason


def test_unpacking_makes_no_call_for_each_flow() -> None:
    assert calls(pack(typical(addresses=1000, flows=10_000))) < 1000


def calls(packed: Columns) -> int:
    """Calls of Python and C functions while ``packed`` is unpacked."""
    count = 0

    def profile(_frame: FrameType, event: str, _arg: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(profile)
    try:
        unpack(packed)
    finally:
        sys.setprofile(None)
    return count


def test_planes_of_zeros_are_not_sent() -> None:
    flows = typical(addresses=100, flows=200)
    packed = pack(flows)
    assert packed.planes.bit_count() < 16
    assert (
        len(zlib.decompress(packed.data))
        == packed.inflated
        == 400 + 200 * packed.planes.bit_count()
    )


def test_ipv4_is_sent_as_four_bytes_and_before_ipv6() -> None:
    addresses = np.stack(
        [np.frombuffer(pack_address(a), np.uint8) for a in ("2001:db8::1", "10.1.2.3")]
    )
    packed = pack(replace(Flows.empty(), addresses=addresses))
    assert (packed.ipv4, packed.ipv6) == (1, 1)
    assert zlib.decompress(packed.data)[:20] == bytes([10, 1, 2, 3]) + pack_address("2001:db8::1")


PACKED = pack(typical(addresses=50, flows=80))
RAW = zlib.decompress(PACKED.data)


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        (replace(PACKED, flows=81), "inflated_length"),
        (replace(PACKED, flows=79), "inflated_length"),
        (replace(PACKED, ipv4=49), "inflated_length"),
        (replace(PACKED, ipv6=1), "inflated_length"),
        (replace(PACKED, planes=PACKED.planes ^ 1), "inflated_length"),
        (replace(PACKED, planes=1 << PLANES), "planes"),
        (replace(PACKED, data=PACKED.data[:-1]), "inflated_length"),
        (replace(PACKED, data=PACKED.data + b"x"), "trailing"),
        (replace(PACKED, data=b""), "inflated_length"),
        (replace(PACKED, data=b"not zlib at all"), "inflate"),
        (replace(PACKED, data=zlib.compress(RAW[:-1] + b"\xff\xff")), "inflated_length"),
        (
            replace(PACKED, data=zlib.compress(RAW[:200] + b"\xff" * (len(RAW) - 200))),
            "index_range",
        ),
        (Columns(1, 0, 0, 0, zlib.compress(b"")), "index_range"),
    ],
)
def test_columns_that_do_not_match_their_header_are_refused(columns: Columns, reason: str) -> None:
    with pytest.raises(WireError) as caught:
        unpack(columns)
    assert caught.value.reason == reason


def test_a_zip_bomb_is_decompressed_only_to_its_declared_size() -> None:
    bomb = zlib.compress(bytes(50_000_000), 9)
    tracemalloc.start()
    try:
        with pytest.raises(WireError) as caught:
            unpack(Columns(flows=100, ipv4=2, ipv6=0, planes=1, data=bomb))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.reason == "inflated_length"
    assert peak < 200_000


@given(st.binary(max_size=200), st.integers(0, 300), st.integers(0, 50), st.integers(0, 2**32 - 1))
def test_any_bytes_are_flows_or_a_wire_error(
    data: bytes, flows: int, addresses: int, planes: int
) -> None:
    for stream in (data, zlib.compress(data)):
        with suppress(WireError):
            unpack(Columns(flows, addresses, addresses, planes, stream))


def test_columns_have_the_types_that_sums_are_fast_for() -> None:
    flows = typical(200, 300)
    rows = np.arange(300, dtype=np.uint32) % 200
    found = unpack(pack(replace(flows, via=rows, sender=rows)))
    columns = [getattr(found, name) for name in ("src", "dst", *NAMES, "via", "sender")]
    assert {column.dtype.byteorder for column in columns} <= {"=", "|"}
