"""Token reviews against an API server on loopback."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web

from kzn.topology.kube.client import KubeClient
from kzn.topology.kube.credentials import Access
from kzn.topology.kube.errors import KubeError
from kzn.topology.kube.token_review import PATH, Review, decode, review_token

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
CLAIM = "authentication.kubernetes.io/"
STATUS = {
    "authenticated": True,
    "user": {
        "username": "system:serviceaccount:kzn:kzn-agent",
        "uid": "x",
        "groups": ["system:serviceaccounts"],
        "extra": {
            CLAIM + "pod-name": ["kzn-agent-1"],
            CLAIM + "pod-uid": ["uid-1"],
            CLAIM + "node-name": ["node-a"],
        },
    },
    "audiences": ["kzn-server"],
}


class Plain:
    """Credentials for plain HTTP."""

    def __init__(self, host: str) -> None:
        self._host = host

    def access(self) -> Access:
        return Access(host=self._host, authorization="Bearer server")

    def reload(self) -> None:
        raise AssertionError("nothing was refused")


def ask(answer: Answer) -> Review:
    async def run() -> Review:
        app = web.Application()
        app.router.add_post(PATH, answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            async with KubeClient(Plain(host), idle=1.0) as client:
                return await review_token(client, "kzn-server", "secret")
        finally:
            await runner.cleanup()

    return asyncio.run(run())


def test_a_token_review_is_posted_and_its_claims_are_read() -> None:
    asked = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(await request.json())
        assert request.headers["Authorization"] == "Bearer server"
        assert request.headers["Content-Type"] == "application/json"
        return web.json_response({"kind": "TokenReview", "status": STATUS}, status=201)

    user = "system:serviceaccount:kzn:kzn-agent"
    found = ask(answer)
    assert found == Review(
        True,
        user,
        frozenset({"kzn-server"}),
        "node-a",
        "uid-1",
        "x",
        ("system:serviceaccounts",),
        found.extra,
    )
    assert found.extra[CLAIM + "pod-name"] == ("kzn-agent-1",)
    assert asked == [
        {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": "secret", "audiences": ["kzn-server"]},
        }
    ]


@pytest.mark.parametrize("size", [1, 100, 5000])
def test_an_answer_is_read_whole_in_any_pieces(size: int) -> None:
    extra = {**STATUS, "padding": "x" * 20_000}  # several reads of a socket
    body = json.dumps({"kind": "TokenReview", "status": extra}).encode()

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=201)
        response.content_length = len(body)
        await response.prepare(request)
        for start in range(0, len(body), max(size, len(body) // 50)):
            await response.write(body[start : start + max(size, len(body) // 50)])
            await asyncio.sleep(0)
        return response

    assert ask(answer).node == "node-a"


def test_an_error_is_read_whole_in_any_pieces() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=403)
        await response.prepare(request)
        for piece in (b'{"kind": "Status", ', b'"message": "not ', b'allowed"}'):
            await response.write(piece)
            await asyncio.sleep(0.01)
        return response

    with pytest.raises(KubeError, match="not allowed"):
        ask(answer)


def test_an_answer_that_never_ends_is_refused() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=201)
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            for _ in range(1000):
                await response.write(bytes(65536))
        return response

    with pytest.raises(KubeError, match="more than"):
        ask(answer)


def test_a_missing_permission_is_named_in_the_hint() -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.json_response({"kind": "Status", "message": "forbidden: User"}, status=403)

    with pytest.raises(KubeError, match=r"POST .*403: forbidden") as caught:
        ask(answer)
    assert "system:auth-delegator" in caught.value.hint
    assert "secret" not in caught.value.message


def test_a_rejected_token_has_no_other_fields() -> None:
    refused = {"status": {"authenticated": False, "user": {"username": "x"}, "error": "expired"}}
    assert decode(json.dumps(refused).encode()) == Review(False)


def test_missing_claims_are_empty() -> None:
    bare = {"status": {"authenticated": True, "user": {"username": "x", "extra": None}}}
    assert decode(json.dumps(bare).encode()) == Review(True, "x")
    lone = {"status": {"authenticated": True, "user": {"extra": {CLAIM + "node-name": []}}}}
    assert decode(json.dumps(lone).encode()) == Review(True, extra={CLAIM + "node-name": ()})


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"status":{"authenticated":"yes"}}'])
def test_a_body_that_is_not_a_review_is_an_error(body: bytes) -> None:
    with pytest.raises(KubeError, match="not a TokenReview"):
        decode(body)
