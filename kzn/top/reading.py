"""One reading of a server: all sums at one moment, added up to what the view shows.

In: an `ApiClient`. Out: a `Reading`. Raises: KznError if a request fails.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from kzn.client import api
from kzn.client.api import MAX_LIMIT, PairRow, Status, WorkloadRow, ZoneRow
from kzn.client.http import ApiClient

CROSS = frozenset({"cross_zone", "cross_region"})
_QUERY = (("limit", MAX_LIMIT),)


class ZonePair(NamedTuple):
    """Source zone, destination zone (empty outside the cluster) and class."""

    src: str
    dst: str
    traffic_class: str


class Workload(NamedTuple):
    """A workload; a node has no namespace."""

    namespace: str
    kind: str
    name: str


class Pair(NamedTuple):
    """Two workloads and their zones."""

    src_namespace: str
    src: str
    src_zone: str
    dst_namespace: str
    dst: str
    dst_zone: str


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """Sums of bytes at ``at``, monotonic seconds.

    Columns of a workload: ``sent`` and ``received`` across zones or regions, and
    ``egress_CLASS``, ``ingress_CLASS`` of the other classes. ``cut`` is how many rows of workloads
    the server left out.
    """

    at: float
    status: Status
    zones: Mapping[ZonePair, int]
    workloads: Mapping[Workload, Mapping[str, int]]
    pairs: Mapping[Pair, int]
    cut: int = 0


def take_reading(server: ApiClient, clock: Callable[[], float] = time.monotonic) -> Reading:
    """Four requests, one after the other; ``clock`` is read after the last."""
    status = server.fetch("status", Status.from_json)
    zone_rows, _ = server.fetch("zones", partial(api.rows, "zones", ZoneRow), _QUERY)
    workload_rows, of = server.fetch(
        "workloads", partial(api.rows, "workloads", WorkloadRow), _QUERY
    )
    pair_rows, _ = server.fetch("pairs", partial(api.rows, "pairs", PairRow), _QUERY)

    zones: dict[ZonePair, int] = {}
    for zone in zone_rows:
        key = ZonePair(zone.src_zone, zone.dst_zone, zone.class_)
        zones[key] = zones.get(key, 0) + zone.bytes
    workloads: dict[Workload, dict[str, int]] = {}
    for row in workload_rows:
        owner = Workload(row.namespace, row.workload_kind, row.workload)
        sums = workloads.setdefault(owner, {})
        column = _column(row.direction, row.class_)
        sums[column] = sums.get(column, 0) + row.bytes
    pairs: dict[Pair, int] = {}
    for found in pair_rows:  # one row for each initiator
        pair = Pair(*found[:6])
        pairs[pair] = pairs.get(pair, 0) + found.bytes
    return Reading(clock(), status, zones, workloads, pairs, max(0, of - MAX_LIMIT))


def _column(direction: str, traffic_class: str) -> str:
    if traffic_class in CROSS:
        return "sent" if direction == "egress" else "received"
    return f"{direction}_{traffic_class}"
