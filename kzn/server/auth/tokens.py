"""Authenticates agents by ServiceAccount token (Kubernetes TokenReview), with a cache.

In: a token, the node that the agent reports for, the address it connects from.
Out: a permit, or a refusal that is temporary or permanent.
Never: a token stored, logged or in a message; an unbounded table; a peer that can make this server
flood the API server with reviews.
"""

import asyncio
import base64
import binascii
import hashlib
import json
import logging
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kzn.daemon.logs import RateLimited
from kzn.errors import KznError
from kzn.server.auth.permit import Permit
from kzn.server.auth.throttle import MAX_REFUSED, RefusalThrottle
from kzn.wire.messages import Reason, Refusal

if TYPE_CHECKING:
    from kzn.topology.kube.token_review import Review

_LOG = logging.getLogger(__name__)

FRESH_SECONDS = 600.0
"""An accepted token is reviewed again after that; if the API server does not answer, the last
review holds until `MARGIN_SECONDS` before the token expires."""
MARGIN_SECONDS = 30.0
"""Cached reviews end this long before their token expires."""
REFUSED_SECONDS = 10.0
"""Seconds for which a refused token is refused again without a review."""
MAX_ENTRIES = 20_000
"""Of each table: cached reviews by token, and addresses of accepted agents."""
MAX_REVIEWS = 8
"""Concurrent requests to the API server; further ones queue."""

ReviewToken = Callable[[str], Awaitable["Review"]]
"""Has the API server review a token; KznError if it does not answer."""


@dataclass(frozen=True, slots=True)
class _CachedReview:
    review: "Review"
    fresh_until: float
    valid_until: float


class TokenAuthenticator:
    """Accepts tokens of the ServiceAccounts ``accounts``, bound to a pod on the agent's node.

    ``node_of_pod``: node of a pod by UID, empty if not known (yet); needed before Kubernetes 1.30,
    when a review did not name the node. ``counts``: checks by result.
    """

    def __init__(
        self,
        review: ReviewToken,
        *,
        audience: str,
        accounts: frozenset[str],
        node_of_pod: Callable[[str], str],
        clock: Callable[[], float],
        wall: Callable[[], float],
        max_refused: int = MAX_REFUSED,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._review = review
        self._audience = audience
        self._users = {f"system:serviceaccount:{a.replace('/', ':')}" for a in accounts}
        self._node_of_pod = node_of_pod
        self._clock = clock
        self._wall = wall
        self._cache: OrderedDict[bytes, _CachedReview] = OrderedDict()
        self._throttle = RefusalThrottle(clock, max_refused)
        self._accepted_from: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._review_slots = asyncio.Semaphore(MAX_REVIEWS)
        self._warnings = RateLimited(_LOG, clock=clock)

    async def check(self, token: str, node: str, address: str) -> Permit | Refusal:
        """A permit for ``node``, or a refusal; ``address`` is where the agent connects from."""
        if not token:
            return Refusal(Reason.TOKEN, "a ServiceAccount token is required; set --token-file")
        key = hashlib.sha256(token.encode()).digest()
        cached = self._cache.get(key)
        if cached is not None and self._clock() < cached.fresh_until:
            self.counts["cached"] += 1
            return self._decide(cached, node)
        presented_by = self._key(token, node, address)
        answer = await self._request_review(token, presented_by)
        if isinstance(answer, Refusal):
            if cached is None or self._clock() >= cached.valid_until:
                return answer
            self.counts["stale"] += 1
            return self._decide(cached, node)
        permit = self._decide(self._store(key, token, answer, presented_by), node)
        if isinstance(permit, Permit):
            self._remember(address, node)
        return permit

    def _key(self, token: str, node: str, address: str) -> tuple[str, str]:
        """Whose refused tokens count together.

        The claims are not verified: they only choose among the keys of the address. A pod that
        runs on the node has one, and a node that had an agent at this address; all others share
        one, so that inventing names makes no new key.
        """
        uid = pod_uid_of(token)
        if uid and self._node_of_pod(uid) == node:
            return address, f"pod {uid}"
        return address, f"node {node}" if (address, node) in self._accepted_from else ""

    def _remember(self, address: str, node: str) -> None:
        self._accepted_from[address, node] = None
        self._accepted_from.move_to_end((address, node))
        if len(self._accepted_from) > MAX_ENTRIES:
            self._accepted_from.popitem(last=False)

    async def _request_review(
        self, token: str, presented_by: tuple[str, str]
    ) -> "Review | Refusal":
        if not self._throttle.may_ask(presented_by):
            self.counts["throttled"] += 1
            return Refusal(Reason.BUSY, "too many refused tokens from this address")
        async with self._review_slots:
            try:
                return await self._review(token)
            except KznError as error:
                self.counts["failed"] += 1
                text = error.message.replace(token, "(token)")
                self._warnings.warn("review", "token review failed: %s", text)
                return Refusal(
                    Reason.BUSY, "the token could not be reviewed; see the log of the server"
                )

    def _store(
        self, key: bytes, token: str, review: "Review", presented_by: tuple[str, str]
    ) -> _CachedReview:
        now = self._clock()
        if review.authenticated:
            self.counts["accepted"] += 1
            self._throttle.accepted(presented_by)
            left = expiry_of(token) - self._wall() - MARGIN_SECONDS
            until = now + max(1.0, left if left < float("inf") else FRESH_SECONDS)
            cached = _CachedReview(review, min(until, now + FRESH_SECONDS), until)
        else:
            self.counts["refused"] += 1
            self._throttle.refused(presented_by)
            cached = _CachedReview(review, now + REFUSED_SECONDS, now + REFUSED_SECONDS)
        self._cache[key] = cached
        self._cache.move_to_end(key)
        if len(self._cache) > MAX_ENTRIES:
            self._cache.popitem(last=False)
        return cached

    def _decide(self, cached: _CachedReview, node: str) -> Permit | Refusal:
        why = self._why_not_agent(cached.review)
        if why:
            return Refusal(Reason.TOKEN, why)
        review = cached.review
        pod_node = review.node or (review.pod_uid and self._node_of_pod(review.pod_uid))
        if not pod_node and review.pod_uid:
            return Refusal(Reason.BUSY, "the pod of the token is not in the topology yet")
        if not pod_node:
            return Refusal(Reason.TOKEN, "the token is not bound to a pod")
        if pod_node != node:
            text = f"the token belongs to a pod on {pod_node}, not on {node}"
            return Refusal(Reason.NODE, text)
        return Permit(cached.valid_until - self._clock())

    def _why_not_agent(self, review: "Review") -> str:
        if not review.authenticated:
            return "the API server rejected the token"
        if self._audience not in review.audiences:
            return f"the token is not for the audience {self._audience}"
        if review.user not in self._users:
            return f"{review.user} is not a ServiceAccount of agents (--agent-service-account)"
        return ""


def expiry_of(token: str) -> float:
    """Claim ``exp`` of a JWT (RFC 7519, section 4.1.4) as Unix time; infinite without one.

    Call it with reviewed tokens only: the API server checked the signature, and its TokenReview
    does not return the expiry.
    """
    try:
        return float(_claims(token)["exp"])
    except (ValueError, KeyError, TypeError):
        return float("inf")


def pod_uid_of(token: str) -> str:
    """The pod that a ServiceAccount token claims to be bound to, empty without one; unverified."""
    try:
        return str(_claims(token)["kubernetes.io"]["pod"]["uid"])
    except (ValueError, KeyError, TypeError):
        return ""


def subject_of(token: str) -> str:
    """Whose token a JWT claims to be: its issuer, its subject and its pod; empty for other text.

    Unverified. A renewed token has those of the one before.
    """
    try:
        claims = _claims(token)
        return f"{claims['iss']} {claims['sub']} {pod_uid_of(token)}"
    except (ValueError, KeyError, TypeError):
        return ""


def _claims(token: str) -> Any:
    """The claims of a JWT; ValueError for other text."""
    parts = token.split(".")
    if len(parts) != 3:
        raise ValueError("not a JWT")
    try:
        return json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, RecursionError) as error:
        raise ValueError("not a JWT") from error
