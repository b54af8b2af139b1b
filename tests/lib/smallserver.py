"""The HTTP API of a small server: answers rendered from one snapshot, over loopback."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from urllib.parse import parse_qs, urlsplit

from kzn.client.api import Status, StatusBytes
from kzn.model.totals import Counts, Totals
from kzn.server.flows.queue import LogCounts
from kzn.server.http.api import answer, parse_limit
from kzn.server.ledger.family import Row
from kzn.server.ledger.ledger import Ledger
from kzn.server.ledger.limits import LedgerLimits
from kzn.server.ledger.node_totals import TotalsByNode
from kzn.server.pipeline import AccountingSnapshot, Clocks, Pipeline
from kzn.server.receive.stats import ReceiveStats
from kzn.server.resolve.retry import RetryQueue
from kzn.server.snapshot import ServerSnapshot, Sources
from kzn.server.topology import SourceState
from kzn.topology.index import AddressIndex
from kzn.topology.source import TopologyStats

Answers = Callable[[str, str | None], tuple[int, bytes]]
WEB = ("shop", "Deployment", "web")


def snapshot() -> ServerSnapshot:
    """A server of one node with one workload."""
    index = AddressIndex(clock=lambda: 0.0, wall=lambda: 0.0)
    ledger = Ledger(LedgerLimits())
    ledger.load(
        [
            Row("pair", ("shop", "web", "a", "shop", "db", "b", "source"), 30),
            Row("pair", ("shop", "web", "a", "shop", "db", "b", "destination"), 3),
            Row("zone", ("a", "b", "cross_zone"), 33),
            Row("zone", ("a", "a", "same_zone"), 7),
            Row("workload", (*WEB, "egress", "cross_zone", "a", "b"), 33),
            Row("workload", (*WEB, "egress", "cross_region", "a", "z"), 1),
            Row("workload", (*WEB, "egress", "same_zone", "a", "a"), 7),
            Row("workload", (*WEB, "ingress", "external", "", "a"), 5),
        ],
        0.0,
    )
    node_totals = TotalsByNode(10)
    node_totals.of("n1").add_batch(
        Totals(Counts(9, 90), {"map_full": Counts(1, 10)}), Counts(8, 80)
    )
    sources = Sources(
        pipeline=Pipeline(
            index, ledger, node_totals, RetryQueue(10), clocks=Clocks(lambda: 0.0, lambda: 0.0)
        ),
        receiver=ReceiveStats,
        topology=lambda: (SourceState("static", True, TopologyStats(index.counts())),),
        flow_log=LogCounts,
    )
    return sources.snapshot(AccountingSnapshot.of(sources.pipeline), 4.0)


def real(topic: str, limit: str | None) -> tuple[int, bytes]:
    """The answer of kzn server."""
    return 200, b"".join(answer(topic, snapshot(), parse_limit(limit)))


def status(*, agents: int, batches: int, seen: int, unresolved: int = 0) -> Status:
    """A status of that many agents, each on a node of its own."""
    return Status(
        version="1.0",
        ready=True,
        why_not_ready="",
        agents=agents,
        nodes=agents,
        batches=batches,
        flows=0,
        duplicates=0,
        refused={},
        bytes=StatusBytes(seen, seen - unresolved, 0, 0, unresolved, 0, 0),
        topology=(),
    )


@contextmanager
def serving(
    answers: Answers, headers: Mapping[str, str] = MappingProxyType({}), missing: int = 0
) -> Iterator[str]:
    """Serve answers on loopback without their last ``missing`` bytes; yields the URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Send what ``answers`` returns."""
            parts = urlsplit(self.path)
            limit = parse_qs(parts.query).get("limit", [None])[0]
            status, body = answers(parts.path.removeprefix("/api/v1/"), limit)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            for header in headers.items():
                self.send_header(*header)
            self.end_headers()
            self.wfile.write(body[: len(body) - missing])

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
