"""The Kubernetes API as a topology source: lists and watches five resources into one index.

In: credentials. Out: the index, readiness, statistics. Never: a write to the API.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

from kzn.daemon.logs import RateLimited
from kzn.topology.facts import NodeFacts
from kzn.topology.index import AddressIndex
from kzn.topology.kube.api_objects import DEFAULT_LABELS, PlaceLabels
from kzn.topology.kube.client import KubeClient
from kzn.topology.kube.credentials import Credentials
from kzn.topology.kube.decode import nodes_by
from kzn.topology.kube.list_watch import PAGE_SIZE, ListWatch, Sink
from kzn.topology.kube.resources import (
    JOB_RESOURCE,
    NODE_RESOURCE,
    POD_RESOURCE,
    REPLICASET_RESOURCE,
    SERVICE_RESOURCE,
)
from kzn.topology.kube.watch import Sleep, follow
from kzn.topology.kube.workload_join import WorkloadJoin
from kzn.topology.source import TopologyStats

IDLE_SECONDS = 150.0
"""A watch without data for so long is broken: bookmarks arrive about once a minute."""
PODS_WAIT_SECONDS = 30.0
"""Seconds that listing pods waits for nodes and controllers, to describe each pod once."""

_LOG = logging.getLogger(__name__)


class KubernetesSource:
    """Feeds ``index`` from the API server of ``credentials``.

    ``places`` are the labels of a node's zone and region.
    """

    def __init__(
        self,
        index: AddressIndex,
        credentials: Credentials,
        *,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
        sleep: Sleep = asyncio.sleep,
        idle: float = IDLE_SECONDS,
        page_size: int = PAGE_SIZE,
        places: PlaceLabels = DEFAULT_LABELS,
    ) -> None:
        self._index = index
        self._credentials = credentials
        self._sleep = sleep
        self._idle = idle
        self._warnings = RateLimited(_LOG, clock=clock)
        join, listings = WorkloadJoin(index), count(1)
        rng = rng if rng is not None else random.Random()  # noqa: S311 - jitter, not a secret

        def list_watch(resource: Any, *callbacks: Any) -> ListWatch[Any, Any]:
            return ListWatch(
                resource,
                Sink(*callbacks),
                clock=clock,
                rng=rng,
                listings=listings,
                page_size=page_size,
            )

        self._pods = list_watch(
            POD_RESOURCE, join.put_pod, join.drop_pod, index.pod_watch_lost, index.pod_list_begins
        )
        self._before_pods = (
            list_watch(
                replace(NODE_RESOURCE, codec=nodes_by(places)), self._put_node, index.drop_node
            ),
            list_watch(REPLICASET_RESOURCE, join.put_owner, join.drop_owner),
            list_watch(JOB_RESOURCE, join.put_owner, join.drop_owner),
        )
        # `ready` does not wait for Services: installations older than their support lack the right
        # to list them, and no byte is lost without them.
        self._services = list_watch(
            SERVICE_RESOURCE,
            lambda service, _: index.networks.put_service(service),
            index.networks.drop_service,
        )
        self._listed = asyncio.Event()

    @property
    def index(self) -> AddressIndex:
        """The index that is fed."""
        return self._index

    @property
    def ready(self) -> bool:
        """Whether pods, nodes and controllers have been listed completely once."""
        return all(list_watch.is_listed for list_watch in (self._pods, *self._before_pods))

    def stats(self) -> TopologyStats:
        """The contents of the index, and the state of each list and watch."""
        resources = tuple(list_watch.stats() for list_watch in self._list_watches)
        return TopologyStats(counts=self._index.counts(), resources=resources)

    async def run(self) -> None:
        """Follow all resources until cancelled; failed requests are retried."""
        async with (
            KubeClient(self._credentials, idle=self._idle) as client,
            asyncio.TaskGroup() as tasks,
        ):
            for list_watch in (*self._before_pods, self._services):
                tasks.create_task(self._follow(list_watch, client), name=list_watch.resource.name)
            await self._wait_for_others()
            tasks.create_task(self._follow(self._pods, client), name="pods")

    @property
    def _list_watches(self) -> Sequence[ListWatch[Any, Any]]:
        return (self._pods, *self._before_pods, self._services)

    def _put_node(self, node: NodeFacts, listing: int) -> None:
        self._index.put_node(node, listing=listing)

    async def _wait_for_others(self) -> None:
        try:
            await asyncio.wait_for(self._listed.wait(), PODS_WAIT_SECONDS)
        except TimeoutError:
            _LOG.info(
                "listing pods before nodes, replicasets and jobs are complete (waited %.0f s);"
                " workloads and zones of pods may be corrected later",
                PODS_WAIT_SECONDS,
            )

    async def _follow(self, list_watch: ListWatch[Any, Any], client: KubeClient) -> None:
        await follow(
            list_watch,
            client,
            sleep=self._sleep,
            warnings=self._warnings,
            on_listed=self._on_listed,
        )

    def _on_listed(self) -> None:
        if all(list_watch.is_listed for list_watch in self._before_pods):
            self._listed.set()
