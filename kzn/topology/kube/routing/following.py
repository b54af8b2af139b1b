"""Follows the resources of routing as far as rights allow, and asks for versions.

In: a client. Out: a `Routing`, with why a resource is missing. Never: a right that is needed, or a
warning again and again of one that was not granted: it is tried again every ten minutes.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from kzn.errors import KznError
from kzn.topology.kube.api_objects import UNREADABLE, Json
from kzn.topology.kube.api_server.availability import Sleep
from kzn.topology.kube.client import JSON, KubeClient
from kzn.topology.kube.errors import KubeError
from kzn.topology.kube.list_watch import ListWatch
from kzn.topology.kube.owner_kinds.following import REFUSALS, RETRY_SECONDS, GivesUp
from kzn.topology.kube.routing.resources import SLICES, Followed, followed
from kzn.topology.routing import Routing

MAX_LISTED = 200_000
"""Most objects of a resource; `Routing` keeps no more than its own limits."""
VERSION_PATH = "/version"
CILIUM_PATH = "/api/v1/namespaces/kube-system/configmaps/cilium-config"
CILIUM = "cilium-config"
CILIUM_KEYS = ("enable-service-topology", "kube-proxy-replacement", "routing-mode")
NOT_YET = "not listed yet"

_LOG = logging.getLogger(__name__)

MakeListWatch = Callable[..., ListWatch[Any, Any]]
Progress = Callable[[ListWatch[Any, Any]], None]
FollowResource = Callable[[ListWatch[Any, Any], GivesUp, Progress], Awaitable[None]]


class _Version(Json):
    git_version: str = ""


class _ConfigMap(Json):
    data: dict[str, str] | None = None


_VERSION = msgspec.json.Decoder(_Version)
_CONFIG = msgspec.json.Decoder(_ConfigMap)


class RoutingFollower:
    """Feeds ``routing``; ``sleep`` is that of the source."""

    def __init__(self, routing: Routing, *, sleep: Sleep) -> None:
        self._routing = routing
        self._sleep = sleep
        self._followed = followed(routing)
        self._running: dict[str, ListWatch[Any, Any]] = {}
        self._refused: set[str] = set()
        self._ask = asyncio.Event()
        for one in self._followed:
            routing.missing[one.resource.name] = NOT_YET

    @property
    def list_watches(self) -> tuple[ListWatch[Any, Any], ...]:
        """Those of the resources that are followed."""
        return tuple(self._running.values())

    async def run(self, client: KubeClient, make: MakeListWatch, follow: FollowResource) -> None:
        """Follow each resource until cancelled; ``make`` makes a list-watch of one."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._ask_versions(client), name="versions")
            for one in self._followed:
                tasks.create_task(self._follow(one, make, follow), name=one.resource.name)

    async def _follow(self, one: Followed, make: MakeListWatch, follow: FollowResource) -> None:
        name, known, missing = one.resource.name, set[str](), self._routing.missing

        def put(facts: Any, _listing: int) -> None:
            known.add(facts.uid)
            one.put(facts)

        def drop(uid: str) -> None:
            known.discard(uid)
            one.drop(uid)

        while True:
            list_watch = make(one.resource, put, drop, max_objects=MAX_LISTED)
            self._running[name] = list_watch
            why = ""

            def gives_up(found: ListWatch[Any, Any], reason: str) -> bool:
                nonlocal why
                if found.is_too_large:
                    why = f"more than {MAX_LISTED} objects"
                elif reason in REFUSALS and not found.is_warming_up:
                    why = f"the API server refuses to list them ({reason})"
                return bool(why)

            def progress(found: ListWatch[Any, Any]) -> None:
                if found.is_listed:
                    missing.pop(found.resource.name, None)
                if found.resource is SLICES:
                    self._ask.set()

            progress(list_watch)
            await follow(list_watch, gives_up, progress)
            for uid in known:
                one.forget(uid)
            known.clear()
            del self._running[name]
            missing[name] = why
            if name not in self._refused:
                self._refused.add(name)
                _LOG.info("advice has no %s: %s; the right to do so is optional", name, why)
            await self._sleep(RETRY_SECONDS)

    async def _ask_versions(self, client: KubeClient) -> None:
        """Ask whenever the watch of EndpointSlices begins anew, which is every few minutes."""
        routing = self._routing
        while True:
            await self._ask.wait()
            self._ask.clear()
            try:
                body = await client.page(VERSION_PATH, {}, JSON)
                routing.api_version = _VERSION.decode(body).git_version[:64]
                routing.missing.pop("version", None)
            except (KznError, *UNREADABLE) as error:
                routing.missing["version"] = _why(error)
            try:
                data = _CONFIG.decode(await client.page(CILIUM_PATH, {}, JSON)).data or {}
                routing.cilium = {key: data[key][:64] for key in CILIUM_KEYS if key in data}
                routing.missing.pop(CILIUM, None)
            except (KznError, *UNREADABLE) as error:
                routing.cilium = None
                routing.missing.pop(CILIUM, None)
                if not (isinstance(error, KubeError) and error.status == 404):
                    routing.missing[CILIUM] = _why(error)


def _why(error: Exception) -> str:
    return error.reason if isinstance(error, KubeError) else "not readable"
