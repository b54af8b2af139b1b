"""One reading of one or more servers: all sums at one moment, added up to what the view shows.

In: an `ApiClient` for each server. Out: a `Reading`. Raises: KznError if a request fails,
UsageError when two of them are the same server, whose bytes would be counted twice.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import NamedTuple

from kzn.client import api
from kzn.client.api import MAX_LIMIT, PairRow, Status, StatusBytes, WorkloadRow, ZoneRow
from kzn.client.http import ApiClient
from kzn.errors import UsageError

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


@dataclass(slots=True)
class Cost:
    """What bytes cost so far, by currency; ``unpriced`` are those without a known price."""

    by_currency: Counter[str] = field(default_factory=Counter)
    unpriced: int = 0

    def add(self, row: ZoneRow | WorkloadRow | PairRow) -> None:
        """Add the cost of a row."""
        if row.cost is not None:
            self.by_currency[row.currency] += row.cost  # type: ignore[assignment] # money
        self.unpriced += row.unpriced_bytes or 0


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """Sums of bytes at ``at``, monotonic seconds.

    Columns of a workload: ``sent`` and ``received`` across zones or regions, and
    ``egress_CLASS``, ``ingress_CLASS`` of the other classes. ``cut`` is how many rows of workloads
    the server left out. ``status`` is the sum of ``servers``.
    """

    at: float
    status: Status
    zones: Mapping[ZonePair, int]
    workloads: Mapping[Workload, Mapping[str, int]]
    pairs: Mapping[Pair, int]
    cut: int = 0
    servers: tuple[Status, ...] = ()
    zone_costs: Mapping[ZonePair, Cost] = field(default_factory=dict)
    workload_costs: Mapping[Workload, Cost] = field(default_factory=dict)
    pair_costs: Mapping[Pair, Cost] = field(default_factory=dict)


def take_reading(
    servers: Sequence[ApiClient], clock: Callable[[], float] = time.monotonic
) -> Reading:
    """Four requests to each server, one after the other; ``clock`` is read after the last."""
    statuses = tuple(server.fetch("status", Status.from_json) for server in servers)
    _refuse_twice(servers, statuses)
    zones: Counter[ZonePair] = Counter()
    workloads: dict[Workload, Counter[str]] = {}
    pairs: Counter[Pair] = Counter()
    zone_costs: dict[ZonePair, Cost] = {}
    workload_costs: dict[Workload, Cost] = {}
    pair_costs: dict[Pair, Cost] = {}
    cut = 0
    for server in servers:
        zone_rows, _ = server.fetch("zones", partial(api.rows, "zones", ZoneRow), _QUERY)
        for zone in zone_rows:
            key = ZonePair(zone.src_zone, zone.dst_zone, zone.class_)
            zones[key] += zone.bytes
            zone_costs.setdefault(key, Cost()).add(zone)
        workload_rows, of = server.fetch(
            "workloads", partial(api.rows, "workloads", WorkloadRow), _QUERY
        )
        cut += max(0, of - MAX_LIMIT)
        for row in workload_rows:
            owner = Workload(row.namespace, row.workload_kind, row.workload)
            workload_costs.setdefault(owner, Cost()).add(row)
            workloads.setdefault(owner, Counter())[_column(row.direction, row.class_)] += row.bytes
        pair_rows, _ = server.fetch("pairs", partial(api.rows, "pairs", PairRow), _QUERY)
        for found in pair_rows:  # one row for each initiator
            pairs[Pair(*found[:6])] += found.bytes
            pair_costs.setdefault(Pair(*found[:6]), Cost()).add(found)
    return Reading(
        clock(),
        _added(statuses),
        zones,
        workloads,
        pairs,
        cut,
        statuses,
        zone_costs,
        workload_costs,
        pair_costs,
    )


def _refuse_twice(servers: Sequence[ApiClient], statuses: Sequence[Status]) -> None:
    urls: dict[str, str] = {}
    for server, status in zip(servers, statuses, strict=True):
        if status.instance and status.instance in urls:
            raise UsageError(
                f"{urls[status.instance]} and {server.url} are the same server",
                hint="a Service's address leads to any of its servers: forward to each pod",
            )
        urls[status.instance] = server.url


def _added(statuses: Sequence[Status]) -> Status:
    """The sum of several servers of one cluster; each knows all nodes and hears of its own."""
    first, *rest = statuses
    if not rest:
        return first
    refused: Counter[str] = Counter()
    for status in statuses:
        refused.update(status.refused)
    known = max(status.nodes_known for status in statuses)
    return replace(
        first,
        version=", ".join(dict.fromkeys(status.version for status in statuses)),
        ready=all(status.ready for status in statuses),
        why_not_ready="; ".join(s.why_not_ready for s in statuses if s.why_not_ready),
        refused=refused,
        bytes=StatusBytes(
            **{f.name: sum(getattr(s.bytes, f.name) for s in statuses) for f in fields(StatusBytes)}
        ),
        topology=tuple(source for status in statuses for source in status.topology),
        instance="",
        nodes_known=known,
        # A node that has just changed its server reports to both for three intervals.
        nodes_reporting=min(known, sum(status.nodes_reporting for status in statuses)),
        nodes_without_agent=min(status.nodes_without_agent for status in statuses),
        agents=sum(status.agents for status in statuses),
        nodes=sum(status.nodes for status in statuses),
        batches=sum(status.batches for status in statuses),
        flows=sum(status.flows for status in statuses),
        duplicates=sum(status.duplicates for status in statuses),
        # Each server prices its own bytes, by its own lists: all of them stand behind the sums.
        prices=tuple(dict.fromkeys(one for status in statuses for one in status.prices)),
        # Several may have the same proposals, of the same bytes if they ask one engine.
        proposals=None,
        saving_per_month={},
    )


def _column(direction: str, traffic_class: str) -> str:
    if traffic_class in CROSS:
        return "sent" if direction == "egress" else "received"
    return f"{direction}_{traffic_class}"
