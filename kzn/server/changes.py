"""What the resolved flows of a node change, computed before anything is changed.

In: observed flows, their resolution, and the room of the retry queue. Out: amounts for the node's
totals, flows for the retry queue, and flows for the sinks. Pure: what fails here fails before the
first change, so that the agent can send the batch again.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from kzn.columns.arrays import I64
from kzn.columns.group_sums import sums
from kzn.model.endpoint import EndpointIndex
from kzn.model.flows import Flows
from kzn.model.totals import Counts
from kzn.server.ledger.node_totals import NOTHING, Term
from kzn.server.resolve import verdict as v
from kzn.server.resolve.assumed import assumed
from kzn.server.resolve.late import divide, without
from kzn.server.resolve.reporting import LATE
from kzn.server.resolve.resolution import Resolution
from kzn.server.resolve.retry import ObservedFlows, RetryQueue
from kzn.server.stats import AssumedBytes


class Amount(NamedTuple):
    """What a total of the node grows by."""

    term: Term
    reason: str
    counts: Counts


@dataclass(frozen=True, slots=True, eq=False)
class Changes:
    """``amounts`` and ``held`` add up to the flows that were observed.

    ``later`` is to be queued, ``held`` are its counts, and ``overflow_flows`` could have been
    retried but for the limit. ``counted_here`` are bytes that absent nodes sent, by node.
    ``settled`` are flows of ``observed`` for the sinks; None if there is nothing to offer.
    """

    observed: ObservedFlows
    resolution: Resolution
    amounts: Sequence[Amount]
    later: ObservedFlows | None = None
    held: Counts = NOTHING
    overflow_flows: int = 0
    counted_here: Mapping[str, int] | None = None
    settled: I64 | None = None
    assumed: AssumedBytes = AssumedBytes()

    @property
    def is_node_unknown(self) -> bool:
        """Whether flows are unresolved because the topology does not have the node."""
        return any(amount.reason == v.NAMES[v.UNKNOWN_NODE] for amount in self.amounts)


def changes_of(
    observed: ObservedFlows,
    resolution: Resolution,
    queue: RetryQueue,
    index: EndpointIndex,
    *,
    has_sinks: bool,
) -> Changes:
    """What ``observed`` changes, apart from the ledger: that gets `Changes.observed`."""
    amounts: list[Amount] = []
    later, overflow = None, 0
    was_late = observed.is_late
    if was_late:
        observed, later, overflow, amounts = _late(observed, resolution, queue)
    by_verdict = resolution.by_verdict(observed.flows.packets, observed.flows.bytes)
    may_wait = not was_late and bool(v.MAY_RESOLVE_LATER[resolution.verdicts].any())
    packets, sizes = (column.tolist() for column in by_verdict)
    found = changes_of_part(
        observed, resolution, packets, sizes, queue, index,
        has_sinks=has_sinks, may_wait=may_wait,
    )  # fmt: skip
    found = replace(found, assumed=assumed(observed.flows, resolution))
    if not was_late:
        return found
    return replace(
        found,
        amounts=[*amounts, *found.amounts],
        later=later,
        held=NOTHING if later is None else counts_of(later.flows),
        overflow_flows=overflow,
    )


def changes_of_part(
    observed: ObservedFlows,
    resolution: Resolution,
    packets: list[int],
    sizes: list[int],
    queue: RetryQueue,
    index: EndpointIndex,
    *,
    has_sinks: bool,
    may_wait: bool,
) -> Changes:
    """`changes_of` flows that are not to be divided, whose counts by verdict are known.

    Without ``may_wait`` nothing is retried.
    """
    later, overflow = None, 0
    if may_wait and observed.retries_left:
        later, overflow = _later(observed, resolution, queue)
    queued = later is not None
    return Changes(
        observed,
        resolution,
        [*_amounts(packets, sizes, queued=queued)],
        later,
        NOTHING if later is None else counts_of(later.flows),
        overflow,
        _counted_here(observed, resolution, index),
        _settled(observed, resolution, queued=queued) if has_sinks else None,
    )


def amounts_of(packets: list[int], sizes: list[int]) -> list[Amount]:
    """The amounts of flows none of which is retried, by their counts by verdict."""
    return [*_amounts(packets, sizes, queued=False)]


def counts_of(flows: Flows) -> Counts:
    """The packets and bytes of ``flows``."""
    return Counts(int(flows.packets.sum()), int(flows.bytes.sum()))


def _late(
    observed: ObservedFlows, resolution: Resolution, queue: RetryQueue
) -> tuple[ObservedFlows, ObservedFlows | None, int, list[Amount]]:
    """What is counted of a late batch now, what is retried, what did not fit, and what is taken.

    It is divided once all flows are resolved: until then all that may be part of it are queued.
    """
    may_resolve = v.MAY_RESOLVE_LATER[resolution.verdict]
    to_others = resolution.to_other_agents()
    overflow = 0
    if observed.retries_left and may_resolve.any():
        chosen = np.flatnonzero(may_resolve | to_others)
        later = observed.for_retry(chosen)
        if queue.has_room(len(later.flows)):
            return without(observed, chosen), later, 0, []
        overflow = int(may_resolve.sum())
    divided = divide(observed, np.flatnonzero(to_others))
    taken = [Amount("transit", "", divided.transit), Amount("unresolved", LATE, divided.late)]
    return divided.observed, None, overflow, [one for one in taken if one.counts != NOTHING]


def _later(
    observed: ObservedFlows, resolution: Resolution, queue: RetryQueue
) -> tuple[ObservedFlows | None, int]:
    """The flows that may resolve later, or how many of them the queue has no room for."""
    chosen = np.flatnonzero(v.MAY_RESOLVE_LATER[resolution.verdict])
    if not chosen.size:
        return None, 0
    if not queue.has_room(len(chosen)):
        return None, len(chosen)
    return observed.for_retry(chosen), 0


def _amounts(packets: list[int], sizes: list[int], *, queued: bool) -> Iterator[Amount]:
    for code, (of_packets, size) in enumerate(zip(packets, sizes, strict=True)):
        if not (of_packets or size) or (queued and v.MAY_RESOLVE_LATER[code]):
            continue
        counts = Counts(of_packets, size)
        if code < v.TRANSIT:
            yield Amount("attributed", "", counts)
        elif code == v.TRANSIT:
            yield Amount("transit", "", counts)
        else:
            yield Amount("unresolved", v.NAMES[code], counts)


def _counted_here(
    observed: ObservedFlows, resolution: Resolution, index: EndpointIndex
) -> Mapping[str, int] | None:
    if not resolution.counted_at_destination.any():
        return None
    chosen = np.flatnonzero(resolution.counted_at_destination.ravel().take(resolution.cell))
    rows, sizes = resolution.src.take(chosen), observed.flows.bytes.take(chosen)
    by_row = sums(rows, sizes, len(resolution.endpoints))
    by_node: Counter[str] = Counter()
    for row in np.flatnonzero(by_row).tolist():
        by_node[index.endpoint(int(resolution.endpoints[row])).node] += int(by_row[row])
    return by_node


def _settled(observed: ObservedFlows, resolution: Resolution, *, queued: bool) -> I64:
    settled = resolution.verdict != v.TRANSIT
    if queued:
        settled &= ~v.MAY_RESOLVE_LATER[resolution.verdict]
    if observed.is_late:
        settled &= observed.flows.packets > 0
    return np.flatnonzero(settled)
