"""The two structs that user space writes for the programs and for itself (`bpf/src/flow.h`).

Every run of a program reads `Control`. `SpoolState` is the agent's state, pinned beside the maps so
that it outlives the agent.
"""

import struct
import time
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Any, TypeVar

LAYOUT = 4
"""KZN_LAYOUT."""
LAYOUT_BEFORE_ROWS = 3
"""Sets of this layout are still read: a hash for each CPU instead of rows, `seen` not packed."""

MAX_SEQUENCE = (1 << 63) - 1

UPLINKS = 4
"""KZN_UPLINKS."""
_CONTROL = struct.Struct(f"<IIQQ{UPLINKS}IQ16x")
_STOPPED = 2
"""KZN_STOPPED."""
_STATE = struct.Struct("<IIIIQQ2Q2Q32s")

KEY_SIZE = 40
"""sizeof(struct flow_key); kzn.model.flows has the fields."""
COUNTS_SIZE = 16
ROW_SIZE = 64
"""sizeof(struct flow_row); rows.py has the fields."""
PACKED_BYTES = 40
"""KZN_PACKED_BYTES: packed counts have bytes below this bit, packets from it on."""
TOTALS_SIZE = 16 * COUNTS_SIZE
ENDPOINT_SIZES = (24, 4)
"""Of a key and a value of the map `endpoints`."""
CONTROL_SIZE = _CONTROL.size
STATE_SIZE = _STATE.size


N = TypeVar("N", bound=Any)  # int, or an array of numpy.uint64


def unpack_counts(packed: N, carry: N) -> tuple[N, N]:
    """Packets and bytes of a `struct packed_counts`, of one or of an array."""
    size = (packed & ((1 << PACKED_BYTES) - 1)) + ((carry & 0xFFFFFFFF) << (PACKED_BYTES - 1))
    return (packed >> PACKED_BYTES) + (carry >> 32 << (63 - PACKED_BYTES)), size


DEVICE_PLACES = 1024
"""KZN_DEVICE_PLACES."""
MAX_DEVICES = 16_384
MAX_ADDRESSES = 4_096
MAX_TUNNELS = 16_384
MAX_ENDPOINTS = 32_768
"""KZN_MAX_DEVICES and so on: the entries of these maps."""


class Role(IntFlag):
    """The role of a device for a packet that it sends (KZN_DEVICE_*)."""

    STAYS = 1
    """It keeps the packet on the node."""
    TUNNEL = 2
    """It encapsulates the packet, which passes the hook again."""
    ENCRYPTS = 4
    """With `TUNNEL`: what is inside cannot be read any more."""
    PASSES_AGAIN = 8
    """The packet passes the hook again at a lower device."""
    LEADS_OFF = 16
    """It sends the packet off the node."""


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
    """`struct control`: the active buffer, whether inbound traffic makes flows, tunnel devices.

    ``tunnel_devices`` has bit (index % 64) set for each device that encapsulates. ``uplinks``:
    at most `UPLINKS` indices of devices whose role is `Role.LEADS_OFF` alone.
    ``is_stopped``: another set counts in place of this one.
    """

    active: int = 0
    skip_inbound: bool = False
    tunnel_devices: int = 0
    is_stopped: bool = False
    uplinks: tuple[int, ...] = ()
    others: int = 0
    """Set by programs once flows of another initiator than the presumed one may exist."""

    def pack(self) -> bytes:
        """The bytes of `struct control`; 0 for the last drain restarts the dormancy timer."""
        active = self.active | _STOPPED * self.is_stopped
        uplinks = (*self.uplinks, *[0] * UPLINKS)[:UPLINKS]
        return _CONTROL.pack(
            active, self.skip_inbound, 0, self.tunnel_devices, *uplinks, self.others
        )

    @staticmethod
    def unpack(raw: bytes) -> "Control":
        """From the bytes of `struct control`."""
        active, skip, _, tunnel_devices, *uplinks, others = _CONTROL.unpack(raw)
        return Control(
            active & 1,
            bool(skip),
            tunnel_devices,
            bool(active & _STOPPED),
            tuple(index for index in uplinks if index),
            others,
        )


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
        """From the bytes of `struct spool_state`; ValueError for what no agent writes."""
        layout, phase, buffer, server, epoch, *rest = _STATE.unpack(raw)
        sequence, o0, o1, c0, c1, settings = rest
        if buffer > 1 or sequence > MAX_SEQUENCE:
            raise ValueError(f"buffer {buffer}, sequence {sequence}")
        return SpoolState(
            phase=Phase(phase),
            buffer=buffer,
            epoch=epoch,
            sequence=sequence,
            opened_ns=(o0, o1),
            closed_ns=(c0, c1),
            settings=settings,
            server=server,
            layout=layout,
        )
