"""The last minutes of each workload, from the server's own history.

In: an `ApiClient` for each server. Out: `Trends` and the `Peer`s of a workload, added up over the
servers. None from a server that has no /api/v1/traffic, and where servers answer of other spans.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, NamedTuple

from kzn.client.http import ApiClient
from kzn.errors import KznError
from kzn.top.reading import CROSS, Workload

MINUTES = 15
MOST = 10_000
FEWEST = 3
"""Steps that make a trend."""
_ACROSS = tuple(("where", f"class:{name}") for name in sorted(CROSS))
_BY_SENDER = "src_namespace,src_workload_kind,src_workload"


@dataclass(frozen=True, slots=True)
class Trends:
    """Bytes sent across zones or regions by steps of ``step`` seconds, oldest first.

    Steps at either end whose bytes are not complete are left out, and those before the first byte.
    """

    step: float
    total: tuple[int, ...]
    workloads: Mapping[Workload, tuple[int, ...]]


class Peer(NamedTuple):
    """Flows of a workload: from, to, and which end opened the connection, if that is known."""

    src_namespace: str
    src: str
    src_zone: str
    dst_namespace: str
    dst: str
    dst_zone: str
    port: str
    initiator: str


@dataclass(frozen=True, slots=True)
class _Series:
    """``known`` are the first point whose bytes are complete, and the first after them."""

    span: tuple[float, float, float]
    known: tuple[int, int]
    total: tuple[int, ...]
    rows: Mapping[Workload, tuple[int, ...]]


def take_trends(servers: Sequence[ApiClient], minutes: int = MINUTES) -> Trends | None:
    """A request to each server. None if one of them cannot answer it, or has only begun to."""
    query: list[tuple[str, str | int]] = [
        *(("since", f"{minutes}m"), ("by", _BY_SENDER), ("limit", MOST)),
        ("points", minutes + 1),  # the span is widened to whole minutes
        *_ACROSS,
    ]
    try:
        found = [server.fetch("traffic", _series, query) for server in servers]
    except KznError:
        return None
    if len({one.span for one in found}) != 1:
        return None
    rows: dict[Workload, tuple[int, ...]] = {}
    for one in found:
        for name, series in one.rows.items():
            rows[name] = _added(rows[name], series) if name in rows else series
    total = found[0].total
    for one in found[1:]:
        total = _added(total, one.total)
    first, last = max(one.known[0] for one in found), min(one.known[1] for one in found)
    while first < last and not total[first]:
        first += 1
    if last - first < FEWEST:
        return None
    return Trends(
        found[0].span[2],
        total[first:last],
        {name: series[first:last] for name, series in rows.items()},
    )


def take_peers(
    servers: Sequence[ApiClient], workload: Workload, minutes: int = MINUTES
) -> tuple[tuple[Peer, int], ...] | None:
    """With whom a workload had traffic across zones, largest first. None as for `take_trends`."""
    sums: Counter[Peer] = Counter()
    try:
        for server in servers:
            sums.update(_sent(server, workload, minutes))
            sums.update(_received(server, workload, minutes))
    except KznError:
        return None
    return tuple(sorted(sums.items(), key=lambda item: (-item[1], item[0])))


def _series(answer: Any) -> _Series:
    span = (float(answer["from"]), float(answer["to"]), float(answer["step"]))
    rows = {
        Workload(
            str(row["src_namespace"]), str(row["src_workload_kind"]), str(row["src_workload"])
        ): _numbers(row["series"])
        for row in answer["rows"]
    }
    total = _numbers(answer["total"]["series"])
    begin, _, step = span
    first, last = answer.get("complete_from"), answer.get("complete_to")
    known = (
        len(total) if first is None else max(0, ceil((float(first) - begin) / step)),
        len(total) if last is None else min(len(total), int((float(last) - begin) / step)),
    )
    return _Series(span, known, total, rows)


def _sent(server: ApiClient, workload: Workload, minutes: int) -> Counter[Peer]:
    rows = server.fetch("traffic", _rows("src", "dst"), _query("src", "dst", workload, minutes))
    sums: Counter[Peer] = Counter()
    for peer, zone, dst_zone, port, initiator, size in rows:
        ends = (workload.namespace, workload.name, zone, peer.namespace, peer.name, dst_zone)
        sums[Peer(*ends, port, initiator)] += size
    return sums


def _received(server: ApiClient, workload: Workload, minutes: int) -> Counter[Peer]:
    """What others sent to it; what it sent to itself is in `_sent`."""
    rows = server.fetch("traffic", _rows("dst", "src"), _query("dst", "src", workload, minutes))
    sums: Counter[Peer] = Counter()
    for peer, zone, src_zone, port, initiator, size in rows:
        ends = (peer.namespace, peer.name, src_zone, workload.namespace, workload.name, zone)
        if peer != workload:
            sums[Peer(*ends, port, initiator)] += size
    return sums


def _query(own: str, other: str, workload: Workload, minutes: int) -> list[tuple[str, str | int]]:
    """Flows of which the workload, and no other of its name, is the end ``own``."""
    by = (
        *(f"{other}_namespace", f"{other}_workload_kind", f"{other}_workload"),
        *(f"{own}_zone", f"{other}_zone", "port", "initiator"),
    )
    return [
        *(("since", f"{minutes}m"), ("by", ",".join(by)), ("limit", MOST)),
        ("where", f"{own}_namespace:{workload.namespace}"),
        ("where", f"{own}_workload_kind:{workload.kind}"),
        ("where", f"{own}_workload:{workload.name}"),
        *_ACROSS,
    ]


_PeerRow = tuple[Workload, str, str, str, str, int]
"""The other end, the own zone and the other's, port, initiator, bytes."""


def _rows(own: str, other: str) -> Callable[[Any], list[_PeerRow]]:
    def read(answer: Any) -> list[_PeerRow]:
        return [
            (
                Workload(
                    str(row[f"{other}_namespace"]),
                    str(row[f"{other}_workload_kind"]),
                    str(row[f"{other}_workload"]),
                ),
                *(str(row[f"{own}_zone"]), str(row[f"{other}_zone"])),
                *(str(row["port"]), str(row["initiator"]), int(row["bytes"])),
            )
            for row in answer["rows"]
        ]

    return read


def _numbers(series: Any) -> tuple[int, ...]:
    return tuple(int(number) for number in series)


def _added(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(a + b for a, b in zip(one, other, strict=True))
