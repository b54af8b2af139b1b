"""Rows as the kernel writes them: keys and counts unchanged, rows of one flow added up."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kzn.agent.maps import structs
from kzn.agent.maps.rows import ROW_WORDS, decode, merge
from kzn.model import ip
from kzn.model.flows import FLOW_KEY

words = st.integers(0, 2**64 - 1)
halves = st.integers(0, 2**32 - 1)
v4 = st.integers(0, 2**32 - 1).map(lambda n: ip.pack(f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 7}"))
v6 = st.binary(min_size=16, max_size=16).filter(lambda a: a[:12] != bytes(10) + b"\xff\xff")
pairs = st.tuples(v4, v4) | st.tuples(v6, v6)


def row(
    src: bytes, dst: bytes, tail: int, cpu: int, tag: int, counts: tuple[int, int]
) -> list[int]:
    """The words of a row, as bpf/src/rows.bpf.h makes them."""
    is_v4 = src[:12] == bytes(10) + b"\xff\xff"
    addresses = [int.from_bytes((src + dst)[at : at + 8], "little") for at in (0, 8, 16, 24)]
    if is_v4:
        addresses = [addresses[1] >> 32 | addresses[3] >> 32 << 32, 0, 0, 0]
    word1 = (tail >> 32) << 32 | (4 if is_v4 else 6) << 16 | cpu
    packets, size = counts
    packed = (packets % (1 << 23)) << 40 | size % (1 << 39)
    carry = (packets >> 23) << 32 | size >> 39
    return [tail % (1 << 32) << 32 | tag | 2, word1, *addresses, packed, carry]


@given(
    st.lists(
        st.tuples(
            pairs,
            words,
            st.integers(0, 65535),
            halves,
            st.tuples(st.integers(1, 2**40), st.integers(1, 2**60)),
        ),
        max_size=20,
    )
)
def test_a_row_is_decoded_to_its_key_cpu_and_counts(
    found: list[tuple[tuple[bytes, bytes], int, int, int, tuple[int, int]]],
) -> None:
    rows = [row(*pair, tail, cpu, tag, counts) for pair, tail, cpu, tag, counts in found]
    empty, being_made = [0] * ROW_WORDS, [1, *[7] * (ROW_WORDS - 1)]
    decoded = decode(np.array([empty, *rows, being_made], np.uint64))
    assert [key.tobytes() for key in decoded.keys] == [
        src + dst + tail.to_bytes(8, "little") for (src, dst), tail, *_ in found
    ]
    assert decoded.cpu.tolist() == [cpu for _, _, cpu, _, _ in found]
    assert decoded.counts.tolist() == [list(counts) for *_, counts in found]


def test_counts_beyond_a_half_are_in_the_carry() -> None:
    packed = np.array([5 << 40 | 7, (1 << 63) | 1], np.uint64)
    carry = np.array([2 << 32 | 3, 0], np.uint64)
    assert np.stack(structs.unpack_counts(packed, carry), axis=1).tolist() == [
        [5 + 2 * 2**23, 7 + 3 * 2**39],
        [2**23, 1],
    ]
    assert structs.unpack_counts(5 << 40 | 7, 2 << 32 | 3) == (5 + 2 * 2**23, 7 + 3 * 2**39)


keys = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 2**62), st.integers(0, 2**62)),
    max_size=30,
)


@given(keys)
def test_merging_adds_up_the_rows_of_each_key(found: list[tuple[int, int, int, int]]) -> None:
    made = np.zeros(len(found), FLOW_KEY)
    counts = np.zeros((len(found), 2), np.uint64)
    expected: dict[bytes, list[int]] = {}
    for at, (src, port, packets, size) in enumerate(found):
        made[at]["src"][15], made[at]["port"] = src, port
        counts[at] = packets // 32, size // 32
        total = expected.setdefault(made[at].tobytes(), [0, 0])
        total[0] += packets // 32
        total[1] += size // 32
    merged, sums = merge(made, counts)
    assert {key.tobytes(): total for key, total in zip(merged, sums.tolist(), strict=True)} == (
        expected
    )
