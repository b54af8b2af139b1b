"""The shell around a machine: makes its requests, sleeps its waits, tells it how each ended.

In: a machine, a client. Out: calls on the machine, and one warning an interval for what fails.
Never: a decision; those are in list_watch.py.
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
"""Failures that belong to a long life: counted, not worth a warning."""


async def follow(
    machine: ListWatch[S, F],
    client: KubeClient,
    *,
    sleep: Sleep,
    complaints: RateLimited,
    on_listed: Callable[[], None],
) -> None:
    """Follow a resource until cancelled; ``on_listed`` is called after each full list."""
    while True:
        wait = machine.wait()
        if wait > 0:
            await sleep(wait)
        request = machine.request()
        try:
            if request.is_watch:
                await _watch(machine, client, request)
            else:
                machine.page(await client.page(request.path, request.parameters, request.accept))
                if machine.is_listed:
                    on_listed()
        except KznError as error:
            reason = machine.failed(error)
            if reason not in ROUTINE:
                hint = f" ({error.hint})" if error.hint else ""
                text = "following Kubernetes: %s%s; %s %s; trying again"
                complaints.warn(reason, text, error, hint, machine.resource.name, _age(machine))


def _age(machine: ListWatch[S, F]) -> str:
    stats = machine.stats()
    if not stats.is_listed:
        return "are not listed yet"
    return f"were last heard of {stats.staleness:.0f} s ago"


async def _watch(machine: ListWatch[S, F], client: KubeClient, request: Request) -> None:
    lines = LineSplitter()
    async with client.stream(request.path, request.parameters, request.accept) as chunks:
        machine.opened()
        async for chunk in chunks:
            for line in lines.feed(chunk):
                machine.line(line)
    if lines.pending:
        name = machine.resource.name
        raise KubeError(
            f"watch of {name} ended inside a line of {lines.pending} bytes", reason="bad_line"
        )
    machine.ended()
