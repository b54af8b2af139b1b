"""What goes to an engine: settings by its version and its user's rights, bodies as files."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web
from questions import T0
from spooled import SmallHistory

from kzn.errors import KznError
from kzn.history.query import TrafficQuery
from kzn.history.segments import HOUR
from kzn.sinks.clickhouse.sink import SINK
from kzn.sinks.clickhouse.sql import compile_query, compile_series
from kzn.sinks.clickhouse.store import LIMITS, open_store
from kzn.sinks.declaration import FinishedSegment
from kzn.sinks.target import parse_target

QUERY = TrafficQuery(T0, T0 + HOUR, ("src_pod", "port"), limit=7, points=6)


@dataclass
class Engine:
    """Keeps requests; answers its version, else ``answer``, or an error to a setting."""

    version: str = "24.3.1.1"
    answer: str = "0"
    fixed: str = ""
    asked: list[dict[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        """Answer one statement."""
        body, parameters = await request.read(), dict(request.query)
        self.asked.append(parameters)
        self.bodies.append(body)
        if self.fixed in parameters:
            return web.Response(status=500, text="Code: 164. DB::Exception: Cannot modify")
        return web.Response(text=self.version if body == b"SELECT version()" else self.answer)

    def run(self, call: Callable[[str], Awaitable[object]]) -> None:
        """Call with its URL."""

        async def serve() -> None:
            app = web.Application(client_max_size=1 << 30)
            app.router.add_post("/", self.handle)
            runner = web.AppRunner(app)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            try:
                port = runner.addresses[0][1]
                await call(f"clickhouse://127.0.0.1:{port}/kzn")
            finally:
                await runner.cleanup()

        asyncio.run(serve())


@pytest.fixture
def segment(tmp_path: Path) -> FinishedSegment:
    """A segment that can only be read in pieces."""
    history = SmallHistory(tmp_path)
    spool = history.spool()
    spool.add(history.write(61, 4321))
    found = spool.first()
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("version", "is_sent"), [("22.3.1.1", False), ("23.4.9.9", False), ("23.5.1.1", True)]
)
def test_an_engine_gets_settings_that_it_knows_and_the_file_in_pieces(
    segment: FinishedSegment, version: str, is_sent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(version)

    def whole(path: Path) -> bytes:
        raise AssertionError(path)

    async def put(url: str) -> None:
        sink = SINK.open(parse_target(url))
        await sink.put(segment)
        await sink.close()

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", whole)
        engine.run(put)
    assert ("input_format_parquet_preserve_order" in engine.asked[-1]) == is_sent
    assert engine.asked[-1]["insert_deduplication_token"] == segment.name
    assert engine.bodies[-1] == segment.path.read_bytes()


def test_an_old_engine_gets_a_file_of_lines(segment: FinishedSegment) -> None:
    engine = Engine("18.16.1")

    async def put(url: str) -> None:
        sink = SINK.open(parse_target(url))
        await sink.put(segment)
        await sink.close()

    engine.run(put)
    (line,) = engine.bodies[-1].decode().splitlines()
    assert line.startswith(f'"{segment.name}","17')
    assert line.endswith(',"4321"')
    # Of the history there is no more than the link: the lines had no name.
    assert sorted(path.suffix for path in segment.path.parent.iterdir()) == [".json", ".parquet"]


def asked(engine: Engine, query: TrafficQuery) -> None:
    """Ask; the answer may be an error."""

    async def ask(url: str) -> None:
        store = open_store(parse_target(url))
        with pytest.raises(KznError):
            await store.ask(query)
        await store.close()

    engine.run(ask)


def test_statements_have_limits_unless_the_user_may_not_set_any() -> None:
    spans = json.dumps({"data": [[T0, T0, T0, T0]]})
    engine = Engine(answer=spans)
    asked(engine, QUERY)
    with_limits = [found for found in engine.asked if LIMITS.items() <= found.items()]
    assert len(with_limits) == 3  # tables, spans and the first statement, which has another form
    engine = Engine(answer=spans, fixed="max_memory_usage")
    asked(engine, QUERY)
    assert [("max_memory_usage" in found) for found in engine.asked] == [True, *[False] * 4]


@pytest.mark.parametrize("is_modern", [True, False])
def test_an_engine_holds_series_of_the_shown_groups_alone(is_modern: bool) -> None:
    groups = compile_query(QUERY, "t", 600, is_modern=is_modern)
    assert "sumResample" not in groups
    assert "sumMap" not in groups
    series = compile_series(QUERY, "t", 600, is_modern=is_modern)
    assert "LIMIT 7)) AS h" in series
    assert "GROUP BY h, k0, k1 WITH TOTALS" in series
