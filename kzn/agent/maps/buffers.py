"""Reads a buffer's flows and totals, summed over the CPUs, and clears them; copies endpoints.

In: a `MapSet` and a buffer number. Out: `Flows`, `Totals`: exact for a quiet buffer; of the active
one they may miss packets that are accounted meanwhile. Never: a switch of buffers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kzn.agent.maps.columns import to_flows
from kzn.agent.maps.input_devices import name_senders
from kzn.agent.maps.mapset import MapSet
from kzn.agent.maps.rows import ROW_WORDS, Rows, decode, merge
from kzn.agent.maps.senders import Senders
from kzn.agent.maps.structs import TOTALS_SIZE, unpack_counts
from kzn.columns.arrays import U64
from kzn.libbpf.library import possible_cpus
from kzn.libbpf.map_batch import copy, delete, read
from kzn.model.flows import FLOW_COUNTS, FLOW_KEY, Flows
from kzn.model.totals import INBOUND_IN_FLOWS, MAX_SLOTS, SLOTS, Counts, Totals

ENDPOINT = np.dtype([("address", "<u8", 2), ("port", "<u8")])
"""Key of the map `endpoints` (``struct endpoint`` in bpf/src/maps.bpf.h)."""
ENDPOINT_STATE = np.dtype("<u4")
"""Its value, KZN_ENDPOINT_*."""


_NOTHING_KNOWN = Senders()


@dataclass(frozen=True, slots=True)
class Reader:
    """The functions of this module, with what is known of pods' devices at each call."""

    senders: Callable[[], Senders]

    def read_flows(self, maps: MapSet, buffer: int) -> Flows:
        """As `read_flows`."""
        return read_flows(maps, buffer, self.senders())

    def read_totals(self, maps: MapSet, buffer: int) -> Totals:
        """As `read_totals`."""
        return read_totals(maps, buffer)

    def clear(self, maps: MapSet, buffer: int) -> None:
        """As `clear`."""
        clear(maps, buffer)


def read_flows(maps: MapSet, buffer: int, senders: Senders = _NOTHING_KNOWN) -> Flows:
    """All flows of a buffer."""
    rows, (in_hash, counts) = read_rows(maps, buffer), read_hash(maps, buffer)
    keys = np.concatenate((rows.keys, in_hash))
    named = name_senders(keys, senders)
    merged = merge(keys, np.concatenate((rows.counts, counts)))
    return to_flows(*merged, maps.far_end, named)


def read_rows(maps: MapSet, buffer: int) -> Rows:
    """The rows of a buffer, one for each flow and CPU, rarely more."""
    return decode(_rows(maps, buffer))


def read_hash(maps: MapSet, buffer: int) -> tuple[npt.NDArray[Any], U64]:
    """Keys (n,) and counts (n, 2) of the flows that found no row."""
    keys, counts = [], []
    for key, value in read(maps.flows(buffer), FLOW_KEY, FLOW_COUNTS):
        keys.append(key.copy())
        counts.append(value.view(np.uint64).reshape(-1, 2).copy())
    return np.concatenate(keys), np.concatenate(counts)


def read_totals(maps: MapSet, buffer: int) -> Totals:
    """The totals of a buffer."""
    raw = maps.totals.read(buffer, TOTALS_SIZE * possible_cpus())
    per_cpu = np.frombuffer(raw, np.uint64).reshape(-1, MAX_SLOTS, 2).copy()
    per_cpu[:, 0].T[:] = unpack_counts(per_cpu[:, 0, 0], per_cpu[:, 0, 1])
    rows = [Counts(int(packets), int(size)) for packets, size in per_cpu.sum(axis=0)]
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
    """Empty the rows, the hash and the totals of a quiet buffer."""
    _rows(maps, buffer, writable=True).fill(0)
    keys, _ = read_hash(maps, buffer)
    delete(maps.flows(buffer), keys)
    maps.totals.write(buffer, bytes(TOTALS_SIZE * possible_cpus()))


def _rows(maps: MapSet, buffer: int, *, writable: bool = False) -> U64:
    """A buffer's rows as (places, 8) words, shared with the kernel.

    Not kept, because the pages count as the agent's memory as long as they are mapped.
    """
    view = maps.rows(buffer, writable=writable)
    return np.frombuffer(view, np.uint64).reshape(-1, ROW_WORDS)


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
