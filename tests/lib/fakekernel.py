"""The kernel maps of one node as Python objects, and the agent's accesses to them."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kzn.agent.maps.structs import Phase, SpoolState
from kzn.model.flows import Flows
from kzn.model.ip import pack
from kzn.model.totals import Counts, Totals

Pair = tuple[str, str]


class Killed(BaseException):
    """SIGKILL of an agent between two accesses to the maps."""


@dataclass(slots=True)
class FakeKernel:
    """Both buffers, which of them is active, and the agent's pinned state."""

    epoch: int
    active: int = 0
    sent: Counts = Counts()
    flows: list[dict[Pair, Counts]] = field(default_factory=lambda: [{}, {}])
    missed: list[Counts] = field(default_factory=lambda: [Counts(), Counts()])
    seen: list[Counts] = field(default_factory=lambda: [Counts(), Counts()])
    late: list[tuple[int, Pair, Counts]] = field(default_factory=list)
    state: SpoolState = field(init=False)

    def __post_init__(self) -> None:
        self.state = SpoolState(
            Phase.IDLE, 0, self.epoch, 0, opened_ns=(0, 0), closed_ns=(0, 0), settings=bytes(32)
        )

    def account(self, pair: Pair, counts: Counts, *, late: bool = False) -> None:
        """Count a packet. ``late``: its program still runs when the buffers are switched."""
        self.sent = self.sent.plus(counts)
        if late:
            self.late.append((self.active, pair, counts))
        else:
            self._add(self.active, pair, counts)

    def fence(self) -> None:
        """Wait for running programs."""
        for buffer, pair, counts in self.late:
            self._add(buffer, pair, counts)
        self.late.clear()

    @property
    def left(self) -> bool:
        """True if a byte is not delivered yet."""
        return bool(self.late) or any(seen != Counts() for seen in self.seen)

    def _add(self, buffer: int, pair: Pair, counts: Counts) -> None:
        self.seen[buffer] = self.seen[buffer].plus(counts)
        if len(self.flows[buffer]) >= 8 and pair not in self.flows[buffer]:
            self.missed[buffer] = self.missed[buffer].plus(counts)
            return
        was = self.flows[buffer].get(pair, Counts())
        self.flows[buffer][pair] = was.plus(counts)


class FakeMaps:
    """`SpoolMaps` and `BufferAccess` of a spool; step ``left`` of all steps raises `Killed`."""

    def __init__(self, kernel: FakeKernel, left: int) -> None:
        self._kernel = kernel
        self._left = left
        self.looked: list[int] = []

    def fail_at(self, step: int) -> None:
        """Count the steps anew."""
        self._left = step

    def state(self) -> SpoolState:
        self._step()
        return SpoolState.unpack(self._kernel.state.pack())

    def write_state(self, state: SpoolState) -> None:
        self._step()
        self._kernel.state = SpoolState.unpack(state.pack())
        self._step()

    def active(self) -> int:
        return self._kernel.active

    def set_active(self, buffer: int) -> None:
        self._step()
        self._kernel.active = buffer
        self._step()

    def switch_and_wait(self, buffer: int) -> None:
        self._step()
        self._kernel.active = buffer
        self._step()
        self._kernel.fence()
        self._step()

    def mark_drained(self) -> None:
        """Programs of the fake never go dormant."""

    def read_flows(self, _maps: Any, buffer: int) -> Flows:
        self._step()
        return _flows(self._kernel.flows[buffer])

    def read_totals(self, _maps: Any, buffer: int) -> Totals:
        missed = self._kernel.missed[buffer]
        by_reason = {"map_full": missed} if missed != Counts() else {}
        return Totals(self._kernel.seen[buffer], missed=by_reason)

    def count_entries(self, _maps: Any, buffer: int) -> int:
        self.looked.append(buffer)
        return len(self._kernel.flows[buffer])

    def clear(self, _maps: Any, buffer: int) -> None:
        kernel = self._kernel
        for pair in list(kernel.flows[buffer])[::2]:
            self._step()
            del kernel.flows[buffer][pair]
        self._step()
        kernel.flows[buffer].clear()
        self._step()
        kernel.seen[buffer], kernel.missed[buffer] = Counts(), Counts()
        self._step()

    def _step(self) -> None:
        self._left -= 1
        if self._left == 0:
            raise Killed


def _flows(counted: dict[Pair, Counts]) -> Flows:
    names = sorted({name for pair in counted for name in pair})
    rows = {name: row for row, name in enumerate(names)}
    m = len(counted)
    return Flows(
        addresses=np.frombuffer(b"".join(map(pack, names)), np.uint8).reshape(-1, 16),
        src=np.array([rows[src] for src, _ in counted], np.uint32),
        dst=np.array([rows[dst] for _, dst in counted], np.uint32),
        src_port=np.zeros(m, np.uint16),
        dst_port=np.zeros(m, np.uint16),
        protocol=np.full(m, 6, np.uint8),
        flags=np.zeros(m, np.uint8),
        packets=np.array([counts.packets for counts in counted.values()], np.uint64),
        bytes=np.array([counts.bytes for counts in counted.values()], np.uint64),
    )
