"""The Kubernetes API as a topology source: lists and watches resources into one index.

In: credentials. Out: the index, readiness, statistics. Never: a write to the API.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from math import inf
from typing import Any

from kzn.daemon.logs import RateLimited
from kzn.topology.facts import NamespaceFacts, NodeFacts, OwnerFacts, ServiceFacts
from kzn.topology.index import AddressIndex
from kzn.topology.kube.api_objects import DEFAULT_LABELS, PlaceLabels
from kzn.topology.kube.api_server.api_clock import ApiClock
from kzn.topology.kube.api_server.availability import Availability, Sleep
from kzn.topology.kube.api_server.cluster_uid import cluster_uid
from kzn.topology.kube.client import KubeClient
from kzn.topology.kube.controllers import FOLLOWED_KINDS
from kzn.topology.kube.credentials import Credentials
from kzn.topology.kube.decode import nodes_by, pods_by
from kzn.topology.kube.groups.labels import GroupLabels
from kzn.topology.kube.list_watch import PAGE_SIZE, Following, ListWatch, Sink
from kzn.topology.kube.owner_kinds.following import MAX_OWNERS, GivesUp, OwnerKinds
from kzn.topology.kube.resources import (
    JOB_RESOURCE,
    NODE_RESOURCE,
    POD_RESOURCE,
    REPLICASET_RESOURCE,
    SERVICE_RESOURCE,
)
from kzn.topology.kube.routing.following import Progress, RoutingFollower
from kzn.topology.kube.watch import Reports, follow
from kzn.topology.kube.workload_join import WorkloadJoin
from kzn.topology.routing import Routing
from kzn.topology.source import TopologyStats

IDLE_SECONDS = 150.0
"""A watch without data for so long is broken: bookmarks arrive about once a minute."""
PODS_WAIT_SECONDS = 30.0
"""Seconds that listing pods waits for nodes, controllers and, for groups, namespaces, to describe
each pod once."""

SETTLE_SECONDS = 0.5

_LOG = logging.getLogger(__name__)


class KubernetesSource:
    """Feeds ``index`` from the API server of ``credentials``.

    ``places`` are the labels of a node's zone and region. With ``asks_uid`` `cluster` is the uid of
    the cluster once nodes and controllers are listed. Namespaces are listed only if the index's
    groups have keys. ``routing`` receives what decides where connections go, as far as rights
    allow.
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
        asks_uid: bool = True,
        routing: Routing | None = None,
    ) -> None:
        self.cluster = ""
        self._asks_uid = asks_uid
        self.routing = routing or Routing()
        self._routing_follower = RoutingFollower(self.routing, sleep=sleep)
        self._index = index
        self._credentials = credentials
        self._sleep = sleep
        self._idle = idle
        self._warnings = RateLimited(_LOG, clock=clock)
        self._clock, self._listings, self._page_size = clock, count(1), page_size
        self._kinds = OwnerKinds(clock=clock, sleep=sleep)
        self._has_waiting = asyncio.Event()
        self._join = join = WorkloadJoin(
            index,
            clock=clock,
            following=self._following,
            on_waiting=self._has_waiting.set,
            met=self._kinds.met,
        )
        self._api_clock = ApiClock()
        self._rng = rng = rng or random.Random()  # noqa: S311 - jitter, not a secret
        self._behind: set[str] = set()
        self._lost: dict[str, float] = {}
        list_watch = self._list_watch
        groups = GroupLabels(index.groups.keys) if index.groups.keys else None
        earliest = self._api_clock.earliest
        codec = groups.pods(earliest) if groups is not None else pods_by(earliest)
        pods = replace(POD_RESOURCE, codec=codec)
        self._pods = list_watch(
            pods, join.put_pod, join.drop_pod, index.pod_watch_lost, index.pod_list_begins
        )
        self._before_pods = (
            list_watch(
                replace(NODE_RESOURCE, codec=nodes_by(places)), self._put_node, index.drop_node
            ),
            list_watch(REPLICASET_RESOURCE, self._put_replicaset, join.drop_owner),
            list_watch(JOB_RESOURCE, join.put_owner, join.drop_owner),
        )
        # `ready` does not wait for Services: installations older than their support lack the right
        # to list them, and no byte is lost without them.
        self._services = list_watch(
            SERVICE_RESOURCE,
            lambda service, _: self._put_service(service),
            self._drop_service,
        )
        # Nor for namespaces: without the right to list them, pods have their own group or none.
        self._namespaces = (
            (list_watch(groups.namespaces(), self._put_namespace, index.drop_namespace),)
            if groups is not None
            else ()
        )
        self._owners = dict(zip(FOLLOWED_KINDS, self._before_pods[1:], strict=True))
        self._listed = asyncio.Event()
        self._namespaces_settled = asyncio.Event()
        """Listed, not needed, or refused once."""

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
            KubeClient(self._credentials, idle=self._idle, api_clock=self._api_clock) as client,
            asyncio.TaskGroup() as tasks,
        ):
            availability = Availability(client.answers, sleep=self._sleep, rng=self._rng)
            tasks.create_task(availability.run(), name="probe of the API server")
            for list_watch in (*self._before_pods, self._services, *self._namespaces):
                tasks.create_task(
                    self._follow(list_watch, client, availability), name=list_watch.resource.name
                )
            if self._asks_uid:
                tasks.create_task(self._ask_uid(client), name="uid of the cluster")
            tasks.create_task(self._settle_forever(), name="pods without owners")
            tasks.create_task(self._follow_kinds(client, availability), name="kinds of owners")
            await self._wait_for_others()
            tasks.create_task(self._follow(self._pods, client, availability), name="pods")
            tasks.create_task(self._follow_routing(client, availability), name="routing")

    async def _ask_uid(self, client: KubeClient) -> None:
        await self._listed.wait()  # until then other requests report what is wrong
        self.cluster = await cluster_uid(client, self._sleep)

    @property
    def _list_watches(self) -> Sequence[ListWatch[Any, Any]]:
        kinds = *self._namespaces, *self._kinds.list_watches
        others = *kinds, *self._routing_follower.list_watches
        return (self._pods, *self._before_pods, self._services, *others)

    def _list_watch(
        self, resource: Any, *callbacks: Any, max_objects: float = inf
    ) -> ListWatch[Any, Any]:
        return ListWatch(
            resource,
            Sink(*callbacks),
            clock=self._clock,
            rng=self._rng,
            listings=self._listings,
            page_size=self._page_size,
            max_objects=max_objects,
        )

    def _following(self, kind: str) -> Following:
        list_watch = self._owners.get(kind)
        return list_watch.following if list_watch else self._kinds.following(kind)

    async def _settle_forever(self) -> None:
        """Look again and again for the owners of pods that wait for them."""
        while True:
            await self._has_waiting.wait()
            while self._join.settle():
                await self._sleep(SETTLE_SECONDS)
            self._has_waiting.clear()

    def _put_replicaset(self, owner: OwnerFacts, listing: int) -> None:
        self._join.put_owner(owner, listing)
        if self.routing.rollouts is not None:
            self.routing.rollouts.put_replicaset(owner)

    def _put_node(self, node: NodeFacts, listing: int) -> None:
        self._index.put_node(node, listing=listing)

    def _put_namespace(self, namespace: NamespaceFacts, listing: int) -> None:
        self._index.put_namespace(namespace, listing=listing)

    def _put_service(self, service: ServiceFacts) -> None:
        self._index.networks.put_service(service)
        self.routing.put_service(service)

    def _drop_service(self, uid: str) -> None:
        self._index.networks.drop_service(uid)
        self.routing.drop_service(uid)

    async def _wait_for_others(self) -> None:
        try:
            async with asyncio.timeout(PODS_WAIT_SECONDS):
                await self._listed.wait()
                await self._namespaces_settled.wait()
        except TimeoutError:
            _LOG.info(
                "listing pods before %s are complete (waited %.0f s); workloads, zones and groups"
                " of pods may be corrected later",
                ", ".join(
                    one.resource.name
                    for one in (*self._before_pods, *self._namespaces)
                    if not one.is_listed
                ),
                PODS_WAIT_SECONDS,
            )

    async def _follow_kinds(self, client: KubeClient, availability: Availability) -> None:
        def list_watch(resource: Any) -> ListWatch[Any, Any]:
            callbacks = self._join.put_owner, self._join.drop_owner
            return self._list_watch(resource, *callbacks, max_objects=MAX_OWNERS)

        async def follow_kind(one: ListWatch[Any, Any], gives_up: GivesUp) -> None:
            await self._follow(one, client, availability, gives_up)
            self._behind.discard(one.resource.name)

        await self._kinds.run(self._join, client, list_watch, follow_kind)

    async def _follow_routing(self, client: KubeClient, availability: Availability) -> None:
        async def follow_one(
            one: ListWatch[Any, Any], gives_up: GivesUp, progress: Progress
        ) -> None:
            await self._follow(one, client, availability, gives_up, progress)
            self._behind.discard(one.resource.name)

        await self._routing_follower.run(client, self._list_watch, follow_one)

    async def _follow(
        self,
        list_watch: ListWatch[Any, Any],
        client: KubeClient,
        availability: Availability,
        gives_up: GivesUp = lambda _list_watch, _reason: False,
        progress: Progress = lambda _list_watch: None,
    ) -> None:
        def listed() -> None:
            self._on_listed()
            progress(list_watch)

        def followed(found: ListWatch[Any, Any]) -> None:
            self._on_followed(found)
            progress(found)

        await follow(
            list_watch,
            client,
            availability=availability,
            warnings=self._warnings,
            reports=Reports(listed, self._on_failed, followed, gives_up),
        )

    def _on_failed(self, list_watch: ListWatch[Any, Any]) -> None:
        if list_watch in self._namespaces:
            self._namespaces_settled.set()
        if list_watch.is_listed:
            self._behind.add(list_watch.resource.name)
            self._lost.setdefault(list_watch.resource.name, self._clock())

    def _on_followed(self, list_watch: ListWatch[Any, Any]) -> None:
        """Log one line when the last of the resources that failed is followed again."""
        self._behind.discard(list_watch.resource.name)
        if self._behind or not self._lost:
            return
        seconds = self._clock() - min(self._lost.values())
        names = ", ".join(sorted(self._lost))
        self._lost.clear()
        self._warnings.resolved_all()
        _LOG.info("the Kubernetes cluster is followed again after %.0f s: %s", seconds, names)

    def _on_listed(self) -> None:
        if all(list_watch.is_listed for list_watch in self._before_pods):
            self._listed.set()
        if all(list_watch.is_listed for list_watch in self._namespaces):
            self._namespaces_settled.set()
