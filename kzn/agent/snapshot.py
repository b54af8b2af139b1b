"""A look at the pinned counters of this node that takes nothing away from the agent.

In: a pin directory. Out: `Snapshot`, one for each set of maps. Never: a write to a map.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kzn.agent import buffers
from kzn.agent.control import Phase, SpoolState, boottime_ns
from kzn.agent.install import file_errors, links, open_set
from kzn.agent.mapset import MapSet
from kzn.errors import KznError
from kzn.libbpf.links import NetfilterLinkInfo, netfilter_link_info
from kzn.libbpf.pins import opened, require_bpffs
from kzn.model.flows import Flows
from kzn.model.totals import Totals


@dataclass(frozen=True, slots=True, eq=False)
class Buffer:
    """One of the two buffers: since when packets go (or went) to it, and what it holds.

    ``state`` is "active", "in flight" (cut, not acknowledged) or "empty".
    """

    state: str
    seconds: float
    flows: Flows
    totals: Totals


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """One set of maps: the active buffer first."""

    name: str
    epoch: int
    sequence: int
    capacity: int
    links: tuple[NetfilterLinkInfo, ...]
    buffers: tuple[Buffer, Buffer]


def take(pin_dir: Path) -> list[Snapshot]:
    """All sets below a pin directory; KznError with a hint when there is none."""
    require_bpffs(pin_dir)
    with file_errors(pin_dir):
        try:
            folders = sorted(path for path in pin_dir.iterdir() if path.is_dir())
        except FileNotFoundError:
            folders = []
    found = [snapshot for folder in folders for snapshot in _one(folder)]
    if not found:
        raise KznError(
            f"nothing of kzn is pinned below {pin_dir}",
            hint="is kzn agent running on this node, with this --pin-dir?",
        )
    return found


def _one(folder: Path) -> Iterator[Snapshot]:
    maps = open_set(folder)
    if maps is None:
        return
    with maps:
        state, active = maps.state(), maps.active()
        yield Snapshot(
            name=folder.name,
            epoch=state.epoch,
            sequence=state.sequence,
            capacity=maps.capacity(),
            links=_links(folder),
            buffers=(
                _buffer(maps, state, active, active),
                _buffer(maps, state, 1 - active, active),
            ),
        )


def _buffer(maps: MapSet, state: SpoolState, number: int, active: int) -> Buffer:
    until = boottime_ns() if number == active else state.closed_ns[number]
    word = "active" if number == active else "empty"
    if state.phase is not Phase.IDLE and number == state.buffer and number != active:
        word = "in flight"
    return Buffer(
        state=word,
        seconds=max(0, until - state.opened_ns[number]) / 1e9,
        flows=buffers.read_flows(maps, number),
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
