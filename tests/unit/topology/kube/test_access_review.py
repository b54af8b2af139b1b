"""kzn/topology/kube/access_review.py against a server on loopback: what is asked, what is read."""

import asyncio
import json
from typing import Any

import pytest
from aiohttp import web

from kzn.topology.kube.access_review import PATH, Access, decode, review_access
from kzn.topology.kube.client import KubeClient
from kzn.topology.kube.credentials import Access as ApiAccess
from kzn.topology.kube.errors import KubeError
from kzn.topology.kube.token_review import Review, review_token

USER = Review(
    True,
    "system:serviceaccount:monitoring:prometheus",
    uid="u-1",
    groups=("system:serviceaccounts", "system:authenticated"),
    extra={"authentication.kubernetes.io/pod-name": ("prometheus-0",)},
)


class Credentials:
    def __init__(self, host: str) -> None:
        self._host = host

    def access(self) -> ApiAccess:
        return ApiAccess(host=self._host)

    def reload(self) -> None:
        """Nothing to reload."""


async def asked(answer: dict[str, Any], status: int = 201) -> tuple[Access, dict[str, Any]]:
    """The decision about /metrics, and the body that the API server got."""
    bodies = []

    async def handle(request: web.Request) -> web.Response:
        bodies.append(await request.json())
        return web.json_response(answer, status=status)

    app = web.Application()
    app.router.add_post(PATH, handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        credentials = Credentials(f"http://127.0.0.1:{runner.addresses[0][1]}")
        async with KubeClient(credentials, idle=1.0) as client:
            return await review_access(client, USER, "/metrics"), bodies[0]
    finally:
        await runner.cleanup()


def test_the_user_is_asked_about_as_the_token_review_told_it() -> None:
    answer = {"kind": "SubjectAccessReview", "status": {"allowed": True, "reason": "RBAC: x"}}
    found, body = asyncio.run(asked(answer))
    assert found == Access(True, "RBAC: x")
    assert body == {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": "system:serviceaccount:monitoring:prometheus",
            "uid": "u-1",
            "groups": ["system:serviceaccounts", "system:authenticated"],
            "extra": {"authentication.kubernetes.io/pod-name": ["prometheus-0"]},
            "nonResourceAttributes": {"path": "/metrics", "verb": "get"},
        },
    }


def test_a_missing_right_of_the_server_is_an_error_with_a_hint() -> None:
    with pytest.raises(KubeError) as caught:
        asyncio.run(asked({"kind": "Status", "message": "forbidden"}, status=403))
    assert caught.value.reason == "forbidden"
    assert "subjectaccessreviews" in caught.value.hint


@pytest.mark.parametrize(
    ("status", "allowed"),
    [
        ({"allowed": True}, True),
        ({"allowed": False}, False),
        ({}, False),
        ({"allowed": True, "denied": True}, False),
    ],
)
def test_only_allowed_and_not_denied_is_allowed(status: dict[str, bool], *, allowed: bool) -> None:
    assert decode(json.dumps({"status": status}).encode()).allowed is allowed


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"status": {"allowed": "yes"}}'])
def test_another_answer_is_an_error_and_not_a_right(body: bytes) -> None:
    with pytest.raises(KubeError, match="not a SubjectAccessReview"):
        decode(body)


def test_a_review_for_http_asks_for_no_audience() -> None:
    class Recorder:
        body = b""

        async def post(self, _path: str, body: bytes, *, seconds: float) -> bytes:
            del seconds
            self.body = body
            return json.dumps(
                {
                    "status": {
                        "authenticated": True,
                        "user": {
                            "username": "jane",
                            "uid": "7",
                            "groups": ["dev"],
                            "extra": {"scopes": ["a", "b"]},
                        },
                    }
                }
            ).encode()

    client = Recorder()
    found = asyncio.run(review_token(client, "", "secret"))  # type: ignore[arg-type]
    assert json.loads(client.body)["spec"] == {"token": "secret"}
    assert (found.user, found.uid, found.groups) == ("jane", "7", ("dev",))
    assert found.extra == {"scopes": ("a", "b")}
