"""Tokens: which are accepted for which node, how reviews are cached, and what is throttled."""

import asyncio
import base64
import json
import logging
from collections.abc import Callable

import pytest

from kzn.errors import ApiError
from kzn.server.auth import throttle, tokens
from kzn.server.auth.authenticator import Authenticator
from kzn.server.auth.permit import PeerInfo, Permit
from kzn.server.auth.tokens import ReviewToken, TokenAuthenticator, expiry_of
from kzn.topology.kube.token_review import Review
from kzn.wire.messages import Hello, Reason, Refusal

AGENT = "system:serviceaccount:kzn:kzn-agent"
GOOD = Review(True, AGENT, frozenset({"kzn-server"}), "node-a", "uid-1")
BAD = Review(False)
WALL = 1_700_000_000.0


def jwt(**claims: object) -> str:
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"e30.{body}.c2ln"


TOKEN = jwt(exp=WALL + 3600)


class Api:
    """An API server that answers reviews from ``answers`` and records them, and a clock."""

    def __init__(self, review: ReviewToken | None = None) -> None:
        self.answers: dict[str, Review] = {TOKEN: GOOD}
        self.reviewed: list[str] = []
        self.is_down = False
        self.now = 1000.0
        self.pods = {"uid-1": "node-a"}
        self.tokens = TokenAuthenticator(
            review or self.review,
            audience="kzn-server",
            accounts=frozenset({"kzn/kzn-agent"}),
            node_of_pod=lambda uid: self.pods.get(uid, ""),
            clock=lambda: self.now,
            wall=lambda: WALL + self.now - 1000.0,
        )

    async def review(self, token: str) -> Review:
        self.reviewed.append(token)
        if self.is_down:
            raise ApiError(f"no answer about {token}")
        return self.answers.get(token, BAD)

    def check(
        self, token: str = TOKEN, node: str = "node-a", address: str = "10.0.0.1"
    ) -> Permit | Refusal:
        return asyncio.run(self.tokens.check(token, node, address))

    def reason(self, token: str = TOKEN, node: str = "node-a", address: str = "10.0.0.1") -> Reason:
        answer = self.check(token, node, address)
        assert isinstance(answer, Refusal)
        assert token not in answer.text or not token
        return answer.reason


@pytest.fixture
def api() -> Api:
    return Api()


def test_a_token_is_valid_for_the_node_of_its_pod_until_shortly_before_it_expires(api: Api) -> None:
    assert api.check() == Permit(3600 - tokens.MARGIN_SECONDS)
    assert api.reason(node="node-b") is Reason.NODE
    assert api.reviewed == [TOKEN]


@pytest.mark.parametrize(
    ("review", "reason"),
    [
        (BAD, Reason.TOKEN),
        (Review(True, AGENT, frozenset(), "node-a", "uid-1"), Reason.TOKEN),
        (Review(True, AGENT, frozenset({"other"}), "node-a", "uid-1"), Reason.TOKEN),
        (
            Review(
                True, "system:serviceaccount:shop:web", frozenset({"kzn-server"}), "node-a", "uid-1"
            ),
            Reason.TOKEN,
        ),
        (Review(True, "admin", frozenset({"kzn-server"}), "node-a", ""), Reason.TOKEN),
        (Review(True, AGENT, frozenset({"kzn-server"}), "", ""), Reason.TOKEN),
        (Review(True, AGENT, frozenset({"kzn-server"}), "", "uid-9"), Reason.BUSY),
        (Review(True, AGENT, frozenset({"kzn-server"}), "node-b", "uid-1"), Reason.NODE),
    ],
)
def test_a_token_of_anything_but_an_agent_on_this_node_is_refused(
    api: Api, review: Review, reason: Reason
) -> None:
    api.answers[TOKEN] = review
    assert api.reason() is reason


def test_before_kubernetes_1_30_the_topology_gives_the_node_of_the_pod(api: Api) -> None:
    api.answers[TOKEN] = Review(True, AGENT, frozenset({"kzn-server"}), "", "uid-1")
    assert isinstance(api.check(), Permit)
    assert api.reason(node="node-b") is Reason.NODE
    del api.pods["uid-1"]
    assert api.reason() is Reason.BUSY


def test_a_missing_token_is_refused_without_a_review(api: Api) -> None:
    assert api.reason("") is Reason.TOKEN
    assert api.reviewed == []


def test_an_accepted_token_is_reviewed_again_after_ten_minutes(api: Api) -> None:
    api.check()
    api.now += tokens.FRESH_SECONDS - 1
    api.check()
    assert len(api.reviewed) == 1
    api.now += 2
    api.answers[TOKEN] = BAD
    assert api.reason() is Reason.TOKEN
    assert len(api.reviewed) == 2


def test_without_an_api_server_cached_tokens_stay_valid_until_they_expire_and_new_ones_wait(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    api.check()
    api.is_down = True
    api.now += 3500
    assert api.check() == Permit(100 - tokens.MARGIN_SECONDS)
    assert api.reason(jwt(exp=WALL + 7200)) is Reason.BUSY
    api.now += 71
    assert api.reason() is Reason.BUSY
    assert api.tokens.counts == {"accepted": 1, "stale": 1, "failed": 3}
    assert TOKEN not in caplog.text
    assert "no answer about (token)" in caplog.text


def test_a_token_without_a_known_expiry_is_valid_until_its_next_review(api: Api) -> None:
    for token in ("opaque", jwt(sub="x"), "a.!!.c", "a." + "W" * 5 + ".c"):
        api.answers[token] = GOOD
        assert api.check(token) == Permit(tokens.FRESH_SECONDS)
        assert expiry_of(token) == float("inf")


def test_a_refused_token_is_not_reviewed_again_for_some_seconds(api: Api) -> None:
    assert [api.reason("bad"), api.reason("bad")] == [Reason.TOKEN, Reason.TOKEN]
    assert api.reviewed == ["bad"]
    api.now += tokens.REFUSED_SECONDS + 1
    api.reason("bad")
    assert api.reviewed == ["bad", "bad"]


def test_an_address_with_many_refused_tokens_is_throttled(api: Api) -> None:
    api.check()
    for i in range(20):
        api.reason(f"bad-{i}")
    assert len(api.reviewed) == 1 + throttle.MAX_REFUSED
    assert api.reason("bad-x") is Reason.BUSY
    assert api.reason("bad-x", address="10.0.0.2") is Reason.TOKEN
    assert isinstance(api.check(), Permit), "a cached token needs no review"
    api.now += throttle.SECONDS
    assert api.reason("bad-y") is Reason.TOKEN


RENEWED = jwt(exp=WALL + 7200, **{"kubernetes.io": {"pod": {"uid": "uid-1"}}})


@pytest.mark.parametrize("was_here", [True, False])
@pytest.mark.parametrize(
    "bad",
    [
        lambda i: f"bad-{i}",
        lambda i: jwt(exp=WALL, i=i),
        lambda i: jwt(i=i, **{"kubernetes.io": {"pod": {"uid": f"invented-{i}"}}}),
        lambda i: jwt(i=i, **{"kubernetes.io": {"pod": {"uid": "uid-2"}}}),  # on another node
        lambda i: jwt(i=i, **{"kubernetes.io": ["pod"]}),
    ],
)
def test_refused_tokens_do_not_lock_out_the_agent_behind_the_same_address(
    api: Api, bad: Callable[[int], str], *, was_here: bool
) -> None:
    api.pods["uid-2"] = "node-b"
    api.answers[RENEWED] = GOOD
    if was_here:
        api.check()
    for i in range(100):
        api.check(bad(i))
        api.check(bad(i), node=f"node-{i}")
    assert isinstance(api.check(RENEWED), Permit)
    assert len(api.reviewed) <= 2 + 2 * throttle.MAX_REFUSED


def test_an_agent_whose_token_names_no_pod_is_known_by_its_node_and_address(api: Api) -> None:
    for token in ("opaque-1", "opaque-2"):
        api.answers[token] = GOOD
    assert isinstance(api.check("opaque-1"), Permit)
    for i in range(100):
        api.check(f"bad-{i}", node=f"node-{i}")
    assert isinstance(api.check("opaque-2"), Permit)


def test_a_key_beyond_its_limit_is_reviewed_once_a_second(api: Api) -> None:
    """Even one who copies the claims of an agent cannot lock it out."""
    copied = {"kubernetes.io": {"pod": {"uid": "uid-1"}}}
    for i in range(50):
        api.check(jwt(i=i, **copied))
    assert api.reason(jwt(i="x", **copied)) is Reason.BUSY
    api.answers[RENEWED] = GOOD
    api.now += throttle.EXTRA_SECONDS
    assert isinstance(api.check(RENEWED), Permit)
    assert api.reason(jwt(i="y", **copied)) is Reason.TOKEN, "an accepted token ends the throttle"


def test_the_oldest_cached_review_is_evicted(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "MAX_ENTRIES", 3)
    for i in range(4):
        api.reason(f"bad-{i}", address=f"10.0.0.{i}")
    api.reviewed.clear()
    for i in (3, 2, 1, 0):
        api.reason(f"bad-{i}", address="10.0.1.1")
    assert api.reviewed == ["bad-0"]


def test_concurrent_reviews_are_limited() -> None:
    async def run() -> None:
        open_now = most = 0
        release = asyncio.Event()

        async def review(_token: str) -> Review:
            nonlocal open_now, most
            open_now += 1
            most = max(most, open_now)
            await release.wait()
            open_now -= 1
            return GOOD

        api = Api(review)
        checks = [
            asyncio.create_task(api.tokens.check(f"t{i}", "node-a", "10.0.0.1")) for i in range(50)
        ]
        for _ in range(5):
            await asyncio.sleep(0)
        release.set()
        assert all(isinstance(answer, Permit) for answer in await asyncio.gather(*checks))
        assert most == tokens.MAX_REVIEWS

    asyncio.run(run())


HELLO = Hello("node-a", 7, TOKEN, "0.1.0", "postrouting")


def authenticate(authenticator: Authenticator, peer: PeerInfo) -> Permit | Refusal:
    return asyncio.run(authenticator.authenticate(HELLO, peer))


def test_before_the_topology_is_ready_agents_are_refused_as_busy_without_a_review(api: Api) -> None:
    why: Callable[[], str] = lambda: "waiting for pods"  # noqa: E731
    answer = authenticate(Authenticator("token", why, tokens=api.tokens), PeerInfo("10.0.0.1"))
    assert answer == Refusal(Reason.BUSY, "waiting for pods")
    assert api.reviewed == []


def test_the_authenticator_asks_the_token_authenticator(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    authenticator = Authenticator("token", str, tokens=api.tokens)
    with caplog.at_level(logging.DEBUG):
        assert isinstance(authenticate(authenticator, PeerInfo("10.0.0.1")), Permit)
        api.answers[TOKEN] = BAD
        api.now += tokens.FRESH_SECONDS
        assert isinstance(authenticate(authenticator, PeerInfo("10.0.0.1")), Refusal)
    assert authenticator.state().reviews == {"accepted": 1, "refused": 1}
    assert authenticator.state().mode == "token"
    assert TOKEN not in caplog.text
