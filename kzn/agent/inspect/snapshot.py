"""Reads the pinned counters of this node without disturbing the agent.

In: a pin directory. Out: one `Snapshot` for each set of maps. Never: a write to a map.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kzn.agent.inspect.per_cpu import PerCpuEntries, read_entries
from kzn.agent.maps import buffers
from kzn.agent.maps.mapset import MapSet
from kzn.agent.maps.structs import Phase, SpoolState, boottime_ns
from kzn.agent.pins.directory import file_errors, links
from kzn.agent.pins.install import open_set
from kzn.errors import KznError
from kzn.libbpf.links import NetfilterLinkInfo, netfilter_link_info
from kzn.libbpf.pins import opened, require_bpffs
from kzn.model.flows import Flows
from kzn.model.totals import Totals

ATTACHED = ("link_", "filter_")
"""Name prefixes of hook pins; those on devices end in an index (pins/attachments.py)."""
ATTEMPTS = 5
"""Reads until one is not disturbed by a cut or a clear of the agent."""


@dataclass(frozen=True, slots=True, eq=False)
class Buffer:
    """One of the two buffers: its contents, and since when and how long it was active.

    ``number`` is that of its map; ``state`` is "active", "in flight" (cut, not acknowledged) or
    "empty". Rows of ``flows`` are the keys of ``entries``.
    """

    number: int
    state: str
    opened_ns: int
    seconds: float
    flows: Flows
    entries: PerCpuEntries
    totals: Totals


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """One set of maps at ``taken_ns`` (CLOCK_BOOTTIME); the active buffer is first."""

    name: str
    taken_ns: int
    epoch: int
    sequence: int
    capacity: int
    """Entries of a buffer's hash."""
    row_capacity: int
    """Rows of a buffer."""
    links: tuple[NetfilterLinkInfo, ...]
    devices: tuple[int, ...]
    """Interface indices of a probe with hooks on devices."""
    buffers: tuple[Buffer, Buffer]


def take(pin_dir: Path) -> list[Snapshot]:
    """Snapshots of all map sets in a pin directory; KznError with a hint when there is none."""
    require_bpffs(pin_dir)
    with file_errors(pin_dir):
        try:
            folders = sorted(path for path in pin_dir.iterdir() if path.is_dir())
        except FileNotFoundError:
            folders = []
    found = [snapshot for folder in folders for snapshot in _one(folder)]
    if not found:
        raise KznError(
            f"no kzn probe is pinned in {pin_dir}",
            hint="run it on a node where kzn agent runs, with the agent's --pin-dir",
        )
    return found


def _one(folder: Path) -> Iterator[Snapshot]:
    maps = open_set(folder)
    if maps is None:
        return
    with maps:
        for _ in range(ATTEMPTS):
            state, active = maps.state(), maps.active()
            taken_ns = boottime_ns()
            found = (
                _buffer(maps, state, active, active),
                _buffer(maps, state, 1 - active, active),
            )
            if (maps.state(), maps.active()) == (state, active) and _is_settled(state, active):
                break
        yield Snapshot(
            name=folder.name,
            taken_ns=taken_ns,
            epoch=state.epoch,
            sequence=state.sequence,
            capacity=maps.capacity(),
            row_capacity=maps.row_capacity(),
            links=_links(folder),
            devices=_devices(folder),
            buffers=found,
        )


def _is_settled(state: SpoolState, active: int) -> bool:
    return state.phase is not Phase.ACKNOWLEDGED and not (
        state.phase is Phase.CUT and state.buffer == active
    )


def _buffer(maps: MapSet, state: SpoolState, number: int, active: int) -> Buffer:
    until = boottime_ns() if number == active else state.closed_ns[number]
    word = "active" if number == active else "empty"
    if state.phase is not Phase.IDLE and number == state.buffer and number != active:
        word = "in flight"
    entries = read_entries(maps, number)
    return Buffer(
        number=number,
        state=word,
        opened_ns=state.opened_ns[number],
        seconds=max(0, until - state.opened_ns[number]) / 1e9,
        flows=entries.flows(),
        entries=entries,
        totals=buffers.read_totals(maps, number),
    )


def _links(folder: Path) -> tuple[NetfilterLinkInfo, ...]:
    found = []
    for path in links(folder):
        with opened(path) as fd:
            info = netfilter_link_info(fd, str(path))
        if info:
            found.append(info)
    return tuple(found)


def _devices(folder: Path) -> tuple[int, ...]:
    pins = (path.name for path in folder.iterdir() if path.name.startswith(ATTACHED))
    ends = (name.rpartition("_")[2] for name in pins)
    return tuple(sorted({int(end) for end in ends if end.isdigit()}))
