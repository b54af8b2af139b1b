"""The kernel is the spool: batches are cut from the buffers and cleared only when acknowledged.

In: the maps of one epoch. Out: the `Batch` under way. Never: a second batch before the first is
acknowledged; the other buffer goes on accumulating meanwhile.

Every step is written to `spool` before it is done, so that an agent killed at any point goes on
where it stopped: a batch that was cut is cut under the same number with the same content, a
batch that was acknowledged is cleared and never sent again.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

from kzn.agent.maps import buffers
from kzn.agent.maps.structs import Phase, SpoolState, boottime_ns
from kzn.model.batch import Batch
from kzn.model.flows import Flows
from kzn.model.totals import Counts, Totals

NS_PER_MS = 1_000_000


class SpoolMaps(Protocol):
    """What `kzn.agent.maps.mapset.MapSet` does for a spool."""

    def state(self) -> SpoolState: ...
    def write_state(self, state: SpoolState) -> None: ...
    def active(self) -> int: ...
    def set_active(self, buffer: int) -> None: ...
    def switch_and_wait(self, buffer: int) -> None: ...
    def mark_drained(self) -> None: ...


class BufferAccess(Protocol):
    """What `kzn.agent.maps.buffers` does with the maps."""

    def read_flows(self, maps: Any, buffer: int) -> Flows: ...
    def read_totals(self, maps: Any, buffer: int) -> Totals: ...
    def clear(self, maps: Any, buffer: int) -> None: ...


class Spool:
    """The batches of one map set, one at a time."""

    def __init__(
        self,
        maps: SpoolMaps,
        clock: Callable[[], int] = boottime_ns,
        contents: BufferAccess = buffers,
    ) -> None:
        self._maps = maps
        self._clock = clock
        self._contents = contents
        self._quiet = 0  # the sequence whose buffer no program adds to any more
        self.mismatches = 0
        """Batches whose flows did not add up to their totals; not 0 means a defect of kzn."""

    @property
    def epoch(self) -> int:
        """The number of this map set."""
        return self._maps.state().epoch

    @property
    def under_way(self) -> bool:
        """A batch was cut and is not acknowledged, perhaps by an agent before this one."""
        return self._maps.state().phase is Phase.CUT

    @property
    def server(self) -> int:
        """The ledger that the batch under way was first sent to, 0 for none."""
        return self._maps.state().server

    def sending_to(self, server: int) -> None:
        """Remember, before a byte of it is sent, whose ledger may have the batch under way."""
        state = self._maps.state()
        if state.server != server:
            self._maps.write_state(replace(state, server=server))

    def mark_drained(self) -> None:
        """Nobody can drain while the server is away; somebody is here all the same."""
        self._maps.mark_drained()

    def cut(self) -> Batch:
        """The batch that is under way, or a new one: all that was counted since the last cut."""
        state = self._finish_clearing(self._maps.state())
        if state.phase is Phase.IDLE:
            state = self._begin(state)
        if self._quiet != state.sequence:
            # Also when another process flipped before: it may have died before it had waited.
            self._maps.switch_and_wait(1 - state.buffer)
            self._quiet = state.sequence
        return self._batch(state)

    def start_batch(self) -> bool:
        """Begin a batch here and now, without waiting for programs that still add to it.

        False while one is under way: there is no third buffer. `cut` gives it, whenever.
        """
        state = self._finish_clearing(self._maps.state())
        if state.phase is not Phase.IDLE:
            return False
        self._maps.set_active(1 - self._begin(state).buffer)
        return True

    def acknowledge(self, sequence: int) -> None:
        """The batch of that number has been applied: clear its buffer."""
        state = self._maps.state()
        if state.phase is not Phase.CUT or state.sequence != sequence:
            return
        state = replace(state, phase=Phase.ACKNOWLEDGED)
        self._maps.write_state(state)
        self._finish_clearing(state)

    def _begin(self, state: SpoolState) -> SpoolState:
        now, buffer = self._clock(), self._maps.active()
        closed, opened = list(state.closed_ns), list(state.opened_ns)
        closed[buffer], opened[1 - buffer] = now, now
        state = replace(
            state,
            phase=Phase.CUT,
            buffer=buffer,
            sequence=state.sequence + 1,
            server=0,
            opened_ns=(opened[0], opened[1]),
            closed_ns=(closed[0], closed[1]),
        )
        self._maps.write_state(state)
        return state

    def _finish_clearing(self, state: SpoolState) -> SpoolState:
        if state.phase is not Phase.ACKNOWLEDGED:
            return state
        self._contents.clear(self._maps, state.buffer)
        state = replace(state, phase=Phase.IDLE)
        self._maps.write_state(state)
        return state

    def _batch(self, state: SpoolState) -> Batch:
        flows = self._contents.read_flows(self._maps, state.buffer)
        totals = self._contents.read_totals(self._maps, state.buffer)
        inside = Counts(int(flows.packets.sum()), int(flows.bytes.sum()))
        if inside != totals.accounted:
            self.mismatches += 1
        closed_ago, opened_ago = (
            max(0, self._clock() - since[state.buffer]) // NS_PER_MS
            for since in (state.closed_ns, state.opened_ns)
        )
        return Batch(
            sequence=state.sequence,
            # A clock that went back (a time namespace, a restored machine) must not make a batch
            # that no server can make sense of: it would never be cleared.
            opened_ms_ago=max(opened_ago, closed_ago),
            closed_ms_ago=closed_ago,
            flows=flows,
            totals=totals,
        )
