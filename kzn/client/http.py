"""Asks a server's /api/v1 and makes values of the answers.

In: a base URL. Out: a `Reading`, the sums of one moment.
Never: waits longer than a few seconds, takes an endless answer, or trusts its shape.
"""

import json
import time
from collections.abc import Callable
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

from kzn.client.api import Pair, Reading, Status, Workload, ZonePair
from kzn.errors import KznError, UsageError

SECONDS = 10.0
MAX_BYTES = 64 << 20
LIMIT = 100_000
"""The most rows that a server gives."""
CROSS = frozenset({"cross_zone", "cross_region"})

_HINT = "is this the HTTP address of kzn server? kubectl -n kzn port-forward svc/kzn-server 8080"


class Client:
    """One server; ``clock`` is monotonic seconds."""

    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.url = check_url(url)
        self._clock = clock

    def look(self) -> Reading:
        """All sums of now; KznError when the server does not answer or not as it should."""
        try:
            return self._look()
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise KznError(f"{self.url} answers something else: {error!r}", hint=_HINT) from error

    def _look(self) -> Reading:
        status = _status(self._get("status"))
        zones: dict[ZonePair, int] = {}
        for row in self._get("zones")["zones"]:
            key = ZonePair(row["src_zone"], row["dst_zone"], row["class"])
            zones[key] = zones.get(key, 0) + int(row["bytes"])
        workloads: dict[Workload, dict[str, int]] = {}
        answer = self._get("workloads")
        for row in answer["workloads"]:
            owner = Workload(row["namespace"], row["workload_kind"], row["workload"])
            sums = workloads.setdefault(owner, {})
            column = _column(row["direction"], row["class"])
            sums[column] = sums.get(column, 0) + int(row["bytes"])
        pairs: dict[Pair, int] = {}
        for row in self._get("pairs")["pairs"]:  # one for each end that may have opened it
            pairs[_pair(row)] = pairs.get(_pair(row), 0) + int(row["bytes"])
        cut = max(0, int(answer["of"]) - LIMIT)
        return Reading(self._clock(), status, zones, workloads, pairs, cut)

    def _get(self, topic: str) -> Any:
        url = f"{self.url}/api/v1/{topic}?limit={LIMIT}"
        try:
            with urlopen(url, timeout=SECONDS) as answer:  # noqa: S310 - http(s), checked
                body = answer.read(MAX_BYTES + 1)
        except HTTPError as error:
            said = error.read(200).decode(errors="replace").strip()
            raise KznError(f"{url} answered {error.code}: {said}", hint=_HINT) from error
        except URLError as error:
            raise KznError(f"{self.url}: {_reason(error)}", hint=_HINT) from error
        except (OSError, HTTPException) as error:
            raise KznError(f"{self.url}: {error!r}", hint=_HINT) from error
        if len(body) > MAX_BYTES:
            raise KznError(f"{url} answers more than {MAX_BYTES >> 20} MiB", hint=_HINT)
        return json.loads(body)


def check_url(text: str) -> str:
    """The base of an HTTP URL without a slash at its end; UsageError when it is none."""
    hint = "write http://HOST:PORT"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"{text!r} is no URL: {error}", hint=hint) from error
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise UsageError(f"{text!r} is no HTTP URL", hint=hint)
    if parts.query or parts.fragment:
        raise UsageError(f"{text!r} has more than a path", hint=hint)
    return text.rstrip("/")


def _reason(error: URLError) -> str:
    if isinstance(error.reason, OSError) and error.reason.strerror:
        return error.reason.strerror
    return str(error.reason)


def _status(answer: Any) -> Status:
    sums = answer["bytes"]
    return Status(
        version=str(answer["version"]),
        why_not_ready=str(answer["why_not_ready"]),
        agents=int(answer["agents"]),
        nodes=int(answer["nodes"]),
        batches=int(answer["batches"]),
        seen=int(sums["seen"]),
        unresolved=int(sums["unresolved"]),
        missed=int(sums["missed"]),
    )


def _column(direction: str, crossed: str) -> str:
    if crossed in CROSS:
        return "sent" if direction == "egress" else "received"
    return f"{direction}_{crossed}"


def _pair(row: Any) -> Pair:
    return Pair(
        row["src_namespace"],
        row["src_workload"],
        row["src_zone"],
        row["dst_namespace"],
        row["dst_workload"],
        row["dst_zone"],
    )
