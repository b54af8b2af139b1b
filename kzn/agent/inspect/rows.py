"""The flows of a snapshot as rows: the sum of both buffers, and the rate of each flow."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from kzn.agent.inspect.snapshot import Buffer, Snapshot
from kzn.agent.inspect.text import initiator, is_encrypted, protocol_name
from kzn.model import ip
from kzn.model.totals import Counts

Sort = Literal["bytes", "packets", "rate", "source", "destination"]

MIN_RATE_SECONDS = 0.25
"""The shortest time that a rate is computed over."""


class FlowId(NamedTuple):
    """Entries with equal values are one flow; ports are 0 where they are not kept."""

    src: str
    dst: str
    protocol: str
    src_port: int
    dst_port: int
    initiator: str
    encrypted: bool = False


class Part(NamedTuple):
    """One buffer's share of a flow; ``buffer`` and ``entry`` are indices in the snapshot."""

    buffer: int
    entry: int
    counts: Counts


@dataclass(frozen=True, slots=True)
class FlowRow:
    """One flow; ``rate`` is in bytes a second."""

    id: FlowId
    parts: tuple[Part, ...]
    counts: Counts
    rate: float


_Key = tuple[int, int, FlowId]
"""A flow in one buffer between two clears: epoch, when the buffer was opened, flow."""


class Rates:
    """Bytes a second of each flow: first over the active buffer's age, then between snapshots."""

    def __init__(self) -> None:
        self._before: dict[_Key, int] = {}
        self._taken_ns = 0
        self._rates: dict[FlowId, float] = {}

    def rows(self, snapshot: Snapshot) -> list[FlowRow]:
        """All flows of a snapshot, unordered; it must be later than the previous one."""
        parts: dict[FlowId, list[Part]] = {}
        for place, buffer in enumerate(snapshot.buffers):
            for flow, part in _parts(place, buffer):
                parts.setdefault(flow, []).append(part)
        self._update(snapshot, parts)
        return [_row(flow, found, self._rates.get(flow, 0.0)) for flow, found in parts.items()]

    def _update(self, snapshot: Snapshot, parts: dict[FlowId, list[Part]]) -> None:
        """Compute the rates from what was added to each buffer.

        A buffer that was cleared since the previous snapshot has lost what was added in between,
        so that time does not count either.
        """
        now: dict[_Key, int] = {}
        for flow, found in parts.items():
            for part in found:
                key = (snapshot.epoch, snapshot.buffers[part.buffer].opened_ns, flow)
                now[key] = now.get(key, 0) + part.counts.bytes
        if not self._taken_ns:
            self._taken_ns = snapshot.buffers[0].opened_ns
            self._before = {key: size for key, size in now.items() if key[1] != self._taken_ns}
        seen_since = [buffer.opened_ns for buffer in snapshot.buffers if buffer.state != "empty"]
        begin = max(self._taken_ns, min(seen_since))
        seconds = (snapshot.taken_ns - begin) / 1e9
        if seconds < MIN_RATE_SECONDS:
            return
        rates: dict[FlowId, float] = {}
        for key, size in now.items():
            grown = max(0, size - self._before.get(key, 0))
            rates[key[2]] = rates.get(key[2], 0.0) + grown / seconds
        self._before, self._taken_ns, self._rates = now, snapshot.taken_ns, rates


def ordered(rows: Iterable[FlowRow], by: Sort) -> list[FlowRow]:
    """Rows by descending numbers or ascending addresses; equal ones by bytes."""
    keys: dict[Sort, Callable[[FlowRow], tuple[object, ...]]] = {
        "bytes": lambda row: (-row.counts.bytes,),
        "packets": lambda row: (-row.counts.packets, -row.counts.bytes),
        "rate": lambda row: (-row.rate, -row.counts.bytes),
        "source": lambda row: (ip.pack(row.id.src), -row.counts.bytes),
        "destination": lambda row: (ip.pack(row.id.dst), -row.counts.bytes),
    }
    first = keys[by]
    return sorted(rows, key=lambda row: (*first(row), row.id))


def _parts(place: int, buffer: Buffer) -> Iterable[tuple[FlowId, Part]]:
    flows = buffer.flows
    texts = [ip.text(row.tobytes()) for row in flows.addresses]
    for row in range(len(flows)):
        flow = FlowId(
            src=texts[flows.src[row]],
            dst=texts[flows.dst[row]],
            protocol=protocol_name(int(flows.protocol[row])),
            src_port=int(flows.src_port[row]),
            dst_port=int(flows.dst_port[row]),
            initiator=initiator(int(flows.flags[row])),
            encrypted=is_encrypted(int(flows.flags[row])),
        )
        yield flow, Part(place, row, Counts(int(flows.packets[row]), int(flows.bytes[row])))


def _row(flow: FlowId, parts: list[Part], rate: float) -> FlowRow:
    counts = Counts(sum(p.counts.packets for p in parts), sum(p.counts.bytes for p in parts))
    return FlowRow(flow, tuple(parts), counts, rate)
