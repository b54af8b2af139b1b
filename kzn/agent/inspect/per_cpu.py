"""Reads a flow hash by key and CPU, for `kzn inspect-map`.

The agent reads the sums over the CPUs (maps/buffers.py).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kzn.agent.maps.columns import to_flows
from kzn.columns.arrays import I64, U64
from kzn.libbpf.map_batch import read
from kzn.libbpf.maps import Map
from kzn.model.flows import FLOW_COUNTS, FLOW_KEY, Flows


@dataclass(frozen=True, slots=True, eq=False)
class PerCpuEntries:
    """Entries with packets: ``keys`` (n,), and m rows, one for each key and CPU with packets.

    ``row`` (m,) is the number of the key, ascending; ``counts`` (m, 2) are packets and bytes.
    ``present`` is the number of entries in the hash, with those that hold no packets now.
    """

    keys: npt.NDArray[Any]
    row: I64
    cpu: I64
    counts: U64
    present: int

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


def read_entries(source: Map) -> PerCpuEntries:
    """All entries of a flow hash; approximate while programs add to it."""
    keys, rows, cpus, counts = [], [], [], []
    known = present = 0
    for key, value in read(source, FLOW_KEY, FLOW_COUNTS):
        used = np.flatnonzero(value["packets"].any(axis=1))
        row, cpu = np.nonzero(value["packets"][used])
        kept = value[used[row], cpu]
        keys.append(key[used])
        rows.append(row + known)
        cpus.append(cpu)
        counts.append(np.stack((kept["packets"], kept["bytes"]), axis=1))
        known, present = known + len(used), present + len(key)
    return PerCpuEntries(
        np.concatenate(keys),
        np.concatenate(rows),
        np.concatenate(cpus),
        np.concatenate(counts),
        present,
    )
