"""The two small structs through which user space steers the maps (`bpf/src/flow.h`).

`Control` is read by every run of a program; `SpoolState` is the agent's own memory, kept beside
the maps so that it outlives the agent.
"""

import struct
import time
from dataclasses import dataclass
from enum import IntEnum

LAYOUT = 1
"""KZN_LAYOUT."""

_CONTROL = struct.Struct("<I4xQ")
_STATE = struct.Struct("<III4xQQ2Q2Q32s")

KEY_SIZE = 40
"""sizeof(struct flow_key); its fields are kzn.model.flows.FLOW_KEY."""
COUNTS_SIZE = 16
TOTALS_SIZE = 16 * COUNTS_SIZE
CONTROL_SIZE = _CONTROL.size
STATE_SIZE = _STATE.size


class Phase(IntEnum):
    """What is being done with the buffer that was cut last."""

    IDLE = 0
    """Nothing: it is empty."""
    CUT = 1
    """It holds a batch that is not acknowledged."""
    ACKNOWLEDGED = 2
    """Its batch is acknowledged; it is being cleared and must not be sent again."""


def pack_control(active: int) -> bytes:
    """A `struct control` that says: this buffer from now on, and it was just drained."""
    return _CONTROL.pack(active, 0)


def active_buffer(control: bytes) -> int:
    """Which buffer packets go to."""
    active: int = _CONTROL.unpack(control)[0]
    return active & 1


def boottime_ns() -> int:
    """CLOCK_BOOTTIME: monotonic, goes on in suspend, same for all processes of this boot."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


@dataclass(frozen=True, slots=True)
class SpoolState:
    """Which batch is under way; times are CLOCK_BOOTTIME nanoseconds, one for each buffer."""

    phase: Phase
    buffer: int
    epoch: int
    sequence: int
    opened_ns: tuple[int, int]
    closed_ns: tuple[int, int]
    settings: bytes
    layout: int = LAYOUT

    def pack(self) -> bytes:
        """The bytes of `struct spool_state`."""
        return _STATE.pack(
            self.layout,
            self.phase,
            self.buffer,
            self.epoch,
            self.sequence,
            *self.opened_ns,
            *self.closed_ns,
            self.settings,
        )

    @staticmethod
    def unpack(raw: bytes) -> "SpoolState":
        """From the bytes of `struct spool_state`; ValueError for a phase that does not exist."""
        layout, phase, buffer, epoch, sequence, o0, o1, c0, c1, settings = _STATE.unpack(raw)
        return SpoolState(
            phase=Phase(phase),
            buffer=buffer & 1,
            epoch=epoch,
            sequence=sequence,
            opened_ns=(o0, o1),
            closed_ns=(c0, c1),
            settings=settings,
            layout=layout,
        )
