"""kzn/server/http/shared.py: who shares a rendering, and for how long it is kept."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from kzn.daemon.http.body import Body
from kzn.daemon.http.messages import Answer, Request, Response
from kzn.errors import UsageError
from kzn.server.http import shared
from kzn.server.http.shared import SharedAnswers, shared_page


class Renderer:
    """Renders its own count, when it is let."""

    def __init__(self) -> None:
        self.begun = 0
        self.go = asyncio.Event()
        self.error: Exception | None = None

    async def render(self) -> int:
        self.begun += 1
        number = self.begun
        await self.go.wait()
        if self.error is not None:
            raise self.error
        return number


def play(act: Callable[[SharedAnswers[int], Renderer], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        async with asyncio.timeout(10):
            await act(SharedAnswers(), Renderer())

    asyncio.run(run())


def test_those_who_wait_share_one_rendering() -> None:
    async def act(answers: SharedAnswers[int], renderer: Renderer) -> None:
        waiting = [asyncio.create_task(answers.get("a", renderer.render)) for _ in range(5)]
        await asyncio.sleep(0)
        renderer.go.set()
        assert await asyncio.gather(*waiting) == [1] * 5
        assert await answers.get("a", renderer.render) == 1
        assert await answers.get("b", renderer.render) == 2
        assert list(answers.kept()) == [1, 2]

    play(act)


def test_a_rendering_is_dropped_when_its_time_is_over() -> None:
    async def run() -> None:
        renderer, answers = Renderer(), SharedAnswers[int](max_age=0.01)
        renderer.go.set()
        assert await answers.get("a", renderer.render) == 1
        while list(answers.kept()):  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.001)
        assert await answers.get("a", renderer.render) == 2

    asyncio.run(run())


def test_a_client_that_goes_away_does_not_end_the_rendering_of_others() -> None:
    async def act(answers: SharedAnswers[int], renderer: Renderer) -> None:
        first = asyncio.create_task(answers.get("a", renderer.render))
        second = asyncio.create_task(answers.get("a", renderer.render))
        await asyncio.sleep(0)
        first.cancel()
        renderer.go.set()
        assert await second == 1
        with pytest.raises(asyncio.CancelledError):
            await first

    play(act)


def test_a_failure_reaches_all_who_wait_and_is_not_kept() -> None:
    async def act(answers: SharedAnswers[int], renderer: Renderer) -> None:
        renderer.error = ValueError("no")
        renderer.go.set()
        waiting = [asyncio.create_task(answers.get("a", renderer.render)) for _ in range(3)]
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert [str(error) for error in found] == ["no"] * 3
        renderer.error = None
        assert await answers.get("a", renderer.render) == 2

    play(act)


def test_the_number_of_renderings_kept_is_bounded() -> None:
    async def act(answers: SharedAnswers[int], renderer: Renderer) -> None:
        renderer.go.set()
        for key in range(shared.MAX_KEPT + 5):
            await answers.get(key, renderer.render)
        assert len(list(answers.kept())) == shared.MAX_KEPT

    play(act)


@pytest.mark.parametrize("waits", [False, True])
def test_a_shared_page_is_made_once_for_all_that_ask_within_a_second(*, waits: bool) -> None:
    made: list[str] = []

    def at_once(request: Request) -> Response:
        made.append(request.address)
        return Response(b"%d" % len(made))

    async def later(request: Request) -> Response:
        return at_once(request)

    def refused(_request: Request) -> Response:
        made.append("refused")
        raise UsageError("not now")

    async def ask(page: Answer, address: str) -> bytes | Body:
        found = page(Request("GET", "/", address=address))
        assert isinstance(found, Awaitable)
        return (await found).body

    async def run() -> None:
        page = shared_page(later if waits else at_once)
        assert [await ask(page, address) for address in "abc"] == [b"1"] * 3
        assert await ask(shared_page(at_once), "d") == b"2"  # another page
        faulty = shared_page(refused)
        for _ in range(2):
            with pytest.raises(UsageError):
                await ask(faulty, "e")
        assert made == ["a", "d", "refused", "refused"]

    asyncio.run(run())
