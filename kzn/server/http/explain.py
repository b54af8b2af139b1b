"""The JSON of /api/v1/explain: the verdict on one packet, and why. Pure; reads the index."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import msgspec

from kzn.client.explain import parse_address, parse_time, timestamp
from kzn.errors import UsageError
from kzn.model import ip
from kzn.server.resolve.explain import ExplainQuery, IndexWithHistory, explain
from kzn.server.resolve.reporting import ReportingNodes

MAX_NODE = 253
"""The longest name of a node that Kubernetes allows."""


class PastIndex(IndexWithHistory, Protocol):
    """An index that states how far its history goes back."""

    @property
    def history(self) -> float:
        """Seconds for which ended ownerships are kept."""
        ...


@dataclass(frozen=True, slots=True)
class Moment:
    """Now: ``clock`` of the index, and ``wall`` in seconds of the epoch."""

    clock: float
    wall: float


def answer(
    query: Mapping[str, str], index: PastIndex, reporting: ReportingNodes, now: Moment
) -> bytes:
    """The body; UsageError for a query that is wrong or too far back."""
    src, dst, node = _address(query, "src"), _address(query, "dst"), query.get("node", "")
    via = ip.pack(parse_address(query["via"])) if "via" in query else b""
    if len(node) > MAX_NODE:
        raise UsageError("the name of the node is too long", hint=f"at most {MAX_NODE} characters")
    at = now.clock
    if "at" in query:
        at -= now.wall - parse_time(query["at"], now.wall)
    if at < now.clock - index.history:
        raise UsageError(
            f"owners are not known as of {timestamp(now.wall - (now.clock - at)) or 'that time'}",
            hint=f"they are kept for {index.history / 60:.0f} minutes",
        )
    found = explain(
        ExplainQuery(src, dst, at, node, via),
        index,
        lambda _node: reporting.absent_nodes(now.clock),
        lambda moment: timestamp(now.wall - (now.clock - moment)),
    )
    return msgspec.json.encode(found.to_json()) + b"\n"


def _address(query: Mapping[str, str], key: str) -> bytes:
    if key not in query:
        raise UsageError(f"{key} is missing", hint="?src=ADDRESS&dst=ADDRESS")
    return ip.pack(parse_address(query[key]))
