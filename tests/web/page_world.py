"""A server with the page and made-up answers, for screens and states of any cluster."""

import json
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import product
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
from page_answers import ADVICE, EXPLAINED, ROLLOUTS, STATUS, node_row, price_row

from kzn.client.traffic import parse_query
from kzn.errors import UsageError
from kzn.server.http import page

PROJECT = Path(__file__).parents[2]
PAGE_TESTS = PROJECT / "web" / "tests"
Show = Callable[..., Any]
"""Opens the page in a tab: the fixture ``show``."""
RANGES = {"1h": 3600, "6h": 21_600, "24h": 86_400, "7d": 604_800, "30d": 2_592_000}
NOW = 1_795_000_000
POINTS = 144
SIDES = ("src", "dst", "cause")
ZONES = ("eu-west-1a", "eu-west-1b", "eu-west-1c")
_NAMES = (
    *("platform/cert-manager", "crm/mailer", "observability/mimir-distributor", "media/cdn-origin"),
    *("data/airflow", "observability/loki", "observability/otel-collector", "platform/argo-cd"),
    *("media/drm", "data/postgres", "observability/grafana", "crm/crm-api", "data/minio"),
    *("kube-system/node-local-dns", "observability/prometheus", "shop/web", "shop/cart"),
    *("shop/checkout", "shop/redis", "shop/kafka"),
)


KINDS = {
    "postgres": "StatefulSet",
    "kafka": "StatefulSet",
    "redis": "StatefulSet",
    "node-local-dns": "DaemonSet",
}
"""Kinds of workloads that are not Deployments."""


@dataclass
class World:
    """Made-up flows as columns: the labels of each, and bytes by point."""

    labels: list[dict[str, str]]
    sizes: np.ndarray
    overrides: dict[str, Callable[[Mapping[str, list[str]]], tuple[int, Any]]] = field(
        default_factory=dict
    )
    prices: bool = True
    ranges: tuple[str, ...] = tuple(RANGES)
    complete_from: int | None = None
    gaps: tuple[dict[str, Any], ...] = ()
    requests: list[str] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        *,
        workloads: Iterable[str] = _NAMES,
        zones: tuple[str, ...] = ZONES,
        pairs: int = 200,
        seed: int = 7,
        crossings: int = 0,
    ) -> "World":
        """Flows of ``pairs`` pairs of workloads between all zones, or ``crossings`` of these."""
        rng = np.random.default_rng(seed)
        names = list(workloads)
        labels: list[dict[str, str]] = []
        for _ in range(pairs):
            src, dst = (names[int(i)] for i in (rng.zipf(1.4, 2) - 1) % len(names))
            between = list(product(zones, zones))
            if crossings:
                between = [between[int(i)] for i in rng.choice(len(between), crossings, False)]
            labels += [
                _flow(src, dst, src_zone, dst_zone, int(rng.integers(0, 3)))
                for src_zone, dst_zone in between
            ]
        weight = rng.pareto(1.1, len(labels))[:, None] * 1e9
        wave = 1 + 0.5 * np.sin(np.arange(POINTS) / 20 + rng.uniform(0, 6, (len(labels), 1)))
        noise = rng.uniform(0.6, 1.4, (len(labels), POINTS))
        return cls(labels, (weight * wave * noise / POINTS).astype(np.int64))

    def add(self, src: str, dst: str, size: int, *, kinds: Mapping[str, str] | None = None) -> None:
        """A flow of the source's own connection, from the first zone to the second."""
        row = _flow(src, dst, *ZONES[:2], 0)
        for end in SIDES:
            row[f"{end}_workload_kind"] = (kinds or {}).get(
                row[f"{end}_workload"], row[f"{end}_workload_kind"]
            )
        self.labels.append(row)
        series = np.full((1, POINTS), size // POINTS, np.int64)
        series[0, 0] += size % POINTS
        self.sizes = np.concatenate([self.sizes.reshape(-1, POINTS), series])

    def traffic(self, query: Mapping[str, list[str]]) -> dict[str, Any]:
        """The answer of /api/v1/traffic."""
        seconds = RANGES.get(query.get("since", ["24h"])[0], 86_400)
        begin, end = NOW - seconds, NOW
        if "from" in query:
            begin, end = int(query["from"][0]), int(query["to"][0])
        by = query["by"][0].split(",")
        wanted: dict[str, set[str]] = {}
        for one in query.get("where", []):
            name, _, value = one.partition(":")
            wanted.setdefault(name, set()).add(value)
        chosen = [
            i
            for i, row in enumerate(self.labels)
            if all(row[name] in values for name, values in wanted.items())
        ]
        points = int(query.get("points", ["0"])[0])
        groups: dict[tuple[str, ...], np.ndarray] = {}
        for i in chosen:
            key = tuple(self.labels[i][name] for name in by)
            groups[key] = groups.get(key, 0) + self.sizes[i]
        order = sorted(groups, key=lambda key: -int(groups[key].sum()))
        limit = int(query.get("limit", ["50"])[0])
        nothing = np.zeros(POINTS, np.int64)
        total = sum(groups.values(), nothing)
        rest = sum((groups[key] for key in order[limit:]), nothing)
        compare = "compare" in query

        def sums(series: np.ndarray) -> dict[str, Any]:
            size = int(series.sum())
            found: dict[str, Any] = {"bytes": size, "packets": size // 1000}
            if compare:
                found["before"] = int(size * (0.85 + size % 30 / 100))
            if points:
                found["series"] = series.reshape(points, -1).sum(axis=1).tolist()
            if self.prices:
                found |= {"cost": {"USD": size * 0.02 / 2**30}, "unpriced_bytes": 0}
            return found

        rows = [dict(zip(by, key, strict=True)) | sums(groups[key]) for key in order[:limit]]
        return {
            "from": begin,
            "to": end,
            "step": (end - begin) / (points or POINTS),
            "by": by,
            "rows": rows,
            "other": sums(rest),
            "total": sums(total),
            "of": len(order),
            "complete_from": self.complete_from or 2 * begin - end,
            "gaps": list(self.gaps),
            "source": "minutes" if end - begin <= 21_600 else "hours",
        }

    def answer(self, topic: str, query: Mapping[str, list[str]]) -> tuple[int, Any]:
        """Status and JSON of a topic. A question about traffic is checked as the server does."""
        if topic == "traffic":
            try:
                parse_query(query, NOW)
            except UsageError as error:
                return 400, {"error": str(error), "hint": error.hint}
        if topic in self.overrides:
            return self.overrides[topic](query)
        zones = sorted(
            {row["src_zone"] for row in self.labels} | {row["dst_zone"] for row in self.labels}
        )
        prices = [
            {"list": "aws", "valid_from": "2026-01-01", "date": "2026-07-01", "currency": "USD"}
        ]
        meta = {
            "version": "0.1.0",
            "cluster": "prod-eu",
            "zones": zones,
            "ranges": list(self.ranges),
            "resolution": 60,
            "kept": {"raw": 259_200, "hour": 3_024_000, "day": 34_560_000},
            "prices": prices if self.prices else None,
            "prometheus": None,
        }
        found: dict[str, Any] = {
            "status": STATUS,
            "advice": ADVICE,
            "rollouts": ROLLOUTS,
            "meta": meta,
            "notices": {"notices": []},
            "budgets": {"budgets": []},
            "nodes": {"nodes": [node_row(i) for i in range(42)], "of": 42},
            "prices": {
                "prices": [price_row(a, b) for a, b in product(zones, zones)],
                "lists": [{"name": "aws", "gb_bytes": 2**30}],
            },
            "explain": EXPLAINED,
        }
        if topic == "traffic":
            return 200, self.traffic(query)
        if topic in found:
            return 200, found[topic]
        return 404, {"error": "there is no such page"}


def _flow(src: str, dst: str, src_zone: str, dst_zone: str, opener: int) -> dict[str, str]:
    found = {
        "class": "same_zone" if src_zone == dst_zone else "cross_zone",
        "initiator": ("source", "destination", "unknown")[opener],
        "port": "5432",
        "protocol": "tcp",
    }
    cause = (dst, dst_zone) if opener == 1 else (src, src_zone)
    for end, (name, zone) in {
        "src": (src, src_zone),
        "dst": (dst, dst_zone),
        "cause": cause,
    }.items():
        namespace, workload = name.split("/")
        found |= {
            f"{end}_namespace": namespace,
            f"{end}_workload": workload,
            f"{end}_workload_kind": KINDS.get(workload, "Deployment"),
            f"{end}_zone": zone,
            f"{end}_pod": f"{workload}-{zone[-1]}1",
            f"{end}_node": f"ip-10-0-{zone[-1]}",
            f"{end}_address": "10.0.0.1",
        }
    return found


def size_text(bytes_: int) -> str:
    """Bytes as the page writes them."""
    value, unit = float(bytes_), 0
    while value >= 999.5:
        value, unit = value / 1000, unit + 1
    digits = 0 if unit == 0 or value >= 99.95 else 1 if value >= 9.995 else 2
    return f"{value:.{digits}f} {['B', 'kB', 'MB', 'GB', 'TB', 'PB'][unit]}"


class FakeServer:
    """Serves a world below ``prefix``; a context manager.

    ``keeps`` connections as a real server does: they outlive the context.
    """

    def __init__(self, world: World, prefix: str = "", *, keeps: bool = False) -> None:
        world_, prefix_ = world, prefix

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1" if keeps else "HTTP/1.0"
            wbufsize = -1  # head and body in one segment

            def handle(self) -> None:
                with suppress(ConnectionError):  # the browser went elsewhere
                    super().handle()

            def finish(self) -> None:
                with suppress(ConnectionError):
                    super().finish()

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                path = parts.path.removeprefix(prefix_)
                world_.requests.append(self.path)
                if path.startswith("/api/v1/"):
                    query = parse_qs(parts.query, keep_blank_values=True)
                    if path == "/api/v1/export":
                        self._send(200, "text/csv", b"a,b\n1,2\n")
                        return
                    status, body = world_.answer(path.removeprefix("/api/v1/"), query)
                    content = body if isinstance(body, bytes) else json.dumps(body).encode()
                    self._send(status, "application/json", content)
                    return
                name = path.removeprefix("/") or page.INDEX
                file = page.FOLDER / Path(name).name
                if not file.is_file():
                    self._send(404, "text/plain", b"no such file")
                    return
                self._send(200, page._TYPES.get(file.suffix, "text/plain"), file.read_bytes())

            def _send(self, status: int, content_type: str, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                for name, value in page.SECURITY:
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}{prefix}/"

    def __enter__(self) -> "FakeServer":
        Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


if __name__ == "__main__":
    with FakeServer(World.of()) as server:
        print(server.url, flush=True)  # noqa: T201 - a program
        time.sleep(3600)
