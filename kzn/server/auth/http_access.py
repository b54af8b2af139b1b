"""Who may read the HTTP pages: what the API server says about the bearer token of a request.

In: requests. Out: nothing (the page is answered), or an answer that refuses.
Never: a token stored, logged or in an answer; an unbounded table; a client that can make this
server flood the API server with reviews.

A TokenReview tells the user, a SubjectAccessReview whether that user may `get` the page as a
non-resource URL (`right_for`). So the token of Prometheus works, which may read /metrics by its own
ClusterRole, and so does that of a person's kubeconfig.
"""

import asyncio
import hashlib
import logging
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from kzn.daemon.http.messages import Request, Response, problem
from kzn.daemon.logs import RateLimited
from kzn.errors import KznError
from kzn.server.auth.throttle import MAX_REFUSED, RefusalThrottle
from kzn.server.auth.tokens import subject_of

if TYPE_CHECKING:
    from kzn.topology.kube.access_review import Access
    from kzn.topology.kube.token_review import Review

_LOG = logging.getLogger(__name__)

ALLOWED_SECONDS = 60.0
"""How long a right is cached; a token that was revoked works as long."""
REFUSED_SECONDS = 10.0
STALE_SECONDS = 600.0
"""How long a right holds while the API server does not answer."""
PREFIX = "/kzn"
MAX_ENTRIES = 2_000
MAX_REVIEWS = 4
"""Concurrent requests to the API server; further ones queue."""
_SCHEME = "bearer "

ReviewToken = Callable[[str], Awaitable["Review"]]
"""Has the API server review a token; KznError if it does not answer."""
ReviewAccess = Callable[["Review", str], Awaitable["Access"]]
"""Has the API server decide whether a user may get a path; KznError if it does not answer."""


@dataclass(frozen=True, slots=True)
class _Decision:
    """``refusal`` None: allowed."""

    refusal: Response | None
    fresh_until: float
    valid_until: float


class HttpAccess:
    """Decides about requests; ``counts`` are decisions by result."""

    def __init__(
        self,
        review_token: ReviewToken,
        review_access: ReviewAccess,
        *,
        clock: Callable[[], float],
        max_refused: int = MAX_REFUSED,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._review_token = review_token
        self._review_access = review_access
        self._clock = clock
        self._cache: OrderedDict[tuple[bytes, str], _Decision] = OrderedDict()
        self._throttle = RefusalThrottle(clock, max_refused)
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._slots = asyncio.Semaphore(MAX_REVIEWS)
        self._warnings = RateLimited(_LOG, clock=clock)

    async def authorize(self, request: Request) -> Response | None:
        """None if the client may read the page, else the answer that says why not."""
        token = bearer_token(request)
        if not token:
            self.counts["unauthenticated"] += 1
            return _unauthorized("a bearer token is required")
        digest = hashlib.sha256(token.encode())
        key = digest.digest(), request.path
        cached = self._cache.get(key)
        if cached is not None and self._clock() < cached.fresh_until:
            self.counts["cached"] += 1
            return cached.refusal
        client = request.address, subject_of(token) or digest.hexdigest()
        decision = await self._ask(token, request, client)
        if isinstance(decision, Response):  # not decided
            if cached is None or self._clock() >= cached.valid_until:
                return decision
            self.counts["stale"] += 1
            return cached.refusal
        self._cache[key] = decision
        self._cache.move_to_end(key)
        if len(self._cache) > MAX_ENTRIES:
            self._cache.popitem(last=False)
        return decision.refusal

    async def _ask(
        self, token: str, request: Request, client: tuple[str, str]
    ) -> _Decision | Response:
        # Claims are not verified: they only choose among the keys of the address. A client that the
        # API server knew has one; all others share one, so that inventing names makes no new key.
        presented_by = client if client in self._known else (request.address, "")
        if not self._throttle.may_ask(presented_by):
            self.counts["throttled"] += 1
            return problem(
                HTTPStatus.TOO_MANY_REQUESTS, "too many refused tokens from this address"
            )
        async with self._slots:
            try:
                return await self._decide(token, request, client, presented_by)
            except KznError as error:
                self.counts["failed"] += 1
                text = error.message.replace(token, "(token)")
                self._warnings.warn("review", "review of an HTTP client failed: %s", text)
                return problem(
                    HTTPStatus.SERVICE_UNAVAILABLE,
                    "the token could not be reviewed; see the log of the server",
                )

    async def _decide(
        self, token: str, request: Request, client: tuple[str, str], presented_by: tuple[str, str]
    ) -> _Decision:
        user = await self._review_token(token)
        if not user.authenticated:
            self._throttle.refused(presented_by)
            self.counts["unauthenticated"] += 1
            return self._refused(_unauthorized("the API server rejected the token"))
        self._remember(client)
        path = right_for(request.path)
        access = await self._review_access(user, path)
        if not access.allowed:
            # A user of the cluster, not a guess: it does not count against the address.
            self.counts["forbidden"] += 1
            return self._refused(
                problem(
                    HTTPStatus.FORBIDDEN,
                    f"{user.user} may not get {path}",
                    f"bind it to a ClusterRole with nonResourceURLs [{path}] and verbs [get]",
                )
            )
        self._throttle.accepted(presented_by)
        self.counts["allowed"] += 1
        now = self._clock()
        return _Decision(None, now + ALLOWED_SECONDS, now + STALE_SECONDS)

    def _remember(self, client: tuple[str, str]) -> None:
        self._known[client] = None
        self._known.move_to_end(client)
        if len(self._known) > MAX_ENTRIES:
            self._known.popitem(last=False)

    def _refused(self, refusal: Response) -> _Decision:
        until = self._clock() + REFUSED_SECONDS
        return _Decision(refusal, until, until)


def right_for(path: str) -> str:
    """The non-resource URL that a client must have the right to get.

    /metrics as it is. Other pages get a prefix: /api/* are paths of the API server, too, which
    every authenticated user may get (ClusterRole system:discovery).
    """
    return path if path == "/metrics" else f"{PREFIX}{path}"


def bearer_token(request: Request) -> str:
    """The token of header Authorization (RFC 6750); empty without one."""
    value = request.headers.get("authorization", "")
    if value[: len(_SCHEME)].lower() != _SCHEME:
        return ""
    token = value[len(_SCHEME) :].strip()
    return token if token.isascii() and token.isprintable() and " " not in token else ""


def _unauthorized(why: str) -> Response:
    refusal = problem(
        HTTPStatus.UNAUTHORIZED,
        why,
        "send Authorization: Bearer TOKEN with a token of this cluster (--http-auth kubernetes)",
    )
    return Response(
        refusal.body,
        refusal.status,
        refusal.content_type,
        (("WWW-Authenticate", 'Bearer realm="kzn"'),),
    )
