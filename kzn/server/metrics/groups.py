"""The metric of groups, for joins: which team the series of a workload are of.

In: a ledger, and groups by workload. Out: samples, one a workload. Never: a label more on the
series of traffic and cost, or a sample of a workload without such series.

What is beyond a limit has a sample, too, so that a join loses no byte.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from kzn.daemon.metrics import Metric, MetricSamples, Sample
from kzn.server.ledger.family import CAUSED_COST, WORKLOAD, WORKLOAD_COST, LedgerSnapshot
from kzn.server.ledger.places import NONE, OTHER
from kzn.topology.groups import WorkloadName

_AT_ONCE = 2048
_INFO = Metric(
    "kzn_workload_group_info",
    "gauge",
    ("namespace", "workload_kind", "workload", "group"),
    "1 for the group of a workload with series of traffic or cost; group is empty without one.",
)


def group_metrics(
    ledger: LedgerSnapshot,
    groups: Mapping[WorkloadName, str] | None,
) -> Iterator[MetricSamples | None]:
    """A sample of each workload; nothing if ``groups`` is None: they are not told."""
    if groups is None:
        return
    views = ledger.views
    shown = [one for one in (WORKLOAD, WORKLOAD_COST, CAUSED_COST) if one.name in views]
    if not shown:
        return
    found = [np.unique(one.layout.unpack(views[one.name].keys)[0]) for one in shown]
    if any(views[one.name].other.bytes for one in shown):
        found.append(np.array([OTHER]))
    labels = ledger.tables["workload"]
    samples: list[Sample] = []
    for number, code in enumerate(np.unique(np.concatenate(found)).tolist(), 1):
        if code != NONE:
            namespace, kind, name = labels[code]
            group = groups.get((namespace, kind, name), "")
            samples.append(((namespace, kind, name, group), 1))
        if number % _AT_ONCE == 0:
            yield None
    yield MetricSamples(_INFO, samples)
