"""Encode a batch once; each retry sends the same encoded batch with greater ages.

In: a `Batch`. Out: an `EncodedBatch`; `EncodedBatch.aged_by` adapts it for a later try. The
server's side is decode_batch.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from kzn.errors import WireError
from kzn.model.batch import Batch
from kzn.model.totals import Counts, Totals
from kzn.wire import columns, kzn_pb2
from kzn.wire.columns import Columns
from kzn.wire.compression import Compression
from kzn.wire.limits import MAX_AGE_MS, Limits


@dataclass(frozen=True, slots=True)
class EncodedBatch:
    """The fields of FlowBatch; ``totals`` is a Totals message."""

    sequence: int
    opened_ms_ago: int
    closed_ms_ago: int
    columns: Columns
    totals: bytes

    def aged_by(self, milliseconds: int) -> "EncodedBatch":
        """The same batch, sent that much later; ages stop at MAX_AGE_MS."""
        return replace(
            self,
            opened_ms_ago=min(self.opened_ms_ago + milliseconds, MAX_AGE_MS),
            closed_ms_ago=min(self.closed_ms_ago + milliseconds, MAX_AGE_MS),
        )


def encode_batch(batch: Batch, compression: Compression = Compression.ZLIB) -> EncodedBatch:
    """The encoded batch; the order of flows and addresses is not kept."""
    return EncodedBatch(
        sequence=batch.sequence,
        opened_ms_ago=batch.opened_ms_ago,
        closed_ms_ago=batch.closed_ms_ago,
        columns=columns.pack(batch.flows, compression),
        totals=_encode_totals(batch.totals),
    )


def check_limits(declared: Columns, limits: Limits) -> None:
    """WireError if a batch has more flows or addresses than ``limits`` allow."""
    addresses = declared.ipv4 + declared.ipv6
    if declared.flows > limits.max_flows:
        raise WireError(
            f"the batch has {declared.flows} flows, the limit is {limits.max_flows}",
            reason="flows_limit",
        )
    if addresses > limits.max_addresses:
        raise WireError(
            f"the batch has {addresses} addresses, the limit is {limits.max_addresses}",
            reason="addresses_limit",
        )


def _encode_totals(totals: Totals) -> bytes:
    message = kzn_pb2.Totals()
    rows: list[tuple[kzn_pb2.Total.Kind, Mapping[str, Counts]]] = [
        (kzn_pb2.Total.KIND_SEEN, {"": totals.seen}),
        (kzn_pb2.Total.KIND_MISSED, totals.missed),
        (kzn_pb2.Total.KIND_IGNORED, totals.ignored),
    ]
    for kind, by_reason in rows:
        for reason, counts in by_reason.items():
            if any(counts):
                message.total.add(
                    kind=kind, reason=reason, packets=counts.packets, bytes=counts.bytes
                )
    return message.SerializeToString()
