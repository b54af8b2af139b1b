"""Reads a buffer's flows and totals, summed over the CPUs, and clears them; copies endpoints.

In: a `MapSet` and a buffer number. Out: `Flows`, `Totals`: exact for a quiet buffer; of the active
one they may miss packets that are accounted meanwhile. Never: a switch of buffers.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from kzn.agent.maps.columns import to_flows
from kzn.agent.maps.input_devices import name_senders
from kzn.agent.maps.mapset import MapSet
from kzn.agent.maps.rows import ROW_WORDS, Rows, decode, join_keys, merge
from kzn.agent.maps.senders import Senders
from kzn.agent.maps.structs import TOTALS_SIZE, unpack_counts
from kzn.columns.arrays import U64
from kzn.libbpf.library import possible_cpus
from kzn.libbpf.map_batch import copy, empty, read
from kzn.model.flows import FLOW_COUNTS, FLOW_KEY, Flows
from kzn.model.totals import INBOUND_IN_FLOWS, MAX_SLOTS, SLOTS, Counts, Totals

ENDPOINT = np.dtype([("address", "<u8", 2), ("port", "<u8")])
"""Key of the map `endpoints` (``struct endpoint`` in bpf/src/maps.bpf.h)."""
ENDPOINT_STATE = np.dtype("<u4")
"""Its value, KZN_ENDPOINT_*."""
_NOTHING_KNOWN = Senders()


@dataclass(frozen=True, slots=True)
class Entries:
    """How much of a buffer is in use: its rows, and the entries of its hash."""

    rows: int
    in_hash: int


@dataclass(frozen=True, slots=True)
class Reader:
    """The functions of this module, with what is known of pods' devices at each call.

    ``entries`` has what was in use of each buffer when it was last read or counted.
    """

    senders: Callable[[], Senders]
    entries: dict[int, Entries] = field(default_factory=dict)

    def read_flows(self, maps: MapSet, buffer: int) -> Flows:
        """As `read_flows`."""
        flows, self.entries[buffer] = _read(maps, buffer, self.senders())
        return flows

    def count_entries(self, maps: MapSet, buffer: int) -> Entries:
        """As `count_entries`."""
        self.entries[buffer] = count_entries(maps, buffer)
        return self.entries[buffer]

    def read_totals(self, maps: MapSet, buffer: int) -> Totals:
        """As `read_totals`."""
        return read_totals(maps, buffer)

    def clear(self, maps: MapSet, buffer: int) -> None:
        """As `clear`."""
        clear(maps, buffer)


def read_flows(maps: MapSet, buffer: int, senders: Senders = _NOTHING_KNOWN) -> Flows:
    """All flows of a buffer."""
    return _read(maps, buffer, senders)[0]


def count_entries(maps: MapSet, buffer: int) -> Entries:
    """How much of a buffer is in use, be it the active one."""
    rows = [np.count_nonzero(_words(view)[:, 0]) for view in maps.rows(buffer)]
    in_hash = [len(keys) for keys, _ in read(maps.flows(buffer), FLOW_KEY, _counts_of(maps))]
    return Entries(int(sum(rows)), sum(in_hash))


def _read(maps: MapSet, buffer: int, senders: Senders) -> tuple[Flows, Entries]:
    rows, (in_hash, counts) = read_rows(maps, buffer), read_hash(maps, buffer)
    keys = join_keys((rows.keys, in_hash))
    named = name_senders(keys, senders)
    merged = merge(keys, np.concatenate((rows.counts, counts)))
    return to_flows(*merged, maps.far_end, named), Entries(len(rows.keys), len(in_hash))


def read_rows(maps: MapSet, buffer: int) -> Rows:
    """The rows of a buffer, one for each flow and CPU, rarely more."""
    parts = [decode(_words(view)) for view in maps.rows(buffer)]
    parts = parts or [decode(np.zeros((0, ROW_WORDS), np.uint64))]
    return Rows(
        join_keys([part.keys for part in parts]),
        np.concatenate([part.counts for part in parts]),
        np.concatenate([part.cpu for part in parts]),
    )


def read_hash(maps: MapSet, buffer: int) -> tuple[npt.NDArray[Any], U64]:
    """Keys (n,) and counts (n, 2) of the flows that found no row; of all, if there are no rows."""
    keys, counts = [], []
    for key, value in read(maps.flows(buffer), FLOW_KEY, _counts_of(maps)):
        keys.append(join_keys((key,)))
        cpus = value.shape[1] if value.ndim == 2 else 1
        counts.append(value.view(np.uint64).reshape(-1, cpus, 2).sum(axis=1))
    found, sums = join_keys(keys), np.concatenate(counts)
    used = np.flatnonzero(sums[:, 0])  # before rows, entries without packets stayed
    return (found, sums) if len(used) == len(found) else (found[used], sums[used])


def read_totals(maps: MapSet, buffer: int) -> Totals:
    """The totals of a buffer."""
    raw = maps.totals.read(buffer, TOTALS_SIZE * possible_cpus())
    per_cpu = np.frombuffer(raw, np.uint64).reshape(-1, MAX_SLOTS, 2).copy()
    if maps.has_rows:
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
    """Empty the rows, the hash and the totals of a quiet buffer.

    All rows are written, since to look for the used ones takes as long again.
    """
    for view in maps.rows(buffer, writable=True):
        _words(view).fill(0)
    empty(maps.flows(buffer), FLOW_KEY, _counts_of(maps))
    maps.totals.write(buffer, bytes(TOTALS_SIZE * possible_cpus()))


def _counts_of(maps: MapSet) -> np.dtype[Any]:
    """A value of a hash: that of all CPUs, or one for each possible CPU."""
    return FLOW_COUNTS if maps.has_rows else np.dtype((FLOW_COUNTS, (possible_cpus(),)))


def _words(view: memoryview) -> U64:
    """Rows as (places, 8) words."""
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
