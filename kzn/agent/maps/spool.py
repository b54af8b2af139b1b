"""Cuts batches from the kernel's buffers, and clears a buffer once its batch is acknowledged.

In: the maps of one epoch. Out: the `Batch` under way. Never: a second batch before the first is
acknowledged; packets go to the other buffer meanwhile.

The phase is written to the pinned `spool` map before each step, so that an agent that was killed
continues there:

    phase         the buffer cut last           next step                 after a restart
    IDLE          is empty                      cut: switch buffers       the same
    CUT           holds the batch under way     send until acknowledged   same number and content
    ACKNOWLEDGED  is applied by the server      clear it, then IDLE       clear it, never send it
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, Protocol

from kzn.agent.maps import buffers
from kzn.agent.maps.structs import Phase, SpoolState, boottime_ns
from kzn.model.batch import Batch
from kzn.model.flows import Flows
from kzn.model.totals import Counts, Totals

NS_PER_MS = 1_000_000


class SpoolMaps(Protocol):
    """The methods of `kzn.agent.maps.mapset.MapSet` that a spool uses."""

    def state(self) -> SpoolState: ...
    def write_state(self, state: SpoolState) -> None: ...
    def active(self) -> int: ...
    def set_active(self, buffer: int) -> None: ...
    def switch_and_wait(self, buffer: int) -> None: ...
    def mark_drained(self) -> None: ...


class BufferAccess(Protocol):
    """The functions of `kzn.agent.maps.buffers`."""

    def read_flows(self, maps: Any, buffer: int) -> Flows: ...
    def read_totals(self, maps: Any, buffer: int) -> Totals: ...
    def clear(self, maps: Any, buffer: int) -> None: ...
    def count_entries(self, maps: Any, buffer: int) -> object: ...


class Spool:
    """The batches of one map set, one at a time; ``around_cut`` is entered during each `cut`."""

    def __init__(
        self,
        maps: SpoolMaps,
        clock: Callable[[], int] = boottime_ns,
        access: BufferAccess = buffers,
        around_cut: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._maps = maps
        self._clock = clock
        self._access = access
        self._around_cut = around_cut
        self._quiet = 0  # sequence of the batch that no running program adds to any more
        self._applied = 0  # sequence of the batch that the server applied last
        self.mismatches = 0
        """Batches whose flows did not add up to their totals; more than 0 is a defect of kzn."""

    @property
    def epoch(self) -> int:
        """The number of this map set."""
        return self._maps.state().epoch

    @property
    def under_way(self) -> bool:
        """Whether a batch is cut and not acknowledged, perhaps cut by an earlier agent."""
        return self._maps.state().phase is Phase.CUT

    @property
    def server(self) -> int:
        """The server instance that the batch under way was first sent to; 0 for none."""
        return self._maps.state().server

    def sending_to(self, server: int) -> None:
        """Record the server instance before the first byte of the batch is sent to it."""
        state = self._maps.state()
        if state.server != server:
            self._maps.write_state(replace(state, server=server))

    def look_at_waiting(self) -> None:
        """Count what the active buffer has while a batch waits: it is not cut before that went."""
        state = self._maps.state()
        if state.phase is Phase.CUT:
            self._access.count_entries(self._maps, 1 - state.buffer)

    def mark_drained(self) -> None:
        """Keep the programs from going dormant while no batch can be delivered."""
        self._maps.mark_drained()

    def cut(self) -> Batch:
        """The batch under way, or else a new one: all packets accounted since the last cut."""
        with self._around_cut():
            state = self._finish_clearing(self._maps.state())
            if state.phase is Phase.CUT and state.sequence == self._applied:
                state = self._acknowledge(state)  # this failed before: see `acknowledge`
            if state.phase is Phase.IDLE:
                state = self._begin(state)
            if self._quiet != state.sequence:
                # Also if another process switched: it may have been killed before it waited.
                self._maps.switch_and_wait(1 - state.buffer)
                self._quiet = state.sequence
            return self._batch(state)

    def finish_clearing(self) -> None:
        """Clear the buffer of an acknowledged batch now, if an earlier agent did not."""
        self._finish_clearing(self._maps.state())

    def acknowledge(self, sequence: int) -> None:
        """Clear the buffer of the batch with this number, which the server has applied.

        After a KernelError the next `cut` tries again first, and does not return the batch again.
        """
        self._applied = sequence
        state = self._maps.state()
        if state.phase is Phase.CUT and state.sequence == sequence:
            self._acknowledge(state)

    def _acknowledge(self, state: SpoolState) -> SpoolState:
        state = replace(state, phase=Phase.ACKNOWLEDGED)
        self._maps.write_state(state)
        return self._finish_clearing(state)

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
        self._access.clear(self._maps, state.buffer)
        state = replace(state, phase=Phase.IDLE)
        self._maps.write_state(state)
        return state

    def _batch(self, state: SpoolState) -> Batch:
        flows = self._access.read_flows(self._maps, state.buffer)
        totals = self._access.read_totals(self._maps, state.buffer)
        in_flows = Counts(int(flows.packets.sum()), int(flows.bytes.sum()))
        if in_flows != totals.accounted:
            self.mismatches += 1
        closed_ago, opened_ago = (
            max(0, self._clock() - since[state.buffer]) // NS_PER_MS
            for since in (state.closed_ns, state.opened_ns)
        )
        return Batch(
            sequence=state.sequence,
            # A clock that went back (a time namespace, a restored machine) must not make a batch
            # that every server refuses: it would never be cleared.
            opened_ms_ago=max(opened_ago, closed_ago),
            closed_ms_ago=closed_ago,
            flows=flows,
            totals=totals,
        )
