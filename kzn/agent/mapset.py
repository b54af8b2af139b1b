"""One set of a probe's maps: its two buffers and their books, by descriptor.

A set is one epoch. Pinned or not makes no difference here.
"""

import os
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from kzn.agent.control import (
    CONTROL_SIZE,
    STATE_SIZE,
    SpoolState,
    active_buffer,
    pack_control,
)
from kzn.libbpf.door import possible_cpus
from kzn.libbpf.maps import Map, create_array
from kzn.model.flows import FLOW_COUNTS, FLOW_KEY
from kzn.model.totals import MAX_SLOTS, SLOTS, Counts, Totals
from kzn.probes.attach import BUFFERS, MAPS

_TOTALS_BYTES = MAX_SLOTS * FLOW_COUNTS.itemsize


class MapSet:
    """The maps of one epoch; owns their descriptors."""

    def __init__(self, fds: Mapping[str, int]) -> None:
        self._maps = {name: Map(fds[name], name) for name in MAPS}
        self._inner: Map | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the descriptors; pinned maps live on."""
        for owned in [*self._maps.values(), *([self._inner] if self._inner else [])]:
            os.close(owned.fd)
        self._maps, self._inner = {}, None

    def fds(self) -> dict[str, int]:
        """The descriptors by map name."""
        return {name: owned.fd for name, owned in self._maps.items()}

    def layout_fits(self) -> bool:
        """Whether keys and values have the sizes that this kzn reads."""
        sizes = {name: owned.info() for name, owned in self._maps.items()}
        return (
            all(sizes[name].key_size == FLOW_KEY.itemsize for name in BUFFERS)
            and all(sizes[name].value_size == FLOW_COUNTS.itemsize for name in BUFFERS)
            and sizes["totals"].value_size == _TOTALS_BYTES
            and sizes["control"].value_size == CONTROL_SIZE
            and sizes["spool"].value_size == STATE_SIZE
        )

    def capacity(self) -> int:
        """How many flows a buffer holds."""
        return self._maps["flows_0"].info().max_entries

    def state(self) -> SpoolState:
        """The agent's memory."""
        return SpoolState.unpack(self._maps["spool"].read(0, STATE_SIZE))

    def remember(self, state: SpoolState) -> None:
        """Replace the agent's memory, in one call: it is never seen half written."""
        self._maps["spool"].write(0, state.pack())

    def active(self) -> int:
        """Which buffer packets go to."""
        return active_buffer(self._maps["control"].read(0, CONTROL_SIZE))

    def steer(self, buffer: int) -> None:
        """Send packets to ``buffer`` from now on; programs that run may still use the other."""
        self._maps["control"].write(0, pack_control(buffer))

    def activate(self, buffer: int) -> None:
        """Send packets to ``buffer`` and wait until no program still adds to the other one.

        Replacing the inner map of a map of maps from user space waits for running programs
        (kernel/bpf/syscall.c: maybe_wait_bpf_programs); that is what `fence` is for.
        """
        self.steer(buffer)
        if self._inner is None:
            self._inner = create_array("kzn_fence", 4)
        self._maps["fence"].write_fd(0, self._inner.fd)

    def read(self, buffer: int) -> tuple[npt.NDArray[Any], npt.NDArray[np.uint64]]:
        """Every flow of a buffer with the CPUs folded: keys (m,), and (m, 2) packets and bytes.

        Exact when the buffer is quiet; of the active one it is a picture that may miss flows.
        """
        keys, counts = [], []
        for key, value in self._maps[BUFFERS[buffer]].batches(FLOW_KEY, FLOW_COUNTS):
            keys.append(key.copy())
            per_cpu = value.view(np.uint64).reshape(*value.shape, 2)
            counts.append(per_cpu.sum(axis=1, dtype=np.uint64))
        return np.concatenate(keys), np.concatenate(counts)

    def totals(self, buffer: int) -> Totals:
        """The books of a buffer, CPUs folded."""
        raw = self._maps["totals"].read(buffer, _TOTALS_BYTES * possible_cpus())
        folded = np.frombuffer(raw, np.uint64).reshape(-1, MAX_SLOTS, 2).sum(axis=0)
        rows = [Counts(int(packets), int(size)) for packets, size in folded]
        return Totals(
            seen=rows[0],
            missed=_by_reason(rows, "missed"),
            ignored=_by_reason(rows, "ignored"),
        )

    def clear(self, buffer: int) -> None:
        """Empty a quiet buffer and its books."""
        for _ in self._maps[BUFFERS[buffer]].batches(FLOW_KEY, FLOW_COUNTS, delete=True):
            pass
        self._maps["totals"].write(buffer, bytes(_TOTALS_BYTES * possible_cpus()))


def _by_reason(rows: list[Counts], kind: str) -> dict[str, Counts]:
    """The rows of a kind by reason; a slot that a newer object added is "unknown", not lost."""
    found = {
        slot.reason: row
        for slot, row in zip(SLOTS, rows, strict=False)
        if slot.kind == kind and row.packets
    }
    unknown = [row for row in rows[len(SLOTS) :] if row.packets]
    if kind == "missed" and unknown:
        found["unknown"] = Counts(*map(sum, zip(*unknown, strict=True)))
    return found
