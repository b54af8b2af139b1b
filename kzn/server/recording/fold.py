"""Folds settled flows by minute, ends, port, protocol, verdict and initiator.

In: observed flows with their resolution and the owners of their addresses, batch by batch.
Out: rows of SETTLED by hour, and the ends that their numbers mean. Pure; used by one thread.
Never: more than ``max_rows`` rows, or a sum of one take that exceeds `MAX_SUM`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kzn.columns.arrays import I64, U8, U16, U32
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
from kzn.server.recording.words import Rows, Words
from kzn.server.resolve.resolve import Resolution
from kzn.server.resolve.retry import ObservedFlows
from kzn.server.settled_totals import by_class

MAX_ROWS = 1_000_000
"""40 MB: the minute of a cluster of some 40,000 pods."""
MAX_SUM = 1 << 53
"""9 PB in a minute; the sums of a day of such minutes fit into 64 bits."""
MAX_ENDS = 400_000
"""Most ends with a number; from half of it on, numbering begins anew with the next minute."""
MAX_OWNERS = 50_000
"""Owners whose numbers are kept from one take to the next."""
_COMPACT = 1 << 17
_KINDS = {EXTERNAL: "External", UNKNOWN: "Unknown", AMBIGUOUS: "Ambiguous", UNSETTLED: "Unknown"}
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
    """Accumulates batches; ``external`` is how addresses of external ends are kept.

    Without ``has_detail`` ends have no pod, node and address, and numbering them costs a third.
    """

    def __init__(
        self,
        external: ExternalAddresses = "full",
        *,
        max_rows: int = MAX_ROWS,
        has_detail: bool = True,
    ) -> None:
        self._external = external
        self._has_detail = has_detail
        self._by_owner: dict[int, int] = {}
        """Numbers by the identity of an owner; `_owners` keeps these alive."""
        self._owners: list[Endpoint | int] = []
        self._max_rows = max_rows
        self._generation = 0
        self._ends: list[End] = []
        self._numbers: dict[End, int] = {}
        self._by_address: dict[bytes, tuple[Endpoint | int, int]] = {}
        self._parts: list[Words] = []
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
        used = _used_addresses(batch) if self._has_detail else None
        if len(self._ends) + len(batch.owners if used is None else used) > MAX_ENDS:
            return "full"
        self._parts.append(self._words_of(batch, used))
        self._sum = total
        self._rows += len(batch.chosen)
        self._loose += len(batch.chosen)
        if self._loose >= _COMPACT:
            self._compact()
        return ""

    def take(self) -> Taken:
        """Everything so far, which is forgotten."""
        self._compact()
        rows = self._parts[0].rows() if self._parts else np.zeros(0, SETTLED)
        self._parts, self._rows, self._sum = [], 0, Sum()
        hours = rows["time"] // 3600
        parts = tuple(rows[hours == hour] for hour in np.unique(hours))
        sums = tuple(by_class(part["verdict"], part["packets"], part["bytes"]) for part in parts)
        taken = Taken(parts, sums, self._ends, len(self._ends), self._generation)
        if len(self._owners) > MAX_OWNERS:  # most are of pods that have ended
            self._by_owner.clear()
            self._owners.clear()
        if len(self._ends) > MAX_ENDS // 2:
            self._ends, self._numbers = [], {}
            self._by_address.clear()
            self._by_owner.clear()
            self._owners.clear()
            self._generation += 1
        return taken

    def _compact(self) -> None:
        if len(self._parts) > 1 or self._loose:
            self._parts = [Words.joined(self._parts).grouped()]
            self._rows = len(self._parts[0].ends)
        self._loose = 0

    def _words_of(self, batch: SettledBatch, used: I64 | None) -> Words:
        flows, chosen, resolution = batch.observed.flows, batch.chosen, batch.resolution
        if used is None:
            numbers = self._numbers_of_owners(batch.owners)
            src = numbers.take(resolution.src.take(chosen))
            dst = numbers.take(resolution.dst.take(chosen))
        else:
            numbers = self._numbers_of(flows, batch.owners, used)
            src = self._charged(batch, numbers, flows.src, resolution.src)
            dst = self._charged(batch, numbers, flows.dst, resolution.dst)
        initiator = resolution.initiators(chosen)
        port = service_port(flows.src_port.take(chosen), flows.dst_port.take(chosen), initiator)
        return Words.of(
            src,
            dst,
            minute_of(batch.closed) // 60,
            [port, flows.protocol.take(chosen), resolution.verdict.take(chosen), initiator],
            [flows.packets.take(chosen), flows.bytes.take(chosen)],
        )

    def _charged(self, batch: SettledBatch, numbers: I64, own: U32, charged: I64) -> I64:
        """The numbers of one end: its own address with the owner that is charged."""
        at, owned_by = own.take(batch.chosen).astype(np.int64), charged.take(batch.chosen)
        found = numbers.take(at)
        for row in np.flatnonzero(at != owned_by).tolist():
            address, owner = int(at[row]), batch.owners[int(owned_by[row])]
            is_external = batch.owners[address] == EXTERNAL
            found[row] = self._number(
                batch.observed.flows.addresses[address].tobytes(), owner, is_external=is_external
            )
        return found

    def _numbers_of_owners(self, owners: Sequence[Endpoint | int]) -> I64:
        """The number of the end of each owner, without detail."""
        if len(self._owners) > 2 * MAX_ENDS:
            self._by_owner.clear()
            self._owners.clear()
        found = list(map(self._by_owner.get, map(id, owners)))
        if None in found:
            for owner in owners:
                if id(owner) not in self._by_owner:
                    end = end_of(owner, "")._replace(pod="", node="")
                    self._by_owner[id(owner)] = self._numbered(end)
                    self._owners.append(owner)
            found = list(map(self._by_owner.get, map(id, owners)))
        return np.array(found, np.int64)

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
        return self._numbered(
            end_of(owner, _kept(address, self._external if is_external else "full"))
        )

    def _numbered(self, end: End) -> int:
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


def service_port(src: U16, dst: U16, initiator: U8) -> U16:
    """The port of the end that was connected to; the lower one if that is not known."""
    lower = np.where((src == 0) | (dst == 0), np.maximum(src, dst), np.minimum(src, dst))
    known = np.where(initiator == INITIATOR_DESTINATION, src, dst)
    is_known = (initiator == INITIATOR_SOURCE) | (initiator == INITIATOR_DESTINATION)
    found: U16 = np.where(is_known & (known != 0), known, lower)
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
