"""Folds settled flows by minute, ends, port, protocol, verdict and initiator.

In: observed flows with their resolution and the owners of their addresses, batch by batch.
Out: rows of SETTLED by hour, and the ends that their numbers mean. Pure; used by one thread.
Never: more than ``max_rows`` rows, or a sum of one take that exceeds `MAX_SUM`.
"""

import math
from dataclasses import dataclass

import numpy as np

from kzn.columns.arrays import I64, U8, U16, U32
from kzn.model.endpoint import EXTERNAL
from kzn.model.flows import INITIATOR_DESTINATION, INITIATOR_SOURCE, Flows
from kzn.model.settled import SETTLED, ByClass, End, Sum, added
from kzn.server.config import ExternalAddresses
from kzn.server.recording.ends import MAX_ENDS, Ends
from kzn.server.recording.owners import Learned, OwnerNumbers
from kzn.server.recording.rest import RestOfZones
from kzn.server.recording.words import Rows, Words
from kzn.server.resolve.resolution import Resolution
from kzn.server.settled_totals import by_class

MAX_ROWS = 1_000_000
"""40 MB: the minute of a cluster of some 40,000 pods."""
MAX_SUM = 1 << 53
"""9 PB in a minute; the sums of a day of such minutes fit into 64 bits."""
_COMPACT = 1 << 18
MAX_OF_HOUR = 1 << 16
"""Rows without detail beyond which the smaller ones are added up by zone: the hour in memory keeps
a fraction of them, and to group a million again and again would cost more than all else."""
_ONE = np.uint16(1)


@dataclass(frozen=True, slots=True, eq=False)
class SettledBatch:
    """The settled flows ``chosen`` of one batch, or of several that were joined.

    ``minutes`` is the minute since 1970 in which their interval ended, one for all or (chosen,).
    ``learned`` are the owners of those ids in ``resolution.endpoints`` that the fold does not know.
    """

    flows: Flows
    resolution: Resolution
    chosen: I64
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

    Without ``has_detail`` ends have no pod, node and address, and of more than `MAX_OF_HOUR` rows
    the smaller half is added up by zone.
    """

    def __init__(
        self,
        external: ExternalAddresses = "full",
        *,
        max_rows: int = MAX_ROWS,
        has_detail: bool = True,
    ) -> None:
        self._has_detail = has_detail
        self._ends = Ends(external)
        number_of = self._ends.owner_number if has_detail else self._ends.of_owner
        self._owners = OwnerNumbers(number_of)
        self._rest = RestOfZones(self._ends.numbered)
        self._max_rows = max_rows
        self._generation = 0
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
        used = _used_addresses(batch) if self._has_detail else None
        most = len(batch.resolution.endpoints) if used is None else len(used)
        if len(self._ends.list) + most > MAX_ENDS:
            return "full"
        self._parts.append(self._words_of(batch, used))
        self._sum = total
        self._rows += len(batch.chosen)
        self._loose += len(batch.chosen)
        # In proportion to what is grouped already: to group it again costs as much.
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
        ends = self._ends.list
        taken = Taken(parts, sums, ends, len(ends), self._generation)
        if len(ends) > MAX_ENDS // 2:  # numbers begin anew with the next minute
            self.forget()
        return taken

    def forget(self) -> None:
        """Begin anew after an error in any state; numbers of ends begin anew, too."""
        self._parts, self._rows, self._loose, self._sum = [], 0, 0, Sum()
        self._ends.begin_anew()
        self._owners.begin_anew()
        self._rest.begin_anew()
        self._generation += 1

    def _compact(self) -> None:
        if len(self._parts) > 1 or self._loose:
            words = Words.joined(self._parts).grouped()
            if not self._has_detail and len(words.ends) > MAX_OF_HOUR:
                words = self._limited(words)
            self._parts = [words]
            self._rows = len(words.ends)
        self._loose = 0

    def _limited(self, words: Words) -> Words:
        kept, others = words.largest(MAX_OF_HOUR // 2)
        rest = others.without_ports(lambda numbers: self._rest.of(numbers, self._ends.list))
        return Words.joined([kept, rest.grouped()])

    def _words_of(self, batch: SettledBatch, used: I64 | None) -> Words:
        flows, chosen, resolution = batch.flows, batch.chosen, batch.resolution
        if used is None:
            numbers = self._owners.of(resolution.endpoints)
            src = numbers.take(resolution.src.take(chosen))
            dst = numbers.take(resolution.dst.take(chosen))
        else:
            if self._ends.is_full():
                self._ends.forget_addresses()
                self._owners.begin_anew()
            owners = self._owners.of(resolution.endpoints)
            numbers = np.zeros(len(flows.addresses), np.int64)
            numbers[used] = self._numbers_of(batch, used, owners.take(used))
            src = self._charged(batch, numbers, owners, flows.src, resolution.src)
            dst = self._charged(batch, numbers, owners, flows.dst, resolution.dst)
        initiator = resolution.initiators(chosen)
        port = service_port(flows.src_port.take(chosen), flows.dst_port.take(chosen), initiator)
        return Words.of(
            src,
            dst,
            batch.minutes,
            [port, flows.protocol.take(chosen), resolution.verdict.take(chosen), initiator],
            [flows.packets.take(chosen), flows.bytes.take(chosen)],
        )

    def _charged(
        self, batch: SettledBatch, numbers: I64, owners: I64, own: U32, charged: I64
    ) -> I64:
        """The numbers of one end: its own address with the owner that is charged."""
        at, owned_by = own.take(batch.chosen).astype(np.int64), charged.take(batch.chosen)
        found = numbers.take(at)
        others = np.flatnonzero(at != owned_by)
        if len(others):
            found[others] = self._numbers_of(
                batch, at.take(others), owners.take(owned_by.take(others))
            )
        return found

    def _numbers_of(self, batch: SettledBatch, rows: I64, owners: I64) -> I64:
        """The number of the end of the address in each of ``rows`` (n,) with the owner charged."""
        is_external = batch.resolution.endpoints.take(rows) == EXTERNAL
        return self._ends.of_addresses(
            batch.flows.addresses.take(rows, axis=0), owners, is_external
        )


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


def _total(sums: ByClass) -> Sum:
    return added({"": Sum()}, *({"": amount} for amount in sums.values()))[""]
