"""Snapshots of a node's maps, built from literals, for tests of `kzn inspect`."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from kzn.agent.inspect.per_cpu import PerCpuEntries
from kzn.agent.inspect.snapshot import Buffer, Snapshot
from kzn.libbpf.links import NetfilterLinkInfo
from kzn.model import ip
from kzn.model.flows import FLOW_KEY
from kzn.model.totals import Counts, Totals

SECOND = 10**9


class Key(NamedTuple):
    """A flow key in readable form; ``port`` is the destination's."""

    src: str
    dst: str
    port: int = 0
    protocol: int = 6
    flags: int = 0


def buffer(
    number: int,
    state: str,
    flows: Mapping[Key, Mapping[int, Counts]],
    *,
    opened: float = 0.0,
    until: float = 10.0,
) -> Buffer:
    """A buffer with the counts of each flow by CPU; times are in seconds since boot."""
    keys = np.array(
        [
            (
                np.frombuffer(ip.pack(key.src), np.uint8),
                np.frombuffer(ip.pack(key.dst), np.uint8),
                key.port,
                key.protocol,
                key.flags,
                0,
                0,
            )
            for key in flows
        ],
        FLOW_KEY,
    )
    rows = [
        (row, cpu, counts)
        for row, per_cpu in enumerate(flows.values())
        for cpu, counts in sorted(per_cpu.items())
    ]
    entries = PerCpuEntries(
        keys,
        np.array([row for row, _, _ in rows], np.int64),
        np.array([cpu for _, cpu, _ in rows], np.int64),
        np.array([counts for _, _, counts in rows], np.uint64).reshape(-1, 2),
        in_hash=0,
    )
    seen = Counts(
        sum(counts.packets for _, _, counts in rows), sum(counts.bytes for _, _, counts in rows)
    )
    return Buffer(
        number=number,
        state=state,
        opened_ns=int(opened * SECOND),
        seconds=until - opened,
        flows=entries.flows(),
        entries=entries,
        totals=Totals(seen=seen),
    )


def snapshot(active: Buffer, other: Buffer | None = None, *, taken: float = 10.0) -> Snapshot:
    """A snapshot of a map set, taken at a time in seconds since boot."""
    return Snapshot(
        name="postrouting",
        taken_ns=int(taken * SECOND),
        epoch=0xABC,
        sequence=1,
        capacity=100,
        row_capacity=256,
        links=(NetfilterLinkInfo(1, 7, "ipv4", 50, 4),),
        devices=(),
        buffers=(active, other or buffer(1 - active.number, "empty", {})),
    )
