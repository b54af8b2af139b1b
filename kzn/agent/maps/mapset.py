"""One set of a probe's maps, by descriptor: which buffer is active, and the agent's memory.

A set is one epoch. Pinned or not makes no difference here. What is in the buffers is read in
buffers.py, so that a probe is loaded before numpy is (main.py says why).
"""

import os
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from threading import Lock
from types import TracebackType
from typing import Self

from kzn.agent.maps.structs import (
    CONTROL_SIZE,
    COUNTS_SIZE,
    KEY_SIZES,
    STATE_SIZE,
    TOTALS_SIZE,
    Control,
    SpoolState,
)
from kzn.libbpf.maps import Map, create_array
from kzn.probes.attach import BUFFERS, MAPS


@cache
def fence_map() -> Map:
    """What goes into every `fence`; its contents are nobody's.

    Made once and kept: to make a map takes CAP_BPF, which a running agent has not.
    """
    return create_array("kzn_fence", 4)


class MapSet:
    """The maps of one epoch; owns their descriptors."""

    def __init__(self, fds: Mapping[str, int]) -> None:
        self._maps = {name: Map(fds[name], name) for name in MAPS}
        self._control_lock = Lock()  # uplinks change while a worker thread flips

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
        for owned in self._maps.values():
            os.close(owned.fd)
        self._maps = {}

    def fds(self) -> dict[str, int]:
        """The descriptors by map name."""
        return {name: owned.fd for name, owned in self._maps.items()}

    def layout_fits(self) -> bool:
        """Whether keys and values have the sizes that this kzn reads."""
        sizes = {name: owned.info() for name, owned in self._maps.items()}
        return (
            all(sizes[name].key_size in KEY_SIZES for name in BUFFERS)
            and all(sizes[name].value_size == COUNTS_SIZE for name in BUFFERS)
            and sizes["totals"].value_size == TOTALS_SIZE
            and sizes["control"].value_size == CONTROL_SIZE
            and sizes["spool"].value_size == STATE_SIZE
        )

    def flows(self, buffer: int) -> Map:
        """The hash of a buffer."""
        return self._maps[BUFFERS[buffer]]

    @property
    def totals(self) -> Map:
        """The books of both buffers."""
        return self._maps["totals"]

    def capacity(self) -> int:
        """How many flows a buffer holds."""
        return self._maps["flows_0"].info().max_entries

    def state(self) -> SpoolState:
        """The agent's memory."""
        return SpoolState.unpack(self._maps["spool"].read(0, STATE_SIZE))

    def write_state(self, state: SpoolState) -> None:
        """Replace the agent's memory, in one call: it is never seen half written."""
        self._maps["spool"].write(0, state.pack())

    def active(self) -> int:
        """Which buffer packets go to."""
        return self._control().active

    def set_active(self, buffer: int) -> None:
        """Send packets to ``buffer`` from now on; programs that run may still use the other."""
        with self._control_lock:
            self._write(replace(self._control(), active=buffer))

    def mark_drained(self) -> None:
        """Tell the programs that somebody is here who will drain them."""
        with self._control_lock:
            self._write(self._control())

    def set_uplinks(self, uplinks: tuple[int, ...], *, skip_inbound: bool) -> None:
        """Which interfaces lead off this node, by index; none when that is not certain."""
        with self._control_lock:
            self._write(replace(self._control(), uplinks=uplinks, skip_inbound=skip_inbound))

    def _control(self) -> Control:
        return Control.unpack(self._maps["control"].read(0, CONTROL_SIZE))

    def _write(self, control: Control) -> None:
        self._maps["control"].write(0, control.pack())

    def switch_and_wait(self, buffer: int) -> None:
        """Send packets to ``buffer`` and wait until no program still adds to the other one.

        Replacing the inner map of a map of maps from user space waits for running programs
        (kernel/bpf/syscall.c: maybe_wait_bpf_programs); that is what `fence` is for.
        """
        self.set_active(buffer)
        self._maps["fence"].write_fd(0, fence_map().fd)
