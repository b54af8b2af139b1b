"""Compare what was sent, what the uplinks carried and what kzn counted, by pair and protocol.

In: the sums of the senders, of the witness, of kzn. Out: frozen rows, and whether they agree.
Never: reads a counter.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from kzn.demo.shop import End
from kzn.lab.jobs import Sum
from kzn.lab.plan import Node, Plan
from kzn.lab.witness import DeviceCounters, WireKey
from kzn.model.totals import Counts

PROTOCOL_NAMES = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6", 132: "sctp"}


@dataclass(frozen=True, slots=True)
class PairRow:
    """What one pod or node sent to another, or outside, by protocol and IP version.

    ``sent_bytes`` is payload that sockets accepted; ``computed_bytes`` its L3 bytes on the wire,
    None for TCP, where only the kernel knows segments and acknowledgements.
    """

    src: str
    dst: str
    protocol: str
    family: int
    src_address: str
    dst_address: str
    src_workload: str
    dst_workload: str
    src_zone: str
    dst_zone: str
    sent_bytes: int
    computed_bytes: int | None
    wire_bytes: int
    wire_packets: int
    counted_bytes: int
    counted_packets: int

    @property
    def crosses(self) -> bool:
        """Whether the bytes go to another zone."""
        return bool(self.dst_zone) and self.src_zone != self.dst_zone

    @property
    def difference(self) -> int:
        """Bytes counted minus bytes on the wire."""
        return self.counted_bytes - self.wire_bytes

    @property
    def exact(self) -> bool:
        """Whether the three counts agree, in bytes and packets."""
        return (
            self.counted_bytes == self.wire_bytes
            and self.counted_packets == self.wire_packets
            and self.computed_bytes in (None, self.wire_bytes)
        )


@dataclass(frozen=True, slots=True)
class UplinkRow:
    """One node's uplink: L3 bytes of the device's counters, and those that reached the fabric."""

    node: str
    device_bytes: int
    device_packets: int
    carried_bytes: int
    carried_packets: int

    @property
    def exact(self) -> bool:
        """Whether both counts of the witness agree."""
        return (self.device_bytes, self.device_packets) == (
            self.carried_bytes,
            self.carried_packets,
        )


@dataclass(frozen=True, slots=True)
class OwnRow:
    """Traffic of kzn itself from a node to its server, which is counted like other flows.

    The last batch cannot contain its own packets: ``left_bytes`` are counted in the node's kernel
    but not shipped when the agent has ended.
    """

    node: str
    wire_bytes: int
    counted_bytes: int
    left_bytes: int


@dataclass(frozen=True, slots=True)
class MonthRow:
    """What the counted bytes of the pairs cost in a month, at both ends, on one provider.

    ``bytes`` are those across zones. ``date`` is when the prices were read.
    """

    provider: str
    bytes: int
    sender: float
    receiver: float
    currency: str
    date: str

    @property
    def both(self) -> float:
        """What both ends pay."""
        return self.sender + self.receiver


@dataclass(frozen=True, slots=True)
class Report:
    """The results of the demo; ``prometheus`` is the server's /metrics at the end.

    ``months`` are an example of the price lists: the traffic for a month at its rate.
    """

    pairs: tuple[PairRow, ...]
    uplinks: tuple[UplinkRow, ...]
    own: tuple[OwnRow, ...]
    prometheus: str
    months: tuple[MonthRow, ...] = ()

    @property
    def exact(self) -> bool:
        """Whether there are pairs, and all rows of pairs and uplinks are exact."""
        pairs, uplinks = [row.exact for row in self.pairs], [row.exact for row in self.uplinks]
        return bool(pairs) and all(pairs) and all(uplinks)

    def as_json(self) -> dict[str, Any]:
        """The report as plain values for JSON."""
        return {
            "exact": self.exact,
            "pairs": [
                asdict(row) | {"difference": row.difference, "exact": row.exact}
                for row in self.pairs
            ],
            "uplinks": [asdict(row) | {"exact": row.exact} for row in self.uplinks],
            "own_traffic": [asdict(row) for row in self.own],
            "per_month": [asdict(row) for row in self.months],
            "prometheus": self.prometheus,
        }


def pair_rows(
    ends: Mapping[str, End],
    sent: Mapping[WireKey, Sum],
    carried: Mapping[WireKey, Counts],
    counted: Mapping[WireKey, Counts],
) -> tuple[PairRow, ...]:
    """A row for what occurs in one of the counts, from an end in a zone to any of ``ends``.

    ``ends`` are by address. What arrives from outside leaves no node of the lab.
    """
    keys = {key for counts in (sent, carried, counted) for key in counts}
    between = [key for key in keys if key.src in ends and key.dst in ends and ends[key.src].zone]
    rows = [
        _pair_row(
            key,
            ends,
            sent.get(key, Sum(0, None)),
            carried.get(key, Counts()),
            counted.get(key, Counts()),
        )
        for key in between
    ]
    return tuple(sorted(rows, key=lambda row: (row.src, row.dst, row.family, row.protocol)))


def _pair_row(
    key: WireKey, ends: Mapping[str, End], sent: Sum, carried: Counts, counted: Counts
) -> PairRow:
    src, dst = ends[key.src], ends[key.dst]
    return PairRow(
        src=src.name,
        dst=dst.name,
        protocol=PROTOCOL_NAMES.get(key.protocol, str(key.protocol)),
        family=6 if ":" in key.src else 4,
        src_address=key.src,
        dst_address=key.dst,
        src_workload=src.workload,
        dst_workload=dst.workload,
        src_zone=src.zone,
        dst_zone=dst.zone,
        sent_bytes=sent.payload,
        computed_bytes=sent.wire.bytes if sent.wire is not None else None,
        wire_bytes=carried.bytes,
        wire_packets=carried.packets,
        counted_bytes=counted.bytes,
        counted_packets=counted.packets,
    )


def uplink_rows(
    devices: Mapping[str, DeviceCounters], carried: Mapping[str, Counts]
) -> tuple[UplinkRow, ...]:
    """Both counts of the witness, by node name."""
    return tuple(
        UplinkRow(
            node=node,
            device_bytes=counters.tx_wire.bytes,
            device_packets=counters.tx_wire.packets,
            carried_bytes=carried[node].bytes,
            carried_packets=carried[node].packets,
        )
        for node, counters in devices.items()
    )


def own_rows(
    plan: Plan,
    carried: Mapping[WireKey, Counts],
    counted: Mapping[WireKey, Counts],
    left: Mapping[WireKey, Counts],
) -> tuple[OwnRow, ...]:
    """The traffic of each node to the server."""

    def to_server(sums: Mapping[WireKey, Counts], node: Node) -> int:
        ends = [(node.ipv4, plan.fabric.ipv4), (node.ipv6, plan.fabric.ipv6)]
        return sum(counts.bytes for key, counts in sums.items() if (key.src, key.dst) in ends)

    return tuple(
        OwnRow(node.name, *(to_server(sums, node) for sums in (carried, counted, left)))
        for node in plan.nodes
    )
