"""Reads a buffer's flows and totals, summed over the CPUs, and clears them; copies endpoints.

In: a `MapSet` and a buffer number. Out: `Flows`, `Totals`: exact for a quiet buffer; of the active
one they may miss packets that are accounted meanwhile. Never: a switch of buffers.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from kzn.agent.maps.columns import FarEnd, to_flows
from kzn.agent.maps.mapset import MapSet
from kzn.agent.maps.structs import TOTALS_SIZE
from kzn.columns.arrays import U64
from kzn.libbpf.library import possible_cpus
from kzn.libbpf.map_batch import copy, delete, read, zero
from kzn.model.flows import FLOW_COUNTS, FLOW_KEY, Flows
from kzn.model.totals import INBOUND_IN_FLOWS, MAX_SLOTS, SLOTS, Counts, Totals

ENDPOINT = np.dtype([("address", "<u8", 2), ("port", "<u8")])
"""Key of the map `endpoints` (``struct endpoint`` in bpf/src/account.bpf.h)."""
ENDPOINT_STATE = np.dtype("<u4")
"""Its value, KZN_ENDPOINT_*."""


def read_flows(maps: MapSet, buffer: int) -> Flows:
    """All flows of a buffer."""
    return fold_flows(read(maps.flows(buffer), FLOW_KEY, FLOW_COUNTS), maps.far_end)


def fold_flows(
    chunks: Iterable[tuple[npt.NDArray[Any], npt.NDArray[Any]]], far_end: FarEnd = lambda _: None
) -> Flows:
    """Sum chunks of keys (n,) and values (n, CPUs) over the CPUs; omits flows without packets."""
    keys, counts = [], []
    for key, value in chunks:
        folded = _fold(value)
        used = folded[:, 0] > 0
        keys.append(key[used])
        counts.append(folded[used])
    return to_flows(np.concatenate(keys), np.concatenate(counts), far_end)


def read_totals(maps: MapSet, buffer: int) -> Totals:
    """The totals of a buffer."""
    raw = maps.totals.read(buffer, TOTALS_SIZE * possible_cpus())
    folded = np.frombuffer(raw, np.uint64).reshape(-1, MAX_SLOTS, 2).sum(axis=0)
    rows = [Counts(int(packets), int(size)) for packets, size in folded]
    return Totals(
        seen=rows[0],
        missed=_by_reason(rows, "missed"),
        ignored=_by_reason(rows, "ignored"),
    )


def copy_endpoints(source: MapSet, target: MapSet) -> None:
    """Make one set know the endpoints of services that another one knows."""
    if target.endpoints.info().max_entries > 1:  # not with --ports none
        copy(source.endpoints, target.endpoints, ENDPOINT, ENDPOINT_STATE)


def clear(maps: MapSet, buffer: int) -> None:
    """Clear the flows and totals of a quiet buffer.

    Inserting an entry costs the kernel a hundred times what a lookup costs. So entries in use are
    zeroed and stay for the next interval. Entries unused since the last clear are deleted, and all
    entries when more than a quarter of the map is occupied.
    """
    flows, keys, used = maps.flows(buffer), [], []
    for key, value in read(flows, FLOW_KEY, FLOW_COUNTS):
        keys.append(key.copy())
        used.append(_fold(value)[:, 0] > 0)
    present, kept = np.concatenate(keys), np.concatenate(used)
    if len(present) > maps.capacity() // 4:
        kept[:] = False
    zero(flows, present[kept], FLOW_COUNTS)
    delete(flows, present[~kept])
    maps.totals.write(buffer, bytes(TOTALS_SIZE * possible_cpus()))


def _fold(values: npt.NDArray[Any]) -> U64:
    """Sum (m, CPUs) of `FLOW_COUNTS` to (m, 2) packets and bytes."""
    per_cpu: U64 = values.view(np.uint64).reshape(*values.shape, 2)
    folded: U64 = np.add.reduce(per_cpu, axis=1)
    return folded


def _by_reason(rows: list[Counts], kind: str) -> dict[str, Counts]:
    """The rows of a kind by reason; slots that a newer object added are summed as "unknown"."""
    found = {
        slot.reason: row
        for slot, row in zip(SLOTS, rows, strict=False)
        if slot.kind == kind and row.packets
    }
    unknown = [row for row in rows[len(SLOTS) : INBOUND_IN_FLOWS] if row.packets]
    if kind == "missed" and unknown:
        found["unknown"] = Counts(*map(sum, zip(*unknown, strict=True)))
    return found
