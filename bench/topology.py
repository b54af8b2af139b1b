"""Cost of the topology in the largest cluster: list and index, memory, one event.

5,000 nodes, 30,000 ReplicaSets and 150,000 pods of two addresses each, as pages and watch lines of
the size that an API server sends (6 kB a pod), through the server's own list-watches. The baseline
is plain Python: json.loads, and dicts of the fields needed.
"""

import json
import resource
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import count
from random import Random
from typing import Any

from lib.apifleet import ApiFleet
from lib.report import finish

from kzn.topology.index import AddressIndex
from kzn.topology.kube.list_watch import ListWatch, Sink
from kzn.topology.kube.resources import NODE_RESOURCE, POD_RESOURCE, REPLICASET_RESOURCE
from kzn.topology.kube.workload_join import WorkloadJoin

PAGE = 500
EVENTS = 5_000
PLAIN_PODS = 20_000


class Clock:
    """CPU seconds of the measured work, without the generation of its input."""

    def __init__(self) -> None:
        self.spent = 0.0

    def run(self, work: Callable[[], object]) -> None:
        """Measure ``work``."""
        begin = time.process_time()
        work()
        self.spent += time.process_time() - begin


def list_watch_factory() -> Callable[..., ListWatch[Any, Any]]:
    """A factory of list-watches that share a counter of lists, as in the server."""
    listings = count(1)

    def list_watch(api_resource: Any, *callbacks: Any) -> ListWatch[Any, Any]:
        clock, rng = time.monotonic, Random(1)  # noqa: S311 - no secret
        return ListWatch(api_resource, Sink(*callbacks), clock=clock, rng=rng, listings=listings)

    return list_watch


def list_all(list_watch: ListWatch[Any, Any], pages: Iterator[bytes], clock: Clock) -> None:
    """List one resource."""
    for page in pages:
        clock.run(list_watch.request)
        clock.run(lambda page=page: deque(list_watch.page(page), maxlen=0))  # type: ignore[misc]


def plain_seconds(fleet: ApiFleet) -> float:
    """CPU seconds of plain Python for all pods, extrapolated from PLAIN_PODS."""
    clock, owners = Clock(), dict[str, tuple[str, str, str]]()

    def take(page: bytes) -> None:
        for pod in json.loads(page)["items"]:
            meta = pod["metadata"]
            for entry in pod["status"]["podIPs"]:
                owners[entry["ip"]] = meta["namespace"], meta["name"], pod["spec"]["nodeName"]

    for page in fleet.pages(fleet.pod, PLAIN_PODS, PAGE):
        clock.run(lambda page=page: take(page))  # type: ignore[misc]
    return clock.spent * fleet.pods / PLAIN_PODS


def main() -> None:
    """Measure and print."""
    fleet, clock = ApiFleet(), Clock()
    index = AddressIndex(clock=time.monotonic, wall=time.time)
    join, list_watch = WorkloadJoin(index), list_watch_factory()
    nodes = list_watch(NODE_RESOURCE, lambda n, _: index.put_node(n), index.drop_node)
    owners = list_watch(REPLICASET_RESOURCE, join.put_owner, join.drop_owner)
    callbacks = join.put_pod, join.drop_pod, index.pod_watch_lost, index.pod_list_begins
    pods = list_watch(POD_RESOURCE, *callbacks)
    list_all(nodes, fleet.pages(fleet.node, fleet.nodes, PAGE), clock)
    list_all(owners, fleet.pages(fleet.owner, fleet.workloads, PAGE), clock)
    list_all(pods, fleet.pages(fleet.pod, fleet.pods, PAGE), clock)
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    rng, times = Random(1), []  # noqa: S311 - no secret
    for event in fleet.events(EVENTS, rng):
        one = Clock()
        one.run(lambda event=event: pods.line(event))  # type: ignore[misc]
        times.append(one.spent)
    counts = index.counts()
    if (counts.nodes, pods.stats().failures) != (fleet.nodes, {"undecodable": 0}):
        raise SystemExit(f"some objects were not decoded: {counts}, {pods.stats()}")
    finish(
        "topology",
        clock.spent,
        plain_seconds(fleet),
        "CPU seconds to list and index",
        {
            "rss_mb": size,
            "event_us": round(statistics.mean(times) * 1e6, 1),
            "event_p99_us": round(statistics.quantiles(times, n=100)[98] * 1e6, 1),
            "pod_bytes": len(fleet.pod(0)),
            "nodes": counts.nodes,
            "pods": counts.pods,
            "addresses": counts.addresses,
            "workloads": fleet.workloads,
        },
    )


if __name__ == "__main__":
    main()
