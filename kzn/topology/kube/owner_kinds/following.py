"""Kinds of controllers beyond ReplicaSets and Jobs: found by discovery, listed by their metadata.

In: the kinds that ownerReferences name. Out: for each a resource that is followed, or why not.
Never: a kind that no ownerReference names; more than MAX_KINDS of them.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from math import inf
from typing import Any

from kzn.errors import KznError
from kzn.topology.facts import OwnerFacts
from kzn.topology.kube.api_objects import Owner
from kzn.topology.kube.api_server.availability import Sleep
from kzn.topology.kube.client import KubeClient
from kzn.topology.kube.errors import KubeError
from kzn.topology.kube.list_watch import LONGEST_RETRY_AFTER, Following, ListWatch
from kzn.topology.kube.owner_kinds.discovery import discover
from kzn.topology.kube.resources import Resource
from kzn.topology.kube.workload_join import WorkloadJoin

MAX_KINDS = 16
MAX_OWNERS = 50_000
"""Most objects of a kind: beyond that it is followed no more (about 500 bytes each)."""
RETRY_SECONDS = 600.0
"""When a kind that could not be followed is tried again: rights may have been granted."""

UNANSWERED_SECONDS = 5.0
"""When it is tried again after the API server gave no answer that can be read, or is throttling."""
REFUSALS = frozenset({"forbidden", "unauthorized", "refused"})
"""Reasons for which a kind is not followed."""

GivesUp = Callable[[ListWatch[Any, Any], str], bool]
"""Whether to end following a list-watch after a failure with that reason."""
FollowKind = Callable[[ListWatch[Any, Any], GivesUp], Awaitable[None]]

_LOG = logging.getLogger(__name__)


class OwnerKinds:
    """The kinds that were met; `run` follows each of them as long as that is possible."""

    def __init__(self, *, clock: Callable[[], float], sleep: Sleep) -> None:
        self._clock = clock
        self._sleep = sleep
        self._met: set[str] = set()
        self._new: asyncio.Queue[str] = asyncio.Queue()
        self._asked: dict[str, float] = {}
        self._followed: dict[str, ListWatch[Any, Any]] = {}
        self._refused: set[str] = set()

    @property
    def list_watches(self) -> tuple[ListWatch[Any, Any], ...]:
        """Those of the kinds that are followed."""
        return tuple(self._followed.values())

    def met(self, kind: str) -> bool:
        """Whether a kind (`OwnerRef.kind`) of which a controller owns something is new."""
        if "." not in kind or kind in self._met or len(self._met) > MAX_KINDS:
            return False
        self._met.add(kind)
        if len(self._met) > MAX_KINDS:
            _LOG.info("owners of %d kinds are followed, %s and further ones not", MAX_KINDS, kind)
            return False
        self._asked[kind] = self._clock()
        self._new.put_nowait(kind)
        return True

    def following(self, kind: str) -> Following:
        """Whether the kind is followed, for `WorkloadJoin`."""
        list_watch = self._followed.get(kind)
        if list_watch is not None:
            return list_watch.following
        return Following(since=inf, lost=self._asked.get(kind, -inf))

    async def run(
        self,
        join: WorkloadJoin,
        client: KubeClient,
        list_watch: Callable[[Any], ListWatch[Any, Any]],
        follow: FollowKind,
    ) -> None:
        """Follow each kind that is met, until cancelled; ``list_watch`` makes one of a resource."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                kind = await self._new.get()
                one = self._follow_again_and_again(kind, join, client, list_watch, follow)
                tasks.create_task(one, name=f"owners {kind}")

    async def _follow_again_and_again(
        self,
        kind: str,
        join: WorkloadJoin,
        client: KubeClient,
        list_watch: Callable[[Any], ListWatch[Any, Any]],
        follow: FollowKind,
    ) -> None:
        while True:
            self._asked.setdefault(kind, self._clock())
            join.follow(kind)  # pods wait for owners of this kind from now on
            try:
                resource = await discover(client, kind)
                why = await self._follow(kind, resource, list_watch, follow)
            except KznError as error:
                if not (isinstance(error, KubeError) and error.reason in REFUSALS):
                    after = error.retry_after if isinstance(error, KubeError) else 0.0
                    await self._sleep(UNANSWERED_SECONDS + min(after, LONGEST_RETRY_AFTER))
                    continue
                why = str(error)
            self._followed.pop(kind, None)
            self._asked.pop(kind, None)
            join.unfollow(kind)
            if kind not in self._refused:
                self._refused.add(kind)
                _LOG.info(
                    "owners of kind %s are not followed, so each is a workload of its own: %s (the"
                    " right to list and watch them is optional)",
                    kind,
                    why,
                )
            await self._sleep(RETRY_SECONDS)

    async def _follow(
        self,
        kind: str,
        resource: Resource[Owner, OwnerFacts] | None,
        list_watch: Callable[[Any], ListWatch[Any, Any]],
        follow: FollowKind,
    ) -> str:
        """Follow a kind as long as possible; returns why that ended."""
        if resource is None:
            return "the API server has no resource of it to list and watch"
        one = self._followed[kind] = list_watch(resource)
        why = ""

        def gives_up(one: ListWatch[Any, Any], reason: str) -> bool:
            nonlocal why
            if one.is_too_large:
                why = f"more than {MAX_OWNERS} {resource.name}"
            elif reason in REFUSALS and not one.is_warming_up:
                why = f"{resource.name}: {reason}"
            return bool(why)

        await follow(one, gives_up)
        return why
