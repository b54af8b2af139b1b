"""The two structs that user space writes for the programs and for itself (`bpf/src/flow.h`).

Every run of a program reads `Control`. `SpoolState` is the agent's state, pinned beside the maps so
that it outlives the agent.
"""

import struct
import time
from dataclasses import dataclass
from enum import IntEnum

LAYOUT = 1
"""KZN_LAYOUT."""
MAX_UPLINKS = 11
"""KZN_MAX_UPLINKS."""
TUNNEL = 1 << 31
"""KZN_TUNNEL: flag on the index of an uplink whose packets leave encapsulated by another one."""
ENCRYPTS = 1 << 30
"""KZN_ENCRYPTS: beside `TUNNEL`, on an uplink that encrypts them."""

_CONTROL = struct.Struct(f"<IIQI{MAX_UPLINKS}I")
_STATE = struct.Struct("<IIIIQQ2Q2Q32s")

KEY_SIZES = (36, 40)
"""sizeof(struct flow_key) and KZN_KEY_ALL; kzn.model.flows has the fields."""
COUNTS_SIZE = 16
TOTALS_SIZE = 16 * COUNTS_SIZE
CONTROL_SIZE = _CONTROL.size
STATE_SIZE = _STATE.size


class Phase(IntEnum):
    """State of the buffer that was cut last (spool.py has the table)."""

    IDLE = 0
    """It is empty."""
    CUT = 1
    """It holds a batch that is not acknowledged."""
    ACKNOWLEDGED = 2
    """Its batch is acknowledged: it is being cleared and must not be sent again."""


@dataclass(frozen=True, slots=True)
class Control:
    """`struct control`: the active buffer, the uplinks, and which traffic to skip.

    ``uplinks`` are interface indices, some with `TUNNEL`. None, or more than `MAX_UPLINKS`, means
    unknown: the programs then take no traffic to stay on the node.
    """

    active: int = 0
    uplinks: tuple[int, ...] = ()
    skip_inbound: bool = False

    def pack(self) -> bytes:
        """The bytes of `struct control`; 0 for the last drain restarts the dormancy timer."""
        known = self.uplinks if len(self.uplinks) <= MAX_UPLINKS else ()
        room = (*known, *[0] * (MAX_UPLINKS - len(known)))
        return _CONTROL.pack(self.active, len(known), 0, self.skip_inbound, *room)

    @staticmethod
    def unpack(raw: bytes) -> "Control":
        """From the bytes of `struct control`."""
        active, count, _, skip, *uplinks = _CONTROL.unpack(raw)
        return Control(active & 1, tuple(uplinks[:count]), bool(skip))


def boottime_ns() -> int:
    """CLOCK_BOOTTIME: monotonic, counts suspend, the same for all processes of this boot."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


@dataclass(frozen=True, slots=True)
class SpoolState:
    """`struct spool_state`: the batch under way; times are CLOCK_BOOTTIME ns by buffer."""

    phase: Phase
    buffer: int
    epoch: int
    sequence: int
    opened_ns: tuple[int, int]
    closed_ns: tuple[int, int]
    settings: bytes
    server: int = 0
    """The server instance that the batch was first sent to (from Welcome); 0 for none."""
    layout: int = LAYOUT

    def pack(self) -> bytes:
        """The bytes of `struct spool_state`."""
        return _STATE.pack(
            self.layout,
            self.phase,
            self.buffer,
            self.server,
            self.epoch,
            self.sequence,
            *self.opened_ns,
            *self.closed_ns,
            self.settings,
        )

    @staticmethod
    def unpack(raw: bytes) -> "SpoolState":
        """From the bytes of `struct spool_state`; ValueError for a phase that does not exist."""
        layout, phase, buffer, server, epoch, *rest = _STATE.unpack(raw)
        sequence, o0, o1, c0, c1, settings = rest
        return SpoolState(
            phase=Phase(phase),
            buffer=buffer & 1,
            epoch=epoch,
            sequence=sequence,
            opened_ns=(o0, o1),
            closed_ns=(c0, c1),
            settings=settings,
            server=server,
            layout=layout,
        )
