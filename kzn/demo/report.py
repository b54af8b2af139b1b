"""The report: per pair and protocol what was sent, what the uplink carried, what kzn counted.

In: the sums of the senders, of the witness, of kzn. Out: frozen rows and one verdict.
Never: reads a counter itself.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from kzn.lab.jobs import Sum
from kzn.lab.plan import Node, Plan, Pod
from kzn.lab.witness import DeviceCounters, WireKey
from kzn.model.totals import Counts

PROTOCOL_NAMES = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6", 132: "sctp"}


@dataclass(frozen=True, slots=True)
class PairRow:
    """One direction between two pods over one protocol of one family.

    ``sent_bytes`` is payload that sockets took; ``computed_bytes`` what that must weigh on the
    wire, None for TCP, where only the kernel knows segments and acknowledgements.
    """

    src: str
    dst: str
    protocol: str
    family: int
    src_address: str
    dst_address: str
    src_zone: str
    dst_zone: str
    sent_bytes: int
    computed_bytes: int | None
    wire_bytes: int
    wire_packets: int
    counted_bytes: int
    counted_packets: int

    @property
    def difference(self) -> int:
        """Bytes counted beyond what the wire carried."""
        return self.counted_bytes - self.wire_bytes

    @property
    def exact(self) -> bool:
        """Whether the three books agree, packets included."""
        return (
            self.counted_bytes == self.wire_bytes
            and self.counted_packets == self.wire_packets
            and self.computed_bytes in (None, self.wire_bytes)
        )


@dataclass(frozen=True, slots=True)
class UplinkRow:
    """One node's uplink: the device's own counters beside what reached the fabric, L3 bytes."""

    node: str
    device_bytes: int
    device_packets: int
    carried_bytes: int
    carried_packets: int

    @property
    def exact(self) -> bool:
        """Whether both books of the witness agree."""
        return (self.device_bytes, self.device_packets) == (
            self.carried_bytes,
            self.carried_packets,
        )


@dataclass(frozen=True, slots=True)
class OwnRow:
    """What kzn itself sent from a node to its server, a flow like any other.

    The last batch cannot contain its own journey: ``left_bytes`` are those that the node's kernel
    still holds, counted and not shipped, when the agent has ended.
    """

    node: str
    wire_bytes: int
    counted_bytes: int
    left_bytes: int


@dataclass(frozen=True, slots=True)
class Report:
    """All that the demo found; ``prometheus`` is the server's /metrics at the end."""

    pairs: tuple[PairRow, ...]
    uplinks: tuple[UplinkRow, ...]
    own: tuple[OwnRow, ...]
    prometheus: str

    @property
    def exact(self) -> bool:
        """Whether every row of pairs and uplinks is exact, and there are any."""
        pairs, uplinks = [row.exact for row in self.pairs], [row.exact for row in self.uplinks]
        return bool(pairs) and all(pairs) and all(uplinks)

    def as_json(self) -> dict[str, Any]:
        """The report as plain values; the first keys of a pair are the ones to look at."""
        return {
            "exact": self.exact,
            "pairs": [
                asdict(row) | {"difference": row.difference, "exact": row.exact}
                for row in self.pairs
            ],
            "uplinks": [asdict(row) | {"exact": row.exact} for row in self.uplinks],
            "own_traffic": [asdict(row) for row in self.own],
            "prometheus": self.prometheus,
        }


def pair_rows(
    plan: Plan,
    sent: Mapping[WireKey, Sum],
    carried: Mapping[WireKey, Counts],
    counted: Mapping[WireKey, Counts],
) -> tuple[PairRow, ...]:
    """A row for every direction between two pods that anybody knows of."""
    pods = {address: pod for pod in plan.pods for address in (pod.ipv4, pod.ipv6)}
    keys = {key for book in (sent, carried, counted) for key in book}
    between = [key for key in keys if key.src in pods and key.dst in pods]
    rows = [
        _pair_row(
            key,
            pods,
            sent.get(key, Sum(0, None)),
            carried.get(key, Counts()),
            counted.get(key, Counts()),
        )
        for key in between
    ]
    return tuple(sorted(rows, key=lambda row: (row.src, row.dst, row.family, row.protocol)))


def _pair_row(
    key: WireKey, pods: Mapping[str, Pod], sent: Sum, carried: Counts, counted: Counts
) -> PairRow:
    src, dst = pods[key.src], pods[key.dst]
    return PairRow(
        src=src.name,
        dst=dst.name,
        protocol=PROTOCOL_NAMES.get(key.protocol, str(key.protocol)),
        family=6 if ":" in key.src else 4,
        src_address=key.src,
        dst_address=key.dst,
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
    """Both books of the witness, per node name."""
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
    """What each node sent to the server."""

    def to_server(book: Mapping[WireKey, Counts], node: Node) -> int:
        ends = [(node.ipv4, plan.fabric.ipv4), (node.ipv6, plan.fabric.ipv6)]
        return sum(counts.bytes for key, counts in book.items() if (key.src, key.dst) in ends)

    return tuple(
        OwnRow(node.name, *(to_server(book, node) for book in (carried, counted, left)))
        for node in plan.nodes
    )
