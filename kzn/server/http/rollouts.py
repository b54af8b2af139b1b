"""The page /api/v1/rollouts: what was rolled out in a span of the past.

In: the log of changes. Out: JSON. Never: a sentence that a resource was still, of one that the
server may not read.
"""

import asyncio
import math
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from kzn.client.explain import timestamp
from kzn.client.rollouts import DEFAULT_LIMIT, MAX_LIMIT, PARAMETERS, is_of, row_of
from kzn.client.traffic import parse_query
from kzn.daemon.http.body import body_of
from kzn.daemon.http.messages import JSON, Request, Response, Route
from kzn.errors import UsageError
from kzn.topology.rollouts import MAX_PLACED, Rollout, between
from kzn.topology.routing import Routing

_USUAL = "24h"
_CONTROLLERS = ("deployments", "statefulsets", "daemonsets")
_TIMES = ("since", "from", "to")


class RolloutsPage:
    """The route; without a log (no Kubernetes) there are no changes, and a note says so."""

    def __init__(self, routing: Routing, wall: Callable[[], float]) -> None:
        self._routing = routing
        self._wall = wall

    def routes(self) -> dict[str, Route]:
        """The page by its path."""
        return {"/api/v1/rollouts": Route(self._answer, PARAMETERS)}

    async def _answer(self, request: Request) -> Response:
        now = self._wall()
        times = {name: (value,) for name in _TIMES if (value := request.one(name)) is not None}
        span = parse_query({"since": (_USUAL,)} | times if "from" not in times else times, now)
        limit = _limit(request.one("limit"))
        namespace, workload = (request.one(name) or "" for name in ("namespace", "workload"))
        log = self._routing.rollouts
        kept = log.all() if log is not None else []

        def work() -> tuple[list[Rollout], int]:
            found = [
                one
                for one in between(kept, span.begin, span.end)
                if is_of(one, namespace, workload)
            ]
            return found[:limit], len(found)

        found, of = await asyncio.to_thread(work)
        document: dict[str, Any] = {
            "from": span.begin,
            "to": span.end,
            "watched_from": round(log.watched_from if log is not None else now, 3),
            "rollouts": [row_of(one) for one in found],
            "of": of,
            "notes": list(self._notes(span.begin, span.end)),
        }
        body = body_of([msgspec.json.encode(document), b"\n"], tagged=True)
        return Response(body, content_type=JSON, headers=(("cache-control", "no-store"),))

    def _notes(self, begin: int, end: int) -> Iterator[str]:
        log, missing = self._routing.rollouts, self._routing.missing
        if log is None:
            yield "changes are known of Kubernetes alone"
            return
        if begin < log.watched_from:
            since = timestamp(int(log.watched_from))
            yield f"before {since}, when a server began to watch, only creations are known"
        unseen = [
            min(last, end) - max(first, begin)
            for first, last in log.gaps
            if first < end and last > begin
        ]
        if unseen:
            yield (
                f"for {math.ceil(sum(unseen))} s in all no server watched (restarts:"
                f" {len(unseen)}), and of that time only creations are known"
            )
        if begin < log.complete_from:
            since = timestamp(int(log.complete_from))
            yield f"there were too many changes: some of before {since} are forgotten"
        for name in _CONTROLLERS:
            if name in missing:
                yield f"changes of {name} are not known: {missing[name]}"
        if log.unplaced:
            yield f"the zones of {log.unplaced} workloads are not followed: more than {MAX_PLACED}"


def _limit(text: str | None) -> int:
    if text is None:
        return DEFAULT_LIMIT
    if not (text.isascii() and text.isdigit()) or len(text) > 9 or int(text) > MAX_LIMIT:
        raise UsageError(f"limit {text[:20]!r} is not a number up to {MAX_LIMIT}")
    return int(text)
