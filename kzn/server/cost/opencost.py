"""The counters of a pod's traffic that OpenCost reads (``--opencost``).

In: settled flows, as a flow sink. Out: an `OpenCostSnapshot`. Never: a price or a gauge that
OpenCost emits itself, two uids of one pod at a time, or more pods than a limit.

OpenCost does not read traffic within a zone, so that has no series: a pod has six at most. They are
not saved: with a new server they begin at 0, as Prometheus expects of a counter.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from kzn.columns.arrays import BOOL, F64, I64, U64
from kzn.columns.group_sums import group_sums
from kzn.model.endpoint import POD, Endpoint, EndpointIndex
from kzn.server.ledger.first_scrape import FirstScrape
from kzn.server.resolve import verdict as v
from kzn.server.resolve.resolution import Resolution
from kzn.server.resolve.retry import ObservedFlows

MAX_PODS = 100_000
RETENTION = 6 * 3600.0
"""Seconds for which a deleted pod stays after its last byte, as in the family of pods."""
SWEEP_SECONDS = 60.0
EGRESS, INGRESS = range(2)
CLASSES = (v.CROSS_ZONE, v.CROSS_REGION, v.EXTERNAL_CLASS)
_FIRST = CLASSES[0]
_SHAPE = (2, len(CLASSES))
_FEW = 64
_REPLACED = 8
"""Former uids of a name that are remembered: batches of so many pods before can be late."""

PodLabels = tuple[str, str, str]
"""Name, namespace and uid."""


@dataclass(frozen=True, slots=True, eq=False)
class OpenCostSnapshot:
    """A copy: ``pods`` (n,) by row, None for a free one; the others (n, 2, 3) by class.

    The second dimension is egress and ingress. A series is there once it has begun (not 0, in Unix
    time) and shows 0 unless it is ``exposed``, or on the page of these counters alone
    ``exposed_alone``. ``dropped`` is bytes of pods beyond the limit, and of ended pods whose name
    another pod has by now.
    """

    pods: list[PodLabels | None]
    bytes: U64
    exposed: BOOL
    exposed_alone: BOOL
    created: F64
    dropped: int

    def alone(self) -> "OpenCostSnapshot":
        """What the page of these counters alone shows."""
        return replace(self, exposed=self.exposed_alone)


class OpenCostCounters:
    """A flow sink. ``epoch`` is what to add to ``now`` to get Unix time.

    ``first_scrape`` is the rule of the page with these counters alone: who scrapes that does not
    scrape the others, and the reverse.
    """

    def __init__(
        self,
        now: Callable[[], float],
        *,
        epoch: float = 0.0,
        first_scrape: FirstScrape | None = None,
        limit: int = MAX_PODS,
    ) -> None:
        self._now, self._epoch, self._limit = now, epoch, limit
        self._first_scrape = first_scrape or FirstScrape(0.0)
        self._rows: dict[tuple[str, str], int] = {}
        self._pods: list[PodLabels | None] = []
        self._owners: list[Endpoint | None] = []
        self._replaced: list[tuple[str, ...]] = []
        self._free: list[int] = []
        self._bytes = np.zeros((0, *_SHAPE), np.uint64)
        self._began = np.zeros((0, *_SHAPE))
        self._touched = np.zeros(0)
        self._dropped = 0
        self._next_sweep = 0.0

    def offer(
        self, observed: ObservedFlows, resolution: Resolution, chosen: I64, index: EndpointIndex
    ) -> None:
        """Add the flows that leave a zone to their pods."""
        verdicts = resolution.verdict.take(chosen)
        chosen = chosen[(verdicts >= _FIRST) & (verdicts < v.TRANSIT)]
        if not chosen.size:
            return
        cls = resolution.verdict.take(chosen).astype(np.int64) - _FIRST
        sizes, now = observed.flows.bytes.take(chosen), self._now()
        for direction, ends in ((EGRESS, resolution.src), (INGRESS, resolution.dst)):
            cells = ends.take(chosen) * len(CLASSES) + cls
            filled, amounts = group_sums(cells, sizes, len(resolution.endpoints) * len(CLASSES))
            self._add(direction, filled, amounts, resolution, index, now)

    def sweep(self, index: EndpointIndex) -> None:
        """End the series of pods that were deleted and idle; to be called at each tick."""
        now = self._now()
        if now < self._next_sweep:
            return
        self._next_sweep = now + SWEEP_SECONDS
        for row in np.flatnonzero(self._touched[: len(self._pods)] < now - RETENTION).tolist():
            owner = self._owners[row]
            if owner is not None and not index.lives(owner):
                del self._rows[owner.namespace, owner.name]
                self._pods[row] = self._owners[row] = None
                self._replaced[row] = ()
                self._clear(row)
                self._free.append(row)

    def snapshot(self, begun_before: float) -> OpenCostSnapshot:
        """A copy; series that began before that time (first_scrape.py) show their bytes."""
        size = len(self._pods)
        began = self._began[:size]
        return OpenCostSnapshot(
            self._pods.copy(),
            self._bytes[:size].copy(),
            began < begun_before,
            began < self._first_scrape.begun_before(self._now()),
            np.where(began > 0, began + self._epoch, 0.0),
            self._dropped,
        )

    def scraped(self, taken: float, *, is_prometheus: bool, by: str) -> None:
        """The page of these counters alone, as of ``taken``, was received completely by ``by``."""
        self._first_scrape.scraped(taken, self._now(), is_prometheus=is_prometheus, by=by)

    def _add(
        self,
        direction: int,
        cells: I64,
        amounts: U64,
        resolution: Resolution,
        index: EndpointIndex,
        now: float,
    ) -> None:
        ends, cls = np.divmod(cells, len(CLASSES))
        ids = resolution.endpoints.take(ends)
        for number, kind, amount in zip(ids.tolist(), cls.tolist(), amounts.tolist(), strict=True):
            owner = index.endpoint(number) if number >= 0 else None
            if owner is None or owner.kind != POD or not owner.uid:
                continue
            row = self._row(owner, index)
            if row is None:
                self._dropped += amount
                continue
            if not self._began[row, direction, kind]:
                self._began[row, direction, kind] = now
            self._bytes[row, direction, kind] += np.uint64(amount)
            self._touched[row] = now

    def _row(self, owner: Endpoint, index: EndpointIndex) -> int | None:
        """The row of a pod; a new uid of its name begins at 0, and the one before ends.

        None beyond the limit, and for an ended pod that has a successor: its batch is late. While
        the index has two pods of the name, one deletion was not seen, and which is the ended one is
        not known: the row stays until the pods are listed again.
        """
        name = (owner.namespace, owner.name)
        row = self._rows.get(name)
        if row is None:
            if len(self._rows) >= self._limit:
                return None
            row = self._rows[name] = self._free.pop() if self._free else self._append()
        else:
            known = self._owners[row]
            if known is not None and known.uid == owner.uid:
                return row
            if known is not None:
                if owner.uid in self._replaced[row] or index.lives(known):
                    return None
                self._replaced[row] = (known.uid, *self._replaced[row][: _REPLACED - 1])
            self._clear(row)
        self._pods[row], self._owners[row] = (owner.name, owner.namespace, owner.uid), owner
        return row

    def _append(self) -> int:
        self._pods.append(None)
        self._owners.append(None)
        self._replaced.append(())
        if (size := len(self._pods)) > len(self._touched):
            more = max(_FEW, size)
            for name in ("_bytes", "_began", "_touched"):
                column = getattr(self, name)
                room = np.zeros((more, *column.shape[1:]), column.dtype)
                setattr(self, name, np.concatenate([column, room]))
        return size - 1

    def _clear(self, row: int) -> None:
        self._bytes[row] = 0
        self._began[row] = 0.0
        self._touched[row] = 0.0
