"""One rendering for all clients that ask for the same at about the same time.

In: a key and a function that renders. Out: the rendering, which may be up to `MAX_AGE` old.
Never: more than `MAX_KEPT` renderings kept, or one kept when its time is over.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterator
from typing import Generic, TypeVar

from kzn.daemon.http.messages import Answer, Request, Response
from kzn.server.ledger.family import FamilyName
from kzn.server.snapshot import ServerSnapshot

MAX_AGE = 1.0
"""Seconds from the begin of a rendering for which it is given to further clients."""
MAX_KEPT = 16

_T = TypeVar("_T")

Take = Callable[[frozenset[FamilyName]], Awaitable[ServerSnapshot]]
"""Copies the server's state, with the series of some families or of more."""


class SharedAnswers(Generic[_T]):
    """Renderings by key. Those in progress are shared, too; failed ones are not kept."""

    def __init__(self, max_age: float = MAX_AGE) -> None:
        self._max_age = max_age
        self._kept: dict[Hashable, asyncio.Task[_T]] = {}

    async def get(self, key: Hashable, render: Callable[[], Awaitable[_T]]) -> _T:
        """The rendering of ``key``, or the error of ``render``; a cancelled caller ends neither."""
        task = self._kept.get(key)
        if task is None:
            task = self._begin(key, render)
        return await asyncio.shield(task)

    def kept(self) -> Iterator[_T]:
        """The renderings that are complete."""
        for task in self._kept.values():
            if task.done() and not task.cancelled() and task.exception() is None:
                yield task.result()

    def _begin(self, key: Hashable, render: Callable[[], Awaitable[_T]]) -> asyncio.Task[_T]:
        async def rendered() -> _T:
            return await render()

        loop = asyncio.get_running_loop()
        task = loop.create_task(rendered())
        while len(self._kept) >= MAX_KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[key] = task
        loop.call_later(self._max_age, self._forget, key, task)
        task.add_done_callback(lambda done: self._ended(key, done))
        return task

    def _ended(self, key: Hashable, task: asyncio.Task[_T]) -> None:
        if task.cancelled() or task.exception() is not None:
            self._forget(key, task)

    def _forget(self, key: Hashable, task: asyncio.Task[_T]) -> None:
        if self._kept.get(key) is task:
            del self._kept[key]


class SharedSnapshots:
    """Snapshots by the families that they have; one with more families serves as well."""

    def __init__(self, take: Take) -> None:
        self._take = take
        self._shared: SharedAnswers[ServerSnapshot] = SharedAnswers()

    async def get(self, families: frozenset[FamilyName]) -> ServerSnapshot:
        """A snapshot of the last second, or a new one."""
        for snapshot in self._shared.kept():
            if families <= snapshot.ledger.views.keys():
                return snapshot
        return await self._shared.get(families, lambda: self._take(families))


def shared_page(answer: Answer) -> Answer:
    """A page without parameters: one answer for all that ask within `MAX_AGE`.

    It may take some ten milliseconds of the event loop, which a client that asks again and again
    would fill otherwise.
    """
    answers: SharedAnswers[Response] = SharedAnswers()

    async def page(request: Request) -> Response:
        async def render() -> Response:
            found = answer(request)
            return found if isinstance(found, Response) else await found

        return await answers.get(None, render)

    return page
