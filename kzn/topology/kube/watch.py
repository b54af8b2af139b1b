"""The I/O around a `ListWatch`: makes its requests, sleeps its waits, reports how each ended.

In: a list-watch, a client. Out: calls on the list-watch, and at most one warning a minute for each
kind of failure. Never: a decision; those are in list_watch.py.
"""

from collections.abc import Awaitable, Callable

from kzn.daemon.logs import RateLimited
from kzn.errors import KznError
from kzn.topology.kube.client import KubeClient
from kzn.topology.kube.errors import KubeError
from kzn.topology.kube.lines import LineSplitter
from kzn.topology.kube.list_watch import F, ListWatch, Request, S

Sleep = Callable[[float], Awaitable[None]]

ROUTINE = frozenset({"expired"})
"""Failures that any long watch has: counted, not logged."""


async def follow(
    list_watch: ListWatch[S, F],
    client: KubeClient,
    *,
    sleep: Sleep,
    warnings: RateLimited,
    on_listed: Callable[[], None],
) -> None:
    """Follow a resource until cancelled; ``on_listed`` is called after each complete list."""
    while True:
        wait = list_watch.wait()
        if wait > 0:
            await sleep(wait)
        request = list_watch.request()
        try:
            if request.is_watch:
                await _watch(list_watch, client, request)
            else:
                body = await client.page(request.path, request.parameters, request.accept)
                list_watch.page(body)
                if list_watch.is_listed:
                    on_listed()
        except KznError as error:
            reason = list_watch.failed(error)
            if reason not in ROUTINE:
                verb = "watch" if request.is_watch else "list"
                hint = f" ({error.hint})" if error.hint else ""
                warnings.warn(
                    reason,
                    "cannot %s %s of the Kubernetes cluster, retrying: %s%s; %s",
                    verb,
                    list_watch.resource.name,
                    error,
                    hint,
                    _what_is_known(list_watch),
                )


def _what_is_known(list_watch: ListWatch[S, F]) -> str:
    stats = list_watch.stats()
    if not stats.is_listed:
        return f"no complete list of {stats.resource} yet"
    return f"using the {stats.resource} known {stats.staleness:.0f} s ago"


async def _watch(list_watch: ListWatch[S, F], client: KubeClient, request: Request) -> None:
    lines = LineSplitter()
    async with client.stream(request.path, request.parameters, request.accept) as chunks:
        list_watch.opened()
        async for chunk in chunks:
            for line in lines.feed(chunk):
                list_watch.line(line)
    if lines.pending:
        raise KubeError(
            f"the connection closed inside an event, after {lines.pending} bytes",
            reason="bad_line",
        )
    list_watch.ended()
