"""Reads a buffer's flows by key and CPU, for `kzn inspect-map`.

The agent reads the sums over the CPUs (maps/buffers.py).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kzn.agent.maps.buffers import read_hash, read_rows
from kzn.agent.maps.columns import to_flows
from kzn.agent.maps.input_devices import name_senders
from kzn.agent.maps.mapset import MapSet
from kzn.agent.maps.rows import distinct_keys, join_keys
from kzn.agent.maps.senders import Senders
from kzn.columns.arrays import I64, U64
from kzn.model.flows import Flows

ANY_CPU = -1
"""The CPU of what is in the hash, which all CPUs share."""


@dataclass(frozen=True, slots=True, eq=False)
class PerCpuEntries:
    """Flows: ``keys`` (n,), and m parts of them, one for each row and each entry of the hash.

    ``row`` (m,) is the number of the key, ascending; ``cpu`` (m,) may be `ANY_CPU`; ``counts``
    (m, 2) are packets and bytes. Of the m parts, ``in_hash`` are in the hash.
    """

    keys: npt.NDArray[Any]
    row: I64
    cpu: I64
    counts: U64
    in_hash: int

    @property
    def in_rows(self) -> int:
        """How many parts are rows."""
        return len(self.row) - self.in_hash

    def flows(self) -> Flows:
        """The sums over the CPUs, in the order of the keys."""
        folded = np.zeros((len(self.keys), 2), np.uint64)
        np.add.at(folded, self.row, self.counts)
        return to_flows(self.keys, folded)

    def per_cpu(self, key: int) -> list[tuple[int, int, int]]:
        """(CPU, packets, bytes) of the key with this number."""
        first, last = np.searchsorted(self.row, [key, key + 1])
        return [
            (int(self.cpu[i]), int(self.counts[i, 0]), int(self.counts[i, 1]))
            for i in range(int(first), int(last))
        ]


def read_entries(maps: MapSet, buffer: int) -> PerCpuEntries:
    """All flows of a buffer; approximate while programs add to it."""
    rows, (keys, counts) = read_rows(maps, buffer), read_hash(maps, buffer)
    every = join_keys((rows.keys, keys))
    name_senders(every, Senders())
    first, index = distinct_keys(every)
    order = np.argsort(index, kind="stable")
    cpus = np.concatenate((rows.cpu.astype(np.int64), np.full(len(keys), ANY_CPU)))
    return PerCpuEntries(
        every[first],
        index[order],
        cpus[order],
        np.concatenate((rows.counts, counts))[order],
        len(keys),
    )
