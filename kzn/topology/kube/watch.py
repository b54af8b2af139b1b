"""The I/O around a `ListWatch`: makes its requests, sleeps its waits, reports how each ended.

In: a list-watch, a client. Out: calls on the list-watch, and at most one warning a minute for each
resource and kind of failure. Never: a decision; those are in list_watch.py.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kzn.daemon.logs import RateLimited
from kzn.errors import KznError
from kzn.topology.kube.api_server.availability import Availability
from kzn.topology.kube.client import KubeClient
from kzn.topology.kube.errors import KubeError
from kzn.topology.kube.lines import LineSplitter
from kzn.topology.kube.list_watch import F, ListWatch, Request, S

ROUTINE = frozenset({"expired"})
"""Failures that any long watch has: counted, not logged."""


@dataclass(frozen=True, slots=True)
class Reports:
    """What `follow` tells its caller: each complete list, each failure, each watch that begins.

    ``gives_up`` is asked after each failure with its reason.
    """

    listed: Callable[[], None] = lambda: None
    failed: Callable[[ListWatch[Any, Any]], None] = lambda _list_watch: None
    followed: Callable[[ListWatch[Any, Any]], None] = lambda _list_watch: None
    gives_up: Callable[[ListWatch[Any, Any], str], bool] = lambda _list_watch, _reason: False


async def follow(
    list_watch: ListWatch[S, F],
    client: KubeClient,
    *,
    availability: Availability,
    warnings: RateLimited,
    reports: Reports,
) -> None:
    """Follow a resource until cancelled, or until ``reports`` gives it up."""
    while True:
        wait = list_watch.wait()
        if wait > 0 and await availability.pause(wait):
            list_watch.server_is_back()
        request = list_watch.request()
        try:
            if request.is_watch:
                await _watch(list_watch, client, request, reports)
            else:
                body = await client.page(request.path, request.parameters, request.accept)
                for _ in list_watch.page(body):
                    await asyncio.sleep(0)
                if list_watch.is_listed:
                    reports.listed()
        except KznError as error:
            reason = list_watch.failed(error)
            is_absence = isinstance(error, KubeError) and error.is_absence
            if is_absence:
                availability.missed()
            if reports.gives_up(list_watch, reason):
                return
            if reason not in ROUTINE:
                reports.failed(list_watch)
                verb = "watch" if request.is_watch else "list"
                is_refusal = reason in {"forbidden", "unauthorized"}
                hint = _WARM_UP_HINT if is_refusal and list_watch.is_warming_up else error.hint
                # An absent server is one condition for all resources.
                condition = reason if is_absence else f"{list_watch.resource.name} {reason}"
                warnings.warn(
                    condition,
                    "cannot %s %s of the Kubernetes cluster, retrying: %s%s; %s",
                    verb,
                    list_watch.resource.name,
                    error,
                    f" ({hint})" if hint else "",
                    _what_is_known(list_watch),
                )


_WARM_UP_HINT = (
    "it allowed this before: an API server that has just come back refuses until it has read its"
    " RBAC rules"
)


def _what_is_known(list_watch: ListWatch[S, F]) -> str:
    stats = list_watch.stats()
    if not stats.is_listed:
        return f"no complete list of {stats.resource} yet"
    return f"using the {stats.resource} known {stats.staleness:.0f} s ago"


async def _watch(
    list_watch: ListWatch[S, F], client: KubeClient, request: Request, reports: Reports
) -> None:
    lines = LineSplitter()
    async with client.stream(request.path, request.parameters, request.accept) as chunks:
        list_watch.opened()
        reports.followed(list_watch)
        async for chunk in chunks:
            for line in lines.feed(chunk):
                list_watch.line(line)
    if lines.pending:
        raise KubeError(
            f"the connection closed inside an event, after {lines.pending} bytes",
            reason="bad_line",
        )
    list_watch.ended()
