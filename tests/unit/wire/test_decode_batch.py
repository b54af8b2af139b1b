"""kzn/wire/encode_batch.py and decode_batch.py: totals, ages and limits."""

from dataclasses import replace

import numpy as np
import pytest

from kzn.errors import WireError
from kzn.model.batch import Batch
from kzn.model.flows import Flows
from kzn.model.totals import Counts, Totals
from kzn.wire import kzn_pb2
from kzn.wire.decode_batch import decode_batch
from kzn.wire.encode_batch import EncodedBatch, encode_batch
from kzn.wire.limits import Limits

LIMITS = Limits()
TOTALS = Totals(
    seen=Counts(100, 2**40),
    missed={"map_full": Counts(3, 4000), "parse": Counts(1, 20)},
    ignored={"loopback": Counts(7, 700)},
)


def flows(packets: int = 3, size: int = 4) -> Flows:
    return Flows(
        addresses=np.arange(32, dtype=np.uint8).reshape(2, 16),
        src=np.array([0], np.uint32),
        dst=np.array([1], np.uint32),
        src_port=np.array([0], np.uint16),
        dst_port=np.array([443], np.uint16),
        protocol=np.array([6], np.uint8),
        flags=np.array([1], np.uint8),
        packets=np.array([packets], np.uint64),
        bytes=np.array([size], np.uint64),
    )


def encoded(**other: object) -> EncodedBatch:
    return replace(encode_batch(Batch(9, 11_000, 1_000, flows(), TOTALS)), **other)  # type: ignore[arg-type]


def reason_of(batch: EncodedBatch, limits: Limits = LIMITS) -> str:
    with pytest.raises(WireError) as caught:
        decode_batch(batch, limits)
    return caught.value.reason


def test_sequence_ages_and_totals_survive_a_round_trip() -> None:
    back = decode_batch(encoded(), LIMITS)
    assert (back.sequence, back.opened_ms_ago, back.closed_ms_ago) == (9, 11_000, 1_000)
    assert back.totals == TOTALS


def test_counts_of_zero_are_not_sent() -> None:
    empty = Totals(missed={"map_full": Counts()})
    batch = encode_batch(Batch(1, 0, 0, Flows.empty(), empty))
    assert batch.totals == b""
    assert decode_batch(batch, LIMITS).totals == Totals()


def test_an_aged_batch_is_older_and_otherwise_the_same() -> None:
    back = decode_batch(encoded().aged_by(2_500), LIMITS)
    assert (back.opened_ms_ago, back.closed_ms_ago) == (13_500, 3_500)
    assert len(back.flows) == 1


def test_counts_of_an_unknown_reason_become_other() -> None:
    newer = Totals(missed={"flux": Counts(1, 2), "warp": Counts(10, 20), "busy": Counts(5, 5)})
    batch = encode_batch(Batch(1, 0, 0, Flows.empty(), newer))
    assert decode_batch(batch, LIMITS).totals.missed == {
        "other": Counts(11, 22),
        "busy": Counts(5, 5),
    }


def test_more_flows_or_addresses_than_the_limit_are_refused() -> None:
    assert decode_batch(encoded(), Limits(max_flows=1, max_addresses=2))
    assert reason_of(encoded(), Limits(max_flows=0)) == "flows_limit"
    assert reason_of(encoded(), Limits(max_addresses=1)) == "addresses_limit"


@pytest.mark.parametrize(("opened", "closed"), [(1, 2), (2**63, 0), (367 * 24 * 3600 * 1000, 0)])
def test_impossible_ages_are_refused(opened: int, closed: int) -> None:
    assert reason_of(encoded(opened_ms_ago=opened, closed_ms_ago=closed)) == "age"


@pytest.mark.parametrize("counts", [(2**60, 0), (0, 2**60), (2**64 - 1, 2**64 - 1)])
def test_counts_that_would_overflow_sums_are_refused(counts: tuple[int, int]) -> None:
    batch = encode_batch(Batch(1, 0, 0, flows(*counts), Totals()))
    assert reason_of(batch) == "counts_range"
    batch = encode_batch(Batch(1, 0, 0, Flows.empty(), Totals(seen=Counts(*counts))))
    assert reason_of(batch) == "counts_range"


@pytest.mark.parametrize(
    "data",
    [
        b"\xff",
        b"\x0a\x00" * 5_000,
        kzn_pb2.Totals(total=[kzn_pb2.Total(kind=9, reason="busy", packets=1)]).SerializeToString(),  # type: ignore[arg-type]
        kzn_pb2.Totals(total=[kzn_pb2.Total(kind="KIND_MISSED", reason='"\n')]).SerializeToString(),
        kzn_pb2.Totals(total=[kzn_pb2.Total(kind="KIND_MISSED")]).SerializeToString(),
    ],
    ids=["garbage", "too long", "unknown kind", "reason that is not a label", "no reason"],
)
def test_invalid_totals_are_refused(data: bytes) -> None:
    assert reason_of(encoded(totals=data)) == "totals"
