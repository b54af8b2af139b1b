"""Folds settled flows by minute, ends, port, protocol, verdict and initiator.

In: observed flows with their resolution and the owners of their addresses, batch by batch.
Out: rows of SETTLED by hour, and the ends that their numbers mean. Pure; used by one thread.
Never: more than ``max_rows`` rows, or a sum of one take that exceeds `MAX_SUM`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kzn.columns.arrays import I64, U16
from kzn.model import ip
from kzn.model.endpoint import (
    AMBIGUOUS,
    EXTERNAL,
    NODE,
    POD,
    UNKNOWN,
    UNSETTLED,
    Endpoint,
)
from kzn.model.flows import INITIATOR_DESTINATION, INITIATOR_SOURCE, Flows
from kzn.model.settled import SETTLED, ByClass, End, Sum, added
from kzn.server.config import ExternalAddresses
from kzn.server.resolve.resolve import Resolution
from kzn.server.resolve.retry import ObservedFlows
from kzn.server.settled_totals import by_class

Rows = npt.NDArray[np.void]

MAX_ROWS = 1_000_000
"""40 MB: the minute of a cluster of some 40,000 pods."""
MAX_SUM = 1 << 53
"""9 PB in a minute; the sums of a day of such minutes fit into 64 bits."""
MAX_ENDS = 400_000
"""Most ends with a number; from half of it on, numbering begins anew with the next minute."""
_COMPACT = 1 << 17
_KINDS = {EXTERNAL: "External", UNKNOWN: "Unknown", AMBIGUOUS: "Ambiguous", UNSETTLED: "Unknown"}
_MIX = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)
_IPV4_CUT = np.frombuffer(b"\xff" * 15 + b"\x00", np.uint8).tobytes()
_IPV6_CUT = b"\xff" * 6 + b"\x00" * 10


@dataclass(frozen=True, slots=True, eq=False)
class SettledBatch:
    """The settled flows ``chosen`` of one batch; ``closed`` is the end of its interval (epoch).

    ``owners`` are those of the rows of ``resolution.endpoints``.
    """

    observed: ObservedFlows
    resolution: Resolution
    chosen: I64
    owners: Sequence[Endpoint | int]
    closed: float
    sums: ByClass


@dataclass(frozen=True, slots=True, eq=False)
class Taken:
    """Everything that was folded since the last take: rows by hour, and their sums.

    ``ends`` is by number; it may grow, and ``generation`` changes when numbers begin anew.
    """

    hours: tuple[Rows, ...]
    sums: tuple[ByClass, ...]
    ends: list[End]
    number_of_ends: int
    generation: int


class Fold:
    """Accumulates batches; ``external`` is how addresses of external ends are kept."""

    def __init__(self, external: ExternalAddresses = "full", *, max_rows: int = MAX_ROWS) -> None:
        self._external = external
        self._max_rows = max_rows
        self._generation = 0
        self._ends: list[End] = []
        self._numbers: dict[End, int] = {}
        self._by_address: dict[bytes, tuple[Endpoint | int, int]] = {}
        self._parts: list[Rows] = []
        self._rows = self._loose = 0
        self._sum = Sum()

    def add(self, batch: SettledBatch) -> str:
        """Add a batch; an empty string, or the reason why all of it is left out."""
        total = self._sum.plus(_total(batch.sums))
        if max(total) >= MAX_SUM:
            return "overflow"
        if self._rows + len(batch.chosen) > self._max_rows:
            self._compact()
            if self._rows + len(batch.chosen) > self._max_rows:
                return "full"
        used = _used_addresses(batch)
        if len(self._ends) + len(used) > MAX_ENDS:
            return "full"
        self._parts.append(self._rows_of(batch, used))
        self._sum = total
        self._rows += len(batch.chosen)
        self._loose += len(batch.chosen)
        if self._loose >= _COMPACT:
            self._compact()
        return ""

    def take(self) -> Taken:
        """Everything so far, which is forgotten."""
        self._compact()
        rows = self._parts[0] if self._parts else np.zeros(0, SETTLED)
        self._parts, self._rows, self._sum = [], 0, Sum()
        hours = rows["time"] // 3600
        parts = tuple(rows[hours == hour] for hour in np.unique(hours))
        sums = tuple(by_class(part["verdict"], part["packets"], part["bytes"]) for part in parts)
        taken = Taken(parts, sums, self._ends, len(self._ends), self._generation)
        if len(self._ends) > MAX_ENDS // 2:
            self._ends, self._numbers = [], {}
            self._by_address.clear()
            self._generation += 1
        return taken

    def _compact(self) -> None:
        if len(self._parts) > 1 or self._loose:
            self._parts = [grouped(np.concatenate(self._parts))]
            self._rows = len(self._parts[0])
        self._loose = 0

    def _rows_of(self, batch: SettledBatch, used: I64) -> Rows:
        flows, chosen, resolution = batch.observed.flows, batch.chosen, batch.resolution
        numbers = self._numbers_of(flows, batch.owners, used)
        rows = np.zeros(len(chosen), SETTLED)
        rows["time"] = minute_of(batch.closed)
        for side, own, charged in (
            ("src", flows.src, resolution.src),
            ("dst", flows.dst, resolution.dst),
        ):
            at, owned_by = own.take(chosen).astype(np.int64), charged.take(chosen)
            found = numbers.take(at)
            for row in np.flatnonzero(at != owned_by).tolist():
                address, owner = int(at[row]), batch.owners[int(owned_by[row])]
                is_external = batch.owners[address] == EXTERNAL
                found[row] = self._number(
                    flows.addresses[address].tobytes(), owner, is_external=is_external
                )
            rows[side] = found
        initiator = resolution.initiators(chosen)
        rows["port"] = service_port(
            flows.src_port.take(chosen), flows.dst_port.take(chosen), initiator
        )
        rows["protocol"] = flows.protocol.take(chosen)
        rows["verdict"] = resolution.verdict.take(chosen)
        rows["initiator"] = initiator
        rows["packets"] = flows.packets.take(chosen)
        rows["bytes"] = flows.bytes.take(chosen)
        return rows

    def _numbers_of(self, flows: Flows, owners: Sequence[Endpoint | int], used: I64) -> I64:
        """The number of the end of each address in ``used`` with its own owner."""
        known = self._by_address.get
        addresses: list[bytes] = flows.addresses.take(used, axis=0).view("V16").ravel().tolist()
        found = np.zeros(len(flows.addresses), np.int64)
        for row, address in zip(used.tolist(), addresses, strict=True):
            owner, entry = owners[row], known(address)
            if entry is None or (entry[0] is not owner and entry[0] != owner):
                number = self._number(address, owner, is_external=owner == EXTERNAL)
                if len(self._by_address) > 2 * MAX_ENDS:
                    self._by_address.clear()
                entry = self._by_address[address] = (owner, number)
            found[row] = entry[1]
        return found

    def _number(self, address: bytes, owner: Endpoint | int, *, is_external: bool) -> int:
        end = end_of(owner, _kept(address, self._external if is_external else "full"))
        number = self._numbers.get(end)
        if number is None:
            number = self._numbers[end] = len(self._ends)
            self._ends.append(end)
        return number


def _used_addresses(batch: SettledBatch) -> I64:
    flows = batch.observed.flows
    is_used = np.zeros(len(flows.addresses), np.bool_)
    is_used[flows.src.take(batch.chosen)] = is_used[flows.dst.take(batch.chosen)] = True
    return np.flatnonzero(is_used)


def end_of(owner: Endpoint | int, address: str) -> End:
    """An end of a flow by the owner of its address."""
    if isinstance(owner, int):
        return End(_KINDS[owner], "", "", "", "", "", "", "", address)
    is_pod = owner.kind == POD
    return End(
        kind=owner.kind,
        namespace=owner.namespace,
        workload_kind=owner.workload_kind,
        workload=owner.name if owner.kind == NODE else owner.workload or owner.name,
        pod=owner.name if is_pod else "",
        node=owner.node,
        zone=owner.zone,
        region=owner.region,
        address=address,
    )


def minute_of(closed: float) -> int:
    """The minute in which an interval ended; one that ends with a minute belongs to it."""
    return (math.ceil(closed / 60) - 1) * 60


def service_port(src: U16, dst: U16, initiator: npt.NDArray[np.uint8]) -> U16:
    """The port of the end that was connected to; the lower one if that is not known."""
    lower = np.where((src == 0) | (dst == 0), np.maximum(src, dst), np.minimum(src, dst))
    known = np.where(initiator == INITIATOR_DESTINATION, src, dst)
    is_known = (initiator == INITIATOR_SOURCE) | (initiator == INITIATOR_DESTINATION)
    found: U16 = np.where(is_known & (known != 0), known, lower)
    return found


def grouped(rows: Rows) -> Rows:
    """Rows with equal columns added up. Their order is arbitrary, and a key may be left twice."""
    if not len(rows):
        return rows
    ends = (rows["src"].astype(np.uint64) << np.uint64(32)) | rows["dst"].astype(np.uint64)
    rest = rows["time"].astype(np.uint64) // np.uint64(60) & np.uint64(0xFFFFFFFF)
    for name, bits in (("port", 16), ("protocol", 8), ("verdict", 4), ("initiator", 2)):
        rest = (rest << np.uint64(bits)) | rows[name].astype(np.uint64)
    # Equal keys are neighbours when sorted by a hash of both words; keys of equal hashes may lie
    # mixed, and then one of them is left twice, which changes no sum.
    order = np.argsort(ends * _MIX[0] ^ (rest + np.uint64(1)) * _MIX[1])
    ends, rest = ends.take(order), rest.take(order)
    first = np.flatnonzero(np.append(True, (ends[1:] != ends[:-1]) | (rest[1:] != rest[:-1])))
    found: Rows = rows.take(order.take(first))
    for name in ("packets", "bytes"):
        found[name] = np.add.reduceat(rows[name].take(order), first)
    return found


def _kept(address: bytes, external: ExternalAddresses) -> str:
    if external == "none":
        return ""
    if external == "/24":
        mask = _IPV4_CUT if address[:12] == ip.MAPPED_PREFIX else _IPV6_CUT
        address = bytes(a & b for a, b in zip(address, mask, strict=True))
    return ip.text(address)


def _total(sums: ByClass) -> Sum:
    return added({"": Sum()}, *({"": amount} for amount in sums.values()))[""]
