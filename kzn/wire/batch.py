"""A batch in the form that travels: what is sent again on every try, and read once.

`encode_batch` does the work once; `EncodedBatch.waited` makes the same batch older for a later
try. `decode_batch` is apart from reading the message, so that a batch that was applied before is
known by its sequence and never inflated.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from google.protobuf.message import DecodeError

from kzn.errors import WireError
from kzn.model.batch import Batch
from kzn.model.flows import Flows
from kzn.model.totals import SLOTS, Counts, Totals
from kzn.wire import columns, kzn_pb2
from kzn.wire.columns import Columns
from kzn.wire.limits import MAX_AGE_MS, MAX_SUM, MAX_TOTALS, Limits

OTHER = "other"
"""The reason under which counts of a reason that this kzn does not know are kept."""

_KNOWN = {(slot.kind, slot.reason) for slot in SLOTS}
_REASON = re.compile(r"[a-z][a-z0-9_]{0,63}")


@dataclass(frozen=True, slots=True)
class EncodedBatch:
    """The fields of FlowBatch; ``totals`` is a Totals message."""

    sequence: int
    opened_ms_ago: int
    closed_ms_ago: int
    columns: Columns
    totals: bytes

    def waited(self, milliseconds: int) -> "EncodedBatch":
        """The same batch, sent that much later; as old as a server believes at most."""
        return replace(
            self,
            opened_ms_ago=min(self.opened_ms_ago + milliseconds, MAX_AGE_MS),
            closed_ms_ago=min(self.closed_ms_ago + milliseconds, MAX_AGE_MS),
        )


def encode_batch(batch: Batch) -> EncodedBatch:
    """The batch as it travels; the order of its flows and addresses is not kept."""
    return EncodedBatch(
        sequence=batch.sequence,
        opened_ms_ago=batch.opened_ms_ago,
        closed_ms_ago=batch.closed_ms_ago,
        columns=columns.pack(batch.flows),
        totals=_encode_totals(batch.totals),
    )


def decode_batch(encoded: EncodedBatch, limits: Limits) -> Batch:
    """The batch behind what a peer sent; WireError where it lies or exceeds ``limits``."""
    _check_head(encoded, limits)
    flows = columns.unpack(encoded.columns)
    _check_sums(flows)
    return Batch(
        sequence=encoded.sequence,
        opened_ms_ago=encoded.opened_ms_ago,
        closed_ms_ago=encoded.closed_ms_ago,
        flows=flows,
        totals=_decode_totals(encoded.totals),
    )


def check_limits(declared: Columns, limits: Limits) -> None:
    """WireError when a batch has more flows or addresses than ``limits`` let through."""
    addresses = declared.ipv4 + declared.ipv6
    if declared.flows > limits.max_flows:
        raise WireError(
            f"{declared.flows} flows in a batch where at most {limits.max_flows} are taken",
            reason="flows_limit",
        )
    if addresses > limits.max_addresses:
        raise WireError(
            f"{addresses} addresses in a batch where at most {limits.max_addresses} are taken",
            reason="addresses_limit",
        )


def _check_head(encoded: EncodedBatch, limits: Limits) -> None:
    check_limits(encoded.columns, limits)
    if not encoded.closed_ms_ago <= encoded.opened_ms_ago <= MAX_AGE_MS:
        raise WireError(
            f"opened {encoded.opened_ms_ago} ms and closed {encoded.closed_ms_ago} ms ago",
            reason="age",
        )
    if len(encoded.totals) > MAX_TOTALS:
        raise WireError(
            f"totals of {len(encoded.totals)} bytes where at most {MAX_TOTALS} are taken",
            reason="totals",
        )


def _check_sums(flows: Flows) -> None:
    for name, column in (("packets", flows.packets), ("bytes", flows.bytes)):
        if not len(column) or int(column.max()) < MAX_SUM // len(column):
            continue
        if float(column.sum(dtype=np.float64)) >= MAX_SUM:
            raise WireError(f"the {name} of a batch exceed 2^60", reason="counts_range")


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


def _decode_totals(data: bytes) -> Totals:
    try:
        message = kzn_pb2.Totals.FromString(data)
    except DecodeError as error:
        raise WireError(f"totals: {error}", reason="totals") from error
    seen = Counts()
    others: dict[int, dict[str, Counts]] = {
        kzn_pb2.Total.KIND_MISSED: {},
        kzn_pb2.Total.KIND_IGNORED: {},
    }
    for row in message.total:
        counts = Counts(row.packets, row.bytes)
        if max(counts) >= MAX_SUM:
            raise WireError("a total exceeds 2^60", reason="counts_range")
        if row.kind == kzn_pb2.Total.KIND_SEEN:
            seen = seen.plus(counts)
        elif row.kind in others and _REASON.fullmatch(row.reason):
            if not any(counts):
                continue
            name = "missed" if row.kind == kzn_pb2.Total.KIND_MISSED else "ignored"
            reason = row.reason if (name, row.reason) in _KNOWN else OTHER
            known = others[row.kind]
            known[reason] = known.get(reason, Counts()).plus(counts)
        else:
            raise WireError(f"a total of kind {row.kind} for {row.reason!r}", reason="totals")
    return Totals(seen, others[kzn_pb2.Total.KIND_MISSED], others[kzn_pb2.Total.KIND_IGNORED])
