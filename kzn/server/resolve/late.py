"""Divides a late batch: what others counted of it (reporting.py) is not counted here again.

In: observed flows of which others counted some, and those that went to other nodes. Out: the flows
with what is left of their counts, and the counts that were taken, as transit or as `LATE`. Pure.
Never: a packet or byte more or less in sum.
"""

from dataclasses import replace
from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np

from kzn.columns.arrays import I64, U64
from kzn.model.totals import Counts
from kzn.server.resolve.retry import ObservedFlows


class Divided(NamedTuple):
    """``observed`` with what is left; ``late`` is what cannot be told."""

    observed: ObservedFlows
    transit: Counts = Counts()
    late: Counts = Counts()


def divide(observed: ObservedFlows, chosen: I64) -> Divided:
    """Take what others counted from the flows ``chosen``, in proportion to their bytes."""
    flows, elsewhere = observed.flows, observed.elsewhere
    sizes, packets = flows.bytes.take(chosen), flows.packets.take(chosen)
    total = int(sizes.sum())
    if not total:
        return Divided(observed)
    transit = elsewhere.certain if elsewhere.certain <= total else 0
    part = total if not transit and elsewhere.certain else min(sum(elsewhere), total)
    # Exactly ``part`` in sum: the differences of the rounded running sums.
    ends = [0, *(end * part // total for end in accumulate(sizes.tolist()))]
    taken = np.array([end - begin for begin, end in pairwise(ends)], np.uint64)
    share = taken / np.maximum(sizes, np.uint64(1))
    fewer = np.where(taken == sizes, packets, np.floor(packets * share).astype(np.uint64))
    in_transit = Counts(int(fewer.sum()) * transit // max(part, 1), transit)
    late = Counts(int(fewer.sum()) - in_transit.packets, part - transit)
    left_bytes, left_packets = flows.bytes.copy(), flows.packets.copy()
    left_bytes[chosen] -= taken
    left_packets[chosen] -= fewer
    return Divided(_with_counts(observed, left_packets, left_bytes), in_transit, late)


def without(observed: ObservedFlows, chosen: I64) -> ObservedFlows:
    """``observed`` with nothing counted of the flows ``chosen``."""
    left = np.ones(len(observed.flows), np.uint64)
    left[chosen] = 0
    return _with_counts(observed, observed.flows.packets * left, observed.flows.bytes * left)


def _with_counts(observed: ObservedFlows, packets: U64, sizes: U64) -> ObservedFlows:
    return replace(observed, flows=replace(observed.flows, packets=packets, bytes=sizes))
