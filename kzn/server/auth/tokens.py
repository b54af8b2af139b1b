"""Tokens of agents: whose they are, remembered for as long as that is safe.

In: a token, the node that its bearer speaks for, the address it came from.
Out: a permit, or a refusal that says whether to come again.
Never: a token kept, logged or in a message; an unbounded table; a stranger who makes this server
flood the API server.
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
from typing import TYPE_CHECKING

from kzn.daemon.logs import RateLimited
from kzn.errors import KznError
from kzn.server.auth.permit import Permit
from kzn.wire.messages import Reason, Refusal

if TYPE_CHECKING:
    from kzn.topology.kube.token_review import Review

_LOG = logging.getLogger(__name__)

FRESH_SECONDS = 600.0
"""A good answer is asked for again after that; should nobody answer, it holds until near expiry."""
MARGIN_SECONDS = 30.0
"""So long before its expiry a token is no longer taken from memory."""
REFUSED_SECONDS = 10.0
"""How long a refused token is refused unasked."""
SUSPECT_SECONDS = 60.0
MAX_REFUSED = 5
"""Refused tokens from one address within SUSPECT_SECONDS before nobody asks about others."""
MAX_ENTRIES = 20_000
MAX_REVIEWS = 8
"""Questions to the API server at once; the others wait their turn."""

ReviewToken = Callable[[str], Awaitable["Review"]]
"""Asks the API server; KznError when it gives no answer."""


@dataclass(frozen=True, slots=True)
class _Entry:
    review: "Review"
    fresh_until: float
    until: float


class TokenAuthenticator:
    """Lets agents in whose ServiceAccount is one of ``accounts`` and whose pod runs on their node.

    ``node_of_pod`` knows the node of a pod by uid, empty when not (yet): Kubernetes before 1.30
    does not say the node itself. ``counts`` are answers by result.
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
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._review = review
        self._audience = audience
        self._users = {f"system:serviceaccount:{a.replace('/', ':')}" for a in accounts}
        self._node_of_pod = node_of_pod
        self._clock = clock
        self._wall = wall
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self._suspects: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._places = asyncio.Semaphore(MAX_REVIEWS)
        self._warnings = RateLimited(_LOG, clock=clock)

    async def check(self, token: str, node: str, address: str) -> Permit | Refusal:
        """Whether the bearer of ``token`` may speak for ``node``."""
        if not token:
            return Refusal(Reason.TOKEN, "this server asks for a ServiceAccount token")
        key = hashlib.sha256(token.encode()).digest()
        entry = self._entries.get(key)
        if entry is not None and self._clock() < entry.fresh_until:
            self.counts["cached"] += 1
            return self._judge(entry, node)
        answer = await self._ask(token, address)
        if isinstance(answer, Refusal):
            if entry is None or self._clock() >= entry.until:
                return answer
            self.counts["stale"] += 1
            return self._judge(entry, node)
        return self._judge(self._remember(key, token, answer, address), node)

    async def _ask(self, token: str, address: str) -> "Review | Refusal":
        if self._is_suspect(address):
            self.counts["throttled"] += 1
            return Refusal(Reason.BUSY, "too many refused tokens from this address")
        async with self._places:
            try:
                return await self._review(token)
            except KznError as error:
                self.counts["failed"] += 1
                said = error.message.replace(token, "(token)")
                self._warnings.warn("review", "tokens cannot be checked: %s", said)
                return Refusal(Reason.BUSY, "the token cannot be checked now")

    def _remember(self, key: bytes, token: str, review: "Review", address: str) -> _Entry:
        now = self._clock()
        if review.authenticated:
            self.counts["accepted"] += 1
            self._suspects.pop(address, None)
            left = expiry_of(token) - self._wall() - MARGIN_SECONDS
            until = now + max(1.0, left if left < float("inf") else FRESH_SECONDS)
            entry = _Entry(review, min(until, now + FRESH_SECONDS), until)
        else:
            self.counts["refused"] += 1
            self._suspect(address, now)
            entry = _Entry(review, now + REFUSED_SECONDS, now + REFUSED_SECONDS)
        self._entries[key] = entry
        self._entries.move_to_end(key)
        if len(self._entries) > MAX_ENTRIES:
            self._entries.popitem(last=False)
        return entry

    def _judge(self, entry: _Entry, node: str) -> Permit | Refusal:
        why = self._why_not_an_agent(entry.review)
        if why:
            return Refusal(Reason.TOKEN, why)
        review = entry.review
        home = review.node or (review.pod_uid and self._node_of_pod(review.pod_uid))
        if not home and review.pod_uid:
            return Refusal(Reason.BUSY, "the pod of the token is not known yet")
        if not home:
            return Refusal(Reason.TOKEN, "the token is not bound to a pod")
        if home != node:
            text = f"the token is of a pod on {home}, which does not speak for {node}"
            return Refusal(Reason.NODE, text)
        return Permit(entry.until - self._clock())

    def _why_not_an_agent(self, review: "Review") -> str:
        if not review.authenticated:
            return "the API server does not accept the token"
        if self._audience not in review.audiences:
            return f"the token is not for the audience {self._audience}"
        if review.user not in self._users:
            return f"{review.user} is no ServiceAccount of agents"
        return ""

    def _is_suspect(self, address: str) -> bool:
        count, since = self._suspects.get(address, (0, 0.0))
        return count >= MAX_REFUSED and self._clock() - since < SUSPECT_SECONDS

    def _suspect(self, address: str, now: float) -> None:
        count, since = self._suspects.pop(address, (0, now))
        if now - since >= SUSPECT_SECONDS:
            count, since = 0, now
        self._suspects[address] = (count + 1, since)
        if len(self._suspects) > MAX_ENTRIES:
            self._suspects.popitem(last=False)


def expiry_of(token: str) -> float:
    """The Unix time in the claim ``exp`` of a JWT that was found good; infinite when there is none.

    RFC 7519, section 4.1.4. The API server has checked the signature; TokenReview does not tell.
    """
    parts = token.split(".")
    if len(parts) != 3:
        return float("inf")
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        return float(claims["exp"])
    except (binascii.Error, ValueError, KeyError, TypeError, RecursionError):
        return float("inf")
