"""A probe's maps by descriptor: switch the active buffer, set the uplinks, keep the agent's state.

One set is one epoch, pinned or not. buffers.py reads the flows, so that a probe can be loaded
before numpy is imported (main.py says why).
"""

import errno
import os
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from threading import Lock
from types import TracebackType
from typing import Self

from kzn.agent.maps.structs import (
    CONTROL_SIZE,
    COUNTS_SIZE,
    DEVICE_PLACES,
    ENDPOINT_SIZES,
    KEY_SIZE,
    ROW_SIZE,
    STATE_SIZE,
    TOTALS_SIZE,
    UPLINKS,
    Control,
    Role,
    SpoolState,
    unpack_counts,
)
from kzn.errors import KernelError, KznError
from kzn.libbpf.library import possible_cpus
from kzn.libbpf.maps import Map, create_array
from kzn.model.totals import SLOTS, Counts, Slot
from kzn.probes.layout import BUFFERS, ENDPOINTS, MAPS

_INDEX = struct.Struct("<I")
_WORDS = TOTALS_SIZE // 8  # of one CPU: packets and bytes alternate
_SEEN = 2 * SLOTS.index(Slot("seen", ""))
_PLACE = struct.Struct("<Q")
MAPS_OF_ROWS = ("rows", "device_places")
"""The maps that came with `LAYOUT`."""
ROWS_PART = 1 << 20
"""Bytes of rows that are mapped at once."""


@cache
def fence_map() -> Map:
    """The empty map that is written to every `fence` map of maps.

    Created once and kept, since a running agent has no CAP_BPF to create another.
    """
    return create_array("kzn_fence", 4)


class DamagedError(KznError):
    """Pinned maps hold what no agent has written."""


class MapSet:
    """The maps of one epoch; owns and closes their descriptors.

    A set of `LAYOUT_BEFORE_ROWS` lacks `MAPS_OF_ROWS`; it can be read, cleared and stopped.
    """

    def __init__(self, fds: Mapping[str, int]) -> None:
        self._maps = {name: Map(fds[name], name) for name in MAPS if name in fds}
        self._control_lock = Lock()  # the event loop writes while a worker thread switches
        self._devices: dict[bytes, bytes] | None = None
        self._places: dict[int, int] | None = None
        self._addresses: dict[bytes, bytes] | None = None
        self._far_ends: dict[int, bytes] = {}

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
        """Close the descriptors; pinned maps stay in the kernel."""
        for owned in self._maps.values():
            os.close(owned.fd)
        self._maps = {}

    def fds(self) -> dict[str, int]:
        """The descriptors by map name."""
        return {name: owned.fd for name, owned in self._maps.items()}

    @property
    def has_rows(self) -> bool:
        """Whether flows are in rows; else they are in a hash for each CPU."""
        return "rows" in self._maps

    def layout_fits(self) -> bool:
        """Whether they are the maps, with keys and values, that this version of kzn reads."""
        sizes = {name: owned.info() for name, owned in self._maps.items()}
        return (
            all(info.name == name for name, info in sizes.items())
            and all(sizes[name].key_size == KEY_SIZE for name in BUFFERS)
            and all(sizes[name].value_size == COUNTS_SIZE for name in BUFFERS)
            and (not self.has_rows or sizes["rows"].value_size == ROW_SIZE)
            and len(sizes) == len(MAPS) - (0 if self.has_rows else len(MAPS_OF_ROWS))
            and sizes["totals"].value_size == TOTALS_SIZE
            and sizes["control"].value_size == CONTROL_SIZE
            and (sizes["devices"].key_size, sizes["addresses"].key_size) == (4, 16)
            and (sizes[ENDPOINTS].key_size, sizes[ENDPOINTS].value_size) == ENDPOINT_SIZES
            and (sizes["tunnels"].key_size, sizes["tunnels"].value_size) == (4, 16)
            and sizes["spool"].value_size == STATE_SIZE
        )

    def flows(self, buffer: int) -> Map:
        """The flow hash of a buffer."""
        return self._maps[BUFFERS[buffer]]

    def rows(self, buffer: int, *, writable: bool = False) -> Iterator[memoryview]:
        """The rows of a buffer in parts, shared with the kernel while anything refers to them.

        What is mapped counts as the agent's memory, so no more than a part should be held.
        """
        size = self.row_capacity() * ROW_SIZE
        for begin in range(buffer * size, (buffer + 1) * size, ROWS_PART):
            length = min(ROWS_PART, (buffer + 1) * size - begin)
            yield self._maps["rows"].mapped(begin, length, writable=writable)

    @property
    def totals(self) -> Map:
        """The totals of both buffers."""
        return self._maps["totals"]

    @property
    def endpoints(self) -> Map:
        """What is known of endpoints of services."""
        return self._maps[ENDPOINTS]

    def capacity(self) -> int:
        """Maximum number of flows in the hash of a buffer."""
        return self._maps["flows_0"].info().max_entries

    def row_capacity(self) -> int:
        """The number of rows of a buffer."""
        return self._maps["rows"].info().max_entries // 2 if self.has_rows else 0

    def state(self) -> SpoolState:
        """The agent's pinned state; DamagedError for one that no agent has written."""
        try:
            return SpoolState.unpack(self._maps["spool"].read(0, STATE_SIZE))
        except ValueError as error:
            raise DamagedError(
                f"the pinned state of this node's counters is damaged ({error})",
                hint="start the agent again: it makes a new set of maps",
            ) from error

    def write_state(self, state: SpoolState) -> None:
        """Replace the agent's pinned state in one call, so that no reader sees half of it."""
        self._maps["spool"].write(0, state.pack())

    def active(self) -> int:
        """The buffer that packets are accounted in."""
        return self._control().active

    def set_active(self, buffer: int) -> None:
        """Account packets in ``buffer``; running programs may still add to the other one."""
        with self._control_lock:
            self._write(replace(self._control(), active=buffer, others=0))

    @property
    def is_stopped(self) -> bool:
        """Whether another set counts in place of this one."""
        return self._control().is_stopped

    def stop(self) -> None:
        """Count no more packets, in one write; running programs may still add theirs."""
        with self._control_lock:
            self._write(replace(self._control(), is_stopped=True))

    def resume(self) -> None:
        """Count again after `stop`."""
        with self._control_lock:
            self._write(replace(self._control(), is_stopped=False))

    def seen(self, buffer: int) -> Counts:
        """What programs saw while a buffer was active; without numpy, unlike buffers.py."""
        return _seen(self.totals, buffer, is_packed=self.has_rows)

    def mark_drained(self) -> None:
        """Restart the programs' dormancy timer, as a drain does."""
        with self._control_lock:
            self._write(self._control())

    def set_skip_inbound(self, *, skip: bool) -> None:
        """Whether packets from a device that leads off to a local one make no flow."""
        with self._control_lock:
            self._write(replace(self._control(), skip_inbound=skip))

    def set_devices(self, roles: Mapping[int, Role]) -> int:
        """Make the map of devices hold these roles, by interface index; how many do not fit.

        Only entries that differ are written, one after the other; a packet in between meets each
        device with its old role or its new one. A device that does not fit has no role: what it
        sends is accounted.
        """
        wanted = {_INDEX.pack(index): _INDEX.pack(role) for index, role in roles.items()}
        tunnels = sum({1 << index % 64 for index, role in roles.items() if role & Role.TUNNEL})
        uplinks = sorted(index for index, role in roles.items() if role == Role.LEADS_OFF)
        # Meanwhile what control says is true of the old roles and of the new ones.
        self._set_shortcuts(
            lambda old: replace(
                old,
                tunnel_devices=old.tunnel_devices | tunnels,
                uplinks=tuple(index for index in old.uplinks if index in uplinks),
            )
        )
        self._devices, missing = _update(self._maps["devices"], self._devices, wanted)
        self._set_places(roles)
        self._set_shortcuts(
            lambda old: replace(old, tunnel_devices=tunnels, uplinks=tuple(uplinks[:UPLINKS]))
        )
        return missing

    def _set_shortcuts(self, change: Callable[[Control], Control]) -> None:
        """Change what control says of devices, which programs believe without asking for a role."""
        with self._control_lock:
            old = self._control()
            new = change(old)
            if new != old:
                self._write(new)

    def _set_places(self, roles: Mapping[int, Role]) -> None:
        """The same roles where programs look first; of devices with one place, the last of them."""
        wanted = {index % DEVICE_PLACES: index << 32 | int(role) for index, role in roles.items()}
        for place in range(DEVICE_PLACES):
            value = wanted.get(place, 0)
            if self._places is None or self._places.get(place, 0) != value:
                self._maps["device_places"].write(place, _PLACE.pack(value))
        self._places = wanted

    def devices(self) -> dict[int, Role]:
        """The roles that the kernel has now."""
        source = self._maps["devices"]
        keys = source.keys(4)
        return {_INDEX.unpack(key)[0]: Role(_INDEX.unpack(source.get(key, 4))[0]) for key in keys}

    def set_addresses(self, addresses: Iterable[bytes]) -> int:
        """Make the map of the node's addresses hold these, 16 bytes each; how many do not fit."""
        wanted = dict.fromkeys(addresses, _INDEX.pack(1))
        self._addresses, missing = _update(self._maps["addresses"], self._addresses, wanted)
        return missing

    def far_end(self, tunnel: int) -> bytes | None:
        """The address of a tunnel's far end, 16 bytes, by the id in the keys of flows.

        None if the kernel has none, which it never has for an id that a program wrote.
        """
        if tunnel not in self._far_ends:
            try:
                self._far_ends[tunnel] = self._maps["tunnels"].get(_INDEX.pack(tunnel), 16)
            except KernelError as error:
                if error.errno != errno.ENOENT:
                    raise
                return None
        return self._far_ends[tunnel]

    def _control(self) -> Control:
        return Control.unpack(self._maps["control"].read(0, CONTROL_SIZE))

    def _write(self, control: Control) -> None:
        self._maps["control"].write(0, control.pack())

    def switch_and_wait(self, buffer: int) -> None:
        """Account packets in ``buffer``; return when no running program adds to the other one."""
        self.set_active(buffer)
        self.wait()

    def wait(self) -> None:
        """Return when no program runs any more that has read `control` before the call.

        Replacing an inner map of `fence`, a map of maps, from user space waits for running
        programs (kernel/bpf/syscall.c: maybe_wait_bpf_programs).
        """
        self._maps["fence"].write_fd(0, fence_map().fd)


def seen_bytes(totals: Map, *, is_packed: bool) -> int:
    """The bytes that programs saw in both buffers, of totals without the rest of their set.

    ``is_packed``: as in a set with rows.

    KernelError when the map is not one of totals.
    """
    info = totals.info()
    if (info.key_size, info.value_size, info.max_entries) != (4, TOTALS_SIZE, 2):
        raise KernelError(f"map {totals.name} has other sizes than totals", errno=errno.EINVAL)
    return sum(_seen(totals, buffer, is_packed=is_packed).bytes for buffer in (0, 1))


def _seen(totals: Map, buffer: int, *, is_packed: bool) -> Counts:
    raw = memoryview(totals.read(buffer, TOTALS_SIZE * possible_cpus())).cast("Q")
    per_cpu = list(zip(raw[_SEEN::_WORDS], raw[_SEEN + 1 :: _WORDS], strict=True))
    if is_packed:
        per_cpu = [unpack_counts(*packed) for packed in per_cpu]
    packets, sizes = zip(*per_cpu, strict=True)
    return Counts(sum(packets), sum(sizes))


def _update(
    target: Map, known: dict[bytes, bytes] | None, wanted: dict[bytes, bytes]
) -> tuple[dict[bytes, bytes], int]:
    """Write what differs from ``known``, read from the kernel the first time; what is there now.

    The second value is how many entries the map has no room for.
    """
    if known is None:
        known = dict.fromkeys(target.keys(target.info().key_size), b"")
    for key in known.keys() - wanted.keys():
        target.remove(key)
    written: dict[bytes, bytes] = {}
    for key, value in wanted.items():
        if known.get(key) != value:
            try:
                target.put(key, value)
            except KernelError as error:
                if error.errno not in (errno.E2BIG, errno.ENOMEM):
                    raise
                continue
        written[key] = value
    return written, len(wanted) - len(written)
