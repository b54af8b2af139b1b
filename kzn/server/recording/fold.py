"""Folds settled flows by minute, ends, port, protocol, verdict and initiator.

In: observed flows with their resolution and the owners of their addresses, batch by batch.
Out: rows of SETTLED by hour, and the ends that their numbers mean. Pure; used by one thread.
Never: more than ``max_rows`` rows, or a sum of one take that exceeds `MAX_SUM`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat
from operator import is_

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
from kzn.server.recording.owners import Learned, OwnerNumbers
from kzn.server.recording.rest import RestOfZones
from kzn.server.recording.words import Rows, Words
from kzn.server.resolve.resolution import Resolution
from kzn.server.settled_totals import by_class

MAX_ROWS = 1_000_000
"""40 MB: the minute of a cluster of some 40,000 pods."""
MAX_SUM = 1 << 53
"""9 PB in a minute; the sums of a day of such minutes fit into 64 bits."""
MAX_ENDS = 400_000
"""Most ends with a number; from half of it on, numbering begins anew with the next minute."""
_COMPACT = 1 << 17
MAX_OF_HOUR = 1 << 16
"""Rows without detail beyond which the smaller ones are added up by zone: the hour in memory keeps
a fraction of them, and to sort a million again and again would cost more than all else."""
_ONE = np.uint16(1)
_KINDS = {EXTERNAL: "External", UNKNOWN: "Unknown", AMBIGUOUS: "Ambiguous", UNSETTLED: "Unknown"}
_IPV4_CUT = np.frombuffer(b"\xff" * 15 + b"\x00", np.uint8).tobytes()
_IPV6_CUT = b"\xff" * 6 + b"\x00" * 10


@dataclass(frozen=True, slots=True, eq=False)
class SettledBatch:
    """The settled flows ``chosen`` of one batch, or of several that were joined.

    ``minutes`` is the minute since 1970 in which their interval ended, one for all or (chosen,).
    ``owners`` are those of the rows of ``resolution.endpoints``, for a fold with detail; for one
    without it ``learned`` are those that it does not know yet.
    """

    flows: Flows
    resolution: Resolution
    chosen: I64
    owners: Sequence[Endpoint | int]
    learned: Learned
    minutes: I64 | int
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

    Without ``has_detail`` ends have no pod, node and address, numbering them costs a third, and of
    more than `MAX_OF_HOUR` rows the smaller half is added up by zone.
    """

    def __init__(
        self,
        external: ExternalAddresses = "full",
        *,
        max_rows: int = MAX_ROWS,
        has_detail: bool = True,
    ) -> None:
        self._external = external
        self.has_detail = has_detail
        self._owners = OwnerNumbers(self._numbered_owner)
        self._rest = RestOfZones(self._numbered)
        self._max_rows = max_rows
        self._generation = 0
        self._ends: list[End] = []
        self._numbers: dict[End, int] = {}
        self._places: dict[bytes, int] = {}
        """Of an address in the next two: its owner, and the number of its end."""
        self._owner_at: list[Endpoint | int | None] = [None]
        self._number_at: list[int] = [-1]
        self._parts: list[Words] = []
        self._rows = self._loose = 0
        self._sum = Sum()

    def add(self, batch: SettledBatch) -> str:
        """Add a batch; an empty string, or the reason why all of it is left out."""
        self._owners.learn(batch.learned)
        total = self._sum.plus(_total(batch.sums))
        if max(total) >= MAX_SUM:
            return "overflow"
        if self._rows + len(batch.chosen) > self._max_rows:
            self._compact()
            if self._rows + len(batch.chosen) > self._max_rows:
                return "full"
        used = _used_addresses(batch) if self.has_detail else None
        most = len(batch.resolution.endpoints) if used is None else len(used)
        if len(self._ends) + most > MAX_ENDS:
            return "full"
        self._parts.append(self._words_of(batch, used))
        self._sum = total
        self._rows += len(batch.chosen)
        self._loose += len(batch.chosen)
        # In proportion to what is grouped already: sorting it again costs as much.
        if self._loose >= max(_COMPACT, self._rows - self._loose):
            self._compact()
        return ""

    def take(self) -> Taken:
        """Everything so far, which is forgotten."""
        self._compact()
        rows = self._parts[0].rows() if self._parts else np.zeros(0, SETTLED)
        self._parts, self._rows, self._sum = [], 0, Sum()
        parts = _by_hour(rows)
        sums = tuple(by_class(part["verdict"], part["packets"], part["bytes"]) for part in parts)
        taken = Taken(parts, sums, self._ends, len(self._ends), self._generation)
        if len(self._ends) > MAX_ENDS // 2:
            self.forget()
        return taken

    def forget(self) -> None:
        """Begin anew after an error in any state; numbers of ends begin anew, too."""
        self._parts, self._rows, self._loose, self._sum = [], 0, 0, Sum()
        self._ends, self._numbers = [], {}
        self._forget_addresses()
        self._owners.begin_anew()
        self._rest.begin_anew()
        self._generation += 1

    def _compact(self) -> None:
        if len(self._parts) > 1 or self._loose:
            words = Words.joined(self._parts).grouped()
            if not self.has_detail and len(words.ends) > MAX_OF_HOUR:
                words = self._limited(words)
            self._parts = [words]
            self._rows = len(words.ends)
        self._loose = 0

    def _limited(self, words: Words) -> Words:
        kept, others = words.largest(MAX_OF_HOUR // 2)
        rest = others.without_ports(lambda numbers: self._rest.of(numbers, self._ends))
        return Words.joined([kept, rest.grouped()])

    def _words_of(self, batch: SettledBatch, used: I64 | None) -> Words:
        flows, chosen, resolution = batch.flows, batch.chosen, batch.resolution
        if used is None:
            numbers = self._owners.of(resolution.endpoints)
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
            batch.minutes,
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
                batch.flows.addresses[address].tobytes(), owner, is_external=is_external
            )
        return found

    def _numbered_owner(self, owner: Endpoint | int) -> int:
        """The number of the end of an owner, without detail."""
        return self._numbered(end_of(owner, "")._replace(pod="", node=""))

    def _numbers_of(self, flows: Flows, owners: Sequence[Endpoint | int], used: I64) -> I64:
        """The number of the end of each address in ``used`` with its own owner.

        A step in Python for each would be a third of what recording costs: those whose owner is the
        same object as before, which nearly all are, are found by built-in functions alone.
        """
        if len(self._owner_at) > 2 * MAX_ENDS:
            self._forget_addresses()
        addresses: list[bytes] = flows.addresses.take(used, axis=0).view("V16").ravel().tolist()
        owned_by = [*map(owners.__getitem__, used.tolist())]
        places = [*map(self._places.get, addresses, repeat(0))]
        is_known = map(is_, owned_by, map(self._owner_at.__getitem__, places))
        for row, known in enumerate([*is_known]):
            if not known:
                places[row] = self._place(addresses[row], owned_by[row], places[row])
        found = np.zeros(len(flows.addresses), np.int64)
        found[used] = [*map(self._number_at.__getitem__, places)]
        return found

    def _place(self, address: bytes, owner: Endpoint | int, place: int) -> int:
        """The place of an address whose owner is not the object that is at ``place``."""
        if place and self._owner_at[place] == owner:
            self._owner_at[place] = owner
            return place
        number = self._number(address, owner, is_external=owner == EXTERNAL)
        # Never changed: another row of this batch may have the address with the owner before.
        self._places[address] = len(self._owner_at)
        self._owner_at.append(owner)
        self._number_at.append(number)
        return len(self._owner_at) - 1

    def _forget_addresses(self) -> None:
        self._places.clear()
        self._owner_at, self._number_at = [None], [-1]

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


def _by_hour(rows: Rows) -> tuple[Rows, ...]:
    """The rows of each hour; nearly always there is one."""
    if not len(rows):
        return ()
    hours = rows["time"] // 3600
    if hours.min() == hours.max():
        return (rows,)
    return tuple(rows[hours == hour] for hour in np.unique(hours))


def _used_addresses(batch: SettledBatch) -> I64:
    flows = batch.flows
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
        group=owner.group,
    )


def minute_of(closed: float) -> int:
    """The minute in which an interval ended; one that ends with a minute belongs to it."""
    return (math.ceil(closed / 60) - 1) * 60


def service_port(src: U16, dst: U16, initiator: U8) -> U16:
    """The port of the end that was connected to; the lower one if that is not known."""
    # The lower one: 0, which is none, becomes the greatest number for the comparison.
    found: U16 = np.minimum(src - _ONE, dst - _ONE) + _ONE
    np.copyto(found, dst, where=(initiator == INITIATOR_SOURCE) & (dst != 0))
    np.copyto(found, src, where=(initiator == INITIATOR_DESTINATION) & (src != 0))
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
