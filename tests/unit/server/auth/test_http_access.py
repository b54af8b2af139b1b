"""kzn/server/auth/http_access.py: who may read which page, and what is asked of the API server."""

import asyncio
import base64
import json
import logging

import pytest

from kzn.daemon.http.messages import Request, Response
from kzn.errors import ApiError
from kzn.server.auth import http_access, throttle
from kzn.server.auth.http_access import HttpAccess, bearer_token
from kzn.topology.kube.access_review import Access
from kzn.topology.kube.token_review import Review

PROMETHEUS = Review(True, "system:serviceaccount:monitoring:prometheus")
JANE = Review(True, "jane", groups=("dev",))


class Api:
    """An API server with two users and their rights, which counts what it is asked; and a clock."""

    def __init__(self) -> None:
        self.users = {"prometheus-token": PROMETHEUS, "jane-token": JANE}
        self.rights = {
            (PROMETHEUS.user, "/metrics"),
            ("jane", "/kzn/api/v1/pairs"),
            ("lee", "/api/v1/pairs"),
        }
        self.asked: list[tuple[str, str]] = []
        self.is_down = False
        self.now = 1000.0
        self.access = HttpAccess(self.review_token, self.review_access, clock=lambda: self.now)

    async def review_token(self, token: str) -> Review:
        self.asked.append(("token", token))
        if self.is_down:
            raise ApiError(f"no answer about {token}")
        return self.users.get(token, Review(False))

    async def review_access(self, user: Review, path: str) -> Access:
        self.asked.append((user.user, path))
        return Access((user.user, path) in self.rights)

    def get(self, path: str, authorization: str | None, address: str = "10.0.0.1") -> int:
        """The status of a request: 200 if it is let through."""
        refusal = self.refusal(path, authorization, address)
        return 200 if refusal is None else refusal.status.value

    def refusal(
        self, path: str, authorization: str | None, address: str = "10.0.0.1"
    ) -> Response | None:
        headers = {} if authorization is None else {"authorization": authorization}
        request = Request("GET", path, headers=headers, address=address)
        return asyncio.run(self.access.authorize(request))


@pytest.fixture
def api() -> Api:
    return Api()


def test_a_user_may_read_the_pages_that_the_api_server_allows(api: Api) -> None:
    assert api.get("/metrics", "Bearer prometheus-token") == 200
    assert api.get("/api/v1/pairs", "Bearer prometheus-token") == 403
    assert api.get("/api/v1/pairs", "bearer jane-token") == 200
    assert api.get("/metrics", "Bearer jane-token") == 403


def test_the_right_to_the_paths_of_the_api_server_itself_is_not_enough(api: Api) -> None:
    """Every authenticated user may get /api/* (ClusterRole system:discovery)."""
    api.users["lee-token"] = Review(True, "lee")
    assert api.get("/api/v1/pairs", "Bearer lee-token") == 403


def test_a_refusal_says_what_is_missing(api: Api) -> None:
    refusal = api.refusal("/metrics", "Bearer jane-token")
    assert refusal is not None
    assert isinstance(refusal.body, bytes)
    assert json.loads(refusal.body) == {
        "error": "jane may not get /metrics",
        "hint": "bind it to a ClusterRole with nonResourceURLs [/metrics] and verbs [get]",
    }
    missing = api.refusal("/metrics", None)
    assert missing is not None
    assert missing.headers == (("WWW-Authenticate", 'Bearer realm="kzn"'),)


@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Bearer ", "Basic amFuZTp4", "Bearer a b", "Bearer \xe9"]
)
def test_without_a_bearer_token_the_api_server_is_not_asked(
    api: Api, authorization: str | None
) -> None:
    assert api.get("/metrics", authorization) == 401
    assert api.asked == []


def test_a_right_is_cached_for_a_minute_by_token_and_path(api: Api) -> None:
    for _ in range(100):
        assert api.get("/metrics", "Bearer prometheus-token") == 200
    assert len(api.asked) == 2
    api.rights.clear()
    api.now += http_access.ALLOWED_SECONDS
    assert api.get("/metrics", "Bearer prometheus-token") == 403
    assert len(api.asked) == 4


def test_a_refusal_is_cached_for_ten_seconds(api: Api) -> None:
    assert [api.get("/metrics", "Bearer bad") for _ in range(3)] == [401] * 3
    assert api.asked == [("token", "bad")]
    api.users["bad"] = PROMETHEUS
    api.now += http_access.REFUSED_SECONDS
    assert api.get("/metrics", "Bearer bad") == 200


def test_a_right_holds_for_a_while_when_the_api_server_does_not_answer(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    assert api.get("/metrics", "Bearer prometheus-token") == 200
    api.is_down = True
    api.now += http_access.STALE_SECONDS - 1
    with caplog.at_level(logging.WARNING):
        assert api.get("/metrics", "Bearer prometheus-token") == 200
        assert api.get("/metrics", "Bearer other-token") == 503
    assert "other-token" not in caplog.text
    assert "no answer about (token)" in caplog.text
    api.now += 2
    assert api.get("/metrics", "Bearer prometheus-token") == 503
    assert api.access.counts == {"allowed": 1, "stale": 1, "failed": 3}


def test_guessing_is_throttled_by_address_and_a_cached_right_is_not(api: Api) -> None:
    assert api.get("/metrics", "Bearer prometheus-token") == 200
    api.asked.clear()
    found = [api.get("/metrics", f"Bearer guess-{i}") for i in range(50)]
    assert found == [401] * throttle.MAX_REFUSED + [429] * (50 - throttle.MAX_REFUSED)
    assert len(api.asked) == throttle.MAX_REFUSED
    assert api.get("/metrics", "Bearer prometheus-token") == 200
    assert api.get("/metrics", "Bearer guess-x", address="10.0.0.2") == 401
    api.now += throttle.EXTRA_SECONDS
    assert api.get("/api/v1/pairs", "Bearer jane-token") == 200, "one a second is asked about"


def jwt(subject: str, number: int, pod: str = "") -> str:
    claims = {"iss": "k8s", "sub": subject, "n": number}
    claims |= {"kubernetes.io": {"pod": {"uid": pod}}} if pod else {}
    return f"e30.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.c2ln"


def test_a_neighbour_that_guesses_does_not_lock_out_a_client_that_was_known(api: Api) -> None:
    first, renewed = (jwt(PROMETHEUS.user, number, "uid-1") for number in (1, 2))
    api.users |= {first: PROMETHEUS, renewed: PROMETHEUS}
    api.rights.add(("jane", "/kzn/api/v1/zones"))
    assert api.get("/metrics", f"Bearer {first}") == 200
    assert api.get("/api/v1/pairs", "Bearer jane-token") == 200
    found = [api.get("/metrics", f"Bearer guess-{i}") for i in range(50)]
    assert found[-1] == 429
    assert api.get("/metrics", f"Bearer {renewed}") == 200
    assert api.get("/api/v1/zones", "Bearer jane-token") == 200, "another page of the same token"
    assert api.get("/metrics", "Bearer guess-x") == 429, "what they do forgives nothing"


def test_names_that_are_invented_share_the_limit_of_their_address(api: Api) -> None:
    tokens = [jwt(f"user-{i}", i) for i in range(50)]
    found = [api.get("/metrics", f"Bearer {token}") for token in tokens]
    assert found == [401] * throttle.MAX_REFUSED + [429] * (50 - throttle.MAX_REFUSED)


def test_who_takes_the_name_of_a_known_client_is_throttled_too(api: Api) -> None:
    token = jwt(PROMETHEUS.user, 0)
    api.users[token] = PROMETHEUS
    assert api.get("/metrics", f"Bearer {token}") == 200
    found = [api.get("/metrics", f"Bearer {jwt(PROMETHEUS.user, i)}") for i in range(1, 51)]
    assert found == [401] * throttle.MAX_REFUSED + [429] * (50 - throttle.MAX_REFUSED)
    assert api.get("/metrics", f"Bearer {token}") == 200


def test_the_number_of_cached_decisions_is_bounded(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_access, "MAX_ENTRIES", 2)
    for i in range(4):
        api.get("/metrics", f"Bearer {i}", address=str(i))
    api.asked.clear()
    assert api.get("/metrics", "Bearer 3", address="x") == 401
    assert api.asked == []
    assert api.get("/metrics", "Bearer 0", address="x") == 401
    assert api.asked == [("token", "0")]


def test_the_token_of_a_header() -> None:
    request = Request("GET", "/", headers={"authorization": "BEARER  abc.def-_~+/= "})
    assert bearer_token(request) == "abc.def-_~+/="
