"""Pages of past traffic and of what a page of the browser shows beside it.

In: requests, a store that answers `TrafficQuery`, snapshots. Out: /api/v1/traffic, /api/v1/meta and
/api/v1/notices as JSON. Never: an answer whose rows and rest differ from its total.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec

from kzn import __version__
from kzn.client.openapi import EXPORT_TYPES
from kzn.client.past_traffic import PastTraffic
from kzn.client.prices import used_lists
from kzn.client.traffic import EXPORT_PARAMETERS, PARAMETERS, parse_export, parse_query
from kzn.daemon.http.body import body_of
from kzn.daemon.http.messages import JSON, BusyError, Request, Response, Route, Stream
from kzn.errors import UsageError
from kzn.history.export_query import Export
from kzn.history.processes.export_process import About
from kzn.history.query import Answer, TrafficQuery
from kzn.pricing.book import PriceBook
from kzn.pricing.table import Place
from kzn.server.http.past_places import past_places
from kzn.server.http.shared import shared_page
from kzn.server.http.traffic_costs import Costs, costs_of, rest
from kzn.server.prices import places_of
from kzn.server.snapshot import ServerSnapshot
from kzn.topology.index import AddressIndex

RANGES = {"1h": 3600, "6h": 21_600, "24h": 86_400, "7d": 604_800, "30d": 2_592_000}
UNRESOLVED_SHARE = 0.005
SMALLEST_PERCENT = 0.1
SILENT_SECONDS = 120.0
COST_SECONDS = 27.0
"""From a request to its answer, which has no costs then: less than the HTTP server's limit."""
_NAMES = 10
_NO_STORE = (("cache-control", "no-store"),)


class Exported(Stream, Protocol):
    """Pieces of an export, and what it has."""

    about: About


class TrafficStore(Protocol):
    """Answers queries about the past."""

    @property
    def kept(self) -> dict[str, int]:
        """Seconds for which each level is kept."""
        ...

    async def export(self, export: Export) -> Exported:
        """The rows of an export; UsageError, BusyError."""
        ...

    async def ask(self, query: TrafficQuery) -> Answer:
        """The answer; UsageError for a query that this store cannot answer, BusyError."""
        ...


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that the reader of a page has to know: ``names`` are the first few concerned."""

    kind: str
    text: str
    names: tuple[str, ...] = ()
    hint: str = ""

    def to_json(self) -> dict[str, Any]:
        """The object of the answer."""
        return {"kind": self.kind, "text": self.text, "names": self.names, "hint": self.hint}


class TrafficPages:
    """The routes; ``wall`` is Unix time, ``snapshot`` a copy of the server's state.

    ``book`` has the price lists, None without prices.
    """

    def __init__(
        self,
        store: TrafficStore,
        index: AddressIndex,
        snapshot: Callable[[], Awaitable[ServerSnapshot]],
        wall: Callable[[], float],
        book: Callable[[], PriceBook | None] = lambda: None,
    ) -> None:
        self._book = book
        self._store = store
        self._index = index
        self._snapshot = snapshot
        self._wall = wall

    def routes(self) -> dict[str, Route]:
        """The pages by path."""
        return {
            "/api/v1/traffic": Route(self._traffic, PARAMETERS),
            "/api/v1/export": Route(self._export, EXPORT_PARAMETERS),
            "/api/v1/meta": Route(shared_page(self._meta)),
            "/api/v1/notices": Route(shared_page(self._notices)),
        }

    async def _traffic(self, request: Request) -> Response:
        until = asyncio.get_running_loop().time() + COST_SECONDS
        found = await self._store.ask(parse_query(request.parameters, self._wall()))
        costs = None
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                costs = await self._costs(found)
        # In a thread: a large answer takes a tenth of a second.
        return await asyncio.to_thread(lambda: _json(document(found, costs)))

    async def ask(self, query: TrafficQuery) -> PastTraffic:
        """An answer with costs, as clients read it; UsageError, BusyError."""
        found = await self._store.ask(query)
        return PastTraffic.from_json(document(found, await self._costs(found)))

    async def _export(self, request: Request) -> Response:
        export = parse_export(request.parameters, self._wall())
        found = await self._store.export(export)
        about = found.about
        name = f"kzn-{about.begin}-{about.end}.{export.format}"
        headers = (
            ("content-disposition", f'attachment; filename="{name}"'),
            ("kzn-rows", str(about.rows)),
            ("kzn-span", f"{about.begin}/{about.end}"),
            ("kzn-source", about.source),
            *_NO_STORE,
        )
        return Response(
            b"", content_type=EXPORT_TYPES[export.format], headers=headers, stream=found
        )

    async def _costs(self, answer: Answer) -> Costs | None:
        """What rows and total cost; None without prices, or if that cannot be asked now."""
        book = self._book()
        if book is None:
            return None
        try:
            return await costs_of(answer, self._store.ask, book, past_places(self._index))
        except (UsageError, BusyError):  # more groups than can be held, or too many questions
            return None

    async def _meta(self, _request: Request) -> Response:
        snapshot = await self._snapshot()
        kept = self._store.kept
        longest = max(kept.values())
        book = self._book()
        at = datetime.fromtimestamp(self._wall(), UTC)
        lists = used_lists(book, self._places(), at) if book is not None else ()
        prices = [
            {
                "list": one.name,
                "valid_from": one.valid_from,
                "date": one.date,
                "currency": one.currency,
            }
            for one in lists
        ]
        return _json(
            {
                "version": __version__,
                "cluster": snapshot.cluster,
                "zones": sorted(self._zones()),
                "ranges": [name for name, seconds in RANGES.items() if seconds <= longest],
                "resolution": 60,
                "kept": kept,
                "prices": prices or None,
                "prometheus": None,
            }
        )

    async def _notices(self, _request: Request) -> Response:
        found = notices(await self._snapshot(), self._index)
        return _json({"notices": [notice.to_json() for notice in found]})

    def _places(self) -> Iterator[Place]:
        return places_of(self._index.nodes(), self._index.networks.networks())

    def _zones(self) -> set[str]:
        return {zone for node in self._index.node_names() if (zone := _zone(self._index, node))}


def document(answer: Answer, costs: Costs | None) -> dict[str, Any]:
    """The object of /api/v1/traffic."""
    found = answer.to_json()
    if costs is None:
        return found
    rows, total = costs
    return found | {
        "rows": [
            shown | rows[row.values].to_json()
            for shown, row in zip(found["rows"], answer.rows, strict=True)
        ],
        "other": found["other"] | rest(total, rows.values()).to_json(),
        "total": found["total"] | total.to_json(),
        "prices": [
            {"list": name, "currency": currency, "date": str(day)}
            for name, currency, day in sorted(total.lists)
        ],
    }


def notices(snapshot: ServerSnapshot, index: AddressIndex) -> Iterator[Notice]:
    """What is wrong now, as far as numbers are concerned."""
    yield from _of_nodes(snapshot, index)
    yield from _of_bytes(snapshot)
    full = [name for name, view in snapshot.ledger.views.items() if view.other.bytes]
    if full:
        yield Notice(
            "limit_reached",
            "A limit of series was reached: what is beyond it is shown as other.",
            tuple(full),
            "raise --max-series",
        )
    history = snapshot.history
    dropped = (
        {reason for reason, sums in history.dropped.items() if any(a.bytes for a in sums.values())}
        if history is not None
        else set()
    )
    if dropped:
        yield Notice(
            "history_dropped",
            "Some traffic is counted and not in the history.",
            tuple(sorted(dropped)),
            "see kzn_server_history_dropped_bytes_total",
        )
    if history is not None and any(
        amount.bytes for sums in (history.lost, history.lost_before) for amount in sums.values()
    ):
        yield Notice(
            "restarted",
            "The server was killed once: what it had not written of its last minute is not in the"
            " history.",
            hint="charts hatch that time",
        )


def _of_nodes(snapshot: ServerSnapshot, index: AddressIndex) -> Iterator[Notice]:
    silent = sorted(node for node, age in snapshot.batch_ages if age > SILENT_SECONDS)
    coverage = snapshot.coverage
    if silent:
        yield Notice(
            "node_silent",
            f"{_nodes(silent, 'does', 'do')} not report.",
            tuple(silent[:_NAMES]),
            "kubectl -n kzn get pods -o wide -l app.kubernetes.io/component=agent",
        )
    others = coverage.known - coverage.reporting - coverage.without_agent
    if others > len(silent) and coverage.reporting:
        yield Notice(
            "other_servers",
            f"{coverage.reporting} of {coverage.known} nodes report to this server: with a server"
            " in each zone the others have their traffic.",
        )
    zoneless = sorted(node for node in index.node_names() if not _zone(index, node))
    if zoneless:
        yield Notice(
            "node_without_zone",
            f"{_nodes(zoneless, 'has', 'have')} no zone: traffic from and to there is unresolved.",
            tuple(zoneless[:_NAMES]),
            "label them with topology.kubernetes.io/zone, or see --default-zone",
        )


def _nodes(names: list[str], one: str, many: str) -> str:
    return f"1 node {one}" if len(names) == 1 else f"{len(names)} nodes {many}"


def _of_bytes(snapshot: ServerSnapshot) -> Iterator[Notice]:
    seen = 0
    unresolved: Counter[str] = Counter()
    missed: Counter[str] = Counter()
    for totals in snapshot.totals:
        for (term, reason), counts in totals.counts.items():
            if term == "seen":
                seen += counts.bytes
            elif term in ("unresolved", "missed"):
                (unresolved if term == "unresolved" else missed)[reason] += counts.bytes
    if unresolved.total() > UNRESOLVED_SHARE * seen:
        yield Notice(
            "unresolved",
            f"{_share(unresolved.total(), seen)} of the bytes have no known endpoint or zone.",
            _largest(unresolved),
            "kzn explain SRC DST says why",
        )
    if missed.total():
        yield Notice(
            "missed",
            f"{_share(missed.total(), seen)} of the bytes were seen and are in no flow.",
            _largest(missed),
            "see kzn_missed_bytes_total",
        )


def _share(part: int, whole: int) -> str:
    percent = 100 * part / whole if whole else 100.0
    return f"{percent:.1f} %" if percent >= SMALLEST_PERCENT else f"less than {SMALLEST_PERCENT} %"


def _largest(reasons: Counter[str]) -> tuple[str, ...]:
    """The first few reasons with bytes, the largest first."""
    return tuple(reason for reason, size in reasons.most_common(_NAMES) if size)


def _zone(index: AddressIndex, node: str) -> str:
    number = index.node_endpoint(node)
    return index.endpoint(number).zone if number >= 0 else ""


def _json(document: object) -> Response:
    body = body_of([msgspec.json.encode(document), b"\n"], tagged=True)
    return Response(body, content_type=JSON, headers=_NO_STORE)
