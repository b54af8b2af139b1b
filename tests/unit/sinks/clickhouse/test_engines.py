"""What goes into ClickHouse comes out as from the files: one table of questions for all engines.

The current engine shows the dialect, Parquet and tokens; the old server the wire, CSV and its way
to know repeats.
"""

import asyncio
import ssl
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engines import CURRENT, OLD, engine
from pki import Authority
from questions import ENDS, T0, VERDICTS, settled
from spooled import SERVER, SmallHistory

from kzn.errors import KznError, UsageError
from kzn.history.columns import KEYS
from kzn.history.query import DIMENSIONS, Answer, Measure, Row, TrafficQuery
from kzn.history.reader import Reader
from kzn.history.retention import Keep
from kzn.history.segments import DAY, HOUR
from kzn.history.writer import Writer
from kzn.sinks.clickhouse.client import Client, Place
from kzn.sinks.clickhouse.schema import TABLES, create
from kzn.sinks.clickhouse.sink import SINK, ClickHouseSink
from kzn.sinks.clickhouse.store import ClickHouseStore, open_store
from kzn.sinks.declaration import FinishedSegment, LaterError, RefusedError
from kzn.sinks.spool import Spool
from kzn.sinks.target import parse_target

STRANGE = "a'b\\c\nd\te\"f{x:y}%é☃ OR 1=1 --"
NAMED = [*ENDS, ENDS[0]._replace(workload=STRANGE, namespace="odd", pod=STRANGE)]
QUESTIONS: dict[str, TrafficQuery] = {
    "everything": TrafficQuery(T0 - DAY, T0 + 3 * DAY),
    "nothing": TrafficQuery(T0 - 9 * DAY, T0 - 8 * DAY, ("src_pod",), points=3),
    "nothing at all": TrafficQuery(T0 - 9 * DAY, T0 - 8 * DAY, points=3),
    "minutes": TrafficQuery(T0, T0 + 2 * HOUR, ("src_workload", "dst_workload"), points=24),
    "pods and ports": TrafficQuery(T0, T0 + HOUR, ("dst_pod", "port", "protocol"), points=6),
    "an address": TrafficQuery(T0, T0 + 60, ("src_pod",), (("address", ("10.0.0.3",)),)),
    "day against day": TrafficQuery(T0, T0 + DAY, ("cause_workload",), compare=True, points=24),
    "hours": TrafficQuery(T0 - DAY, T0 + 2 * DAY, ("src_zone", "dst_zone", "class"), points=72),
    "days": TrafficQuery(T0 - 60 * DAY, T0 + 3 * DAY, ("dst_workload",), points=63, compare=True),
    "few rows": TrafficQuery(T0, T0 + DAY, ("src_workload", "port"), limit=2, points=5),
    "no rows": TrafficQuery(T0, T0 + DAY, ("src_workload",), limit=0, points=5),
    "either end": TrafficQuery(T0, T0 + DAY, ("dst_zone",), (("workload", ("shop/web",)),)),
    "a port": TrafficQuery(T0, T0 + DAY, ("port",), (("port", ("443", "0")),), points=1),
    "strange": TrafficQuery(T0, T0 + DAY, ("src_pod",), (("src_workload", (STRANGE,)),)),
    "a strange name": TrafficQuery(T0, T0 + DAY, (), (("src_pod", (f"odd/{STRANGE}",)),)),
    "no such": TrafficQuery(T0, T0 + DAY, ("cluster",), (("cluster", ("' OR '1'='1", "\\")),)),
    "initiators": TrafficQuery(T0, T0 + DAY, ("initiator", "reason", "cluster")),
}
NODE_FIELDS = ("node", "provider_id", "zone")
QUESTIONS |= {
    f"{span} of nodes by {side}": TrafficQuery(
        T0 - days * DAY,
        T0 + 3 * DAY,
        (*(f"{side}_{field}" for field in NODE_FIELDS), "dst_region", "class", "initiator"),
        (("zone", ("a", "b")),) if side == "dst" else (),
        points=7,
        compare=True,
    )
    for side in ("src", "dst", "cause")
    for span, days in (("hours", 1), ("days", 60))
}
QUESTIONS |= {
    f"by {name}": TrafficQuery(T0, T0 + HOUR, (name,), points=3, compare=True)
    for name in DIMENSIONS
}


@dataclass
class Filled:
    """An engine that has a history, and the reader of its files."""

    url: str
    reader: Reader
    segments: list[FinishedSegment]

    def asked(self, query: TrafficQuery) -> Answer:
        """The engine's answer."""
        return with_store(self.url, lambda store: store.ask(query))


def with_store(url: str, call: Callable[[ClickHouseStore], Coroutine[Any, Any, Answer]]) -> Answer:
    """Call with a store that is closed afterwards."""

    async def run() -> Answer:
        store = open_store(parse_target(url))
        try:
            return await call(store)
        finally:
            await store.close()

    return asyncio.run(run())


def put(url: str, *segments: FinishedSegment) -> None:
    """Put segments by a sink that was just started."""

    async def run() -> None:
        sink = SINK.open(parse_target(url))
        try:
            for segment in segments:
                await sink.put(segment)
        finally:
            await sink.close()

    asyncio.run(run())


def written(root: Path) -> list[FinishedSegment]:
    """A history of some hours in two days, a part of it merged; all its files as segments."""
    chance = np.random.default_rng(16)
    writer = Writer(root, SERVER, VERDICTS, Keep(raw=400 * DAY, hour=400 * DAY))
    writer.describe("east", {"n1": "aws:///a/i-1"})
    writer.add_ends(NAMED, anew=True)
    flows: dict[int, list[tuple[int, ...]]] = {}
    for _ in range(300):
        minute = int(chance.choice([0, 1, 59, 60, 61, 1500]))
        ends = (int(chance.integers(0, len(NAMED))) for _ in range(2))
        port, protocol = int(chance.choice([0, 443, 5432])), int(chance.choice([6, 17, 99]))
        verdicts = (int(chance.integers(0, 3)) for _ in range(2))
        size = int(chance.integers(1, 1 << 40))
        flows.setdefault(minute, []).append((minute, *ends, port, protocol, *verdicts, size))
    for number, (_, part) in enumerate(sorted(flows.items()), 1):
        writer.write(number, settled(part), {})
        if number == 3:
            while writer.maintain(T0 + HOUR + 200):
                pass
    spool = Spool(root, SERVER, "test", "test://", 1 << 30)
    spool.adopt()
    while writer.maintain(T0 + 4 * DAY):
        pass
    writer.close()
    found: list[FinishedSegment] = []
    while (segment := spool.first()) is not None:
        copy = root / f"copy-{segment.name}"
        copy.hardlink_to(segment.path)
        found.append(replace(segment, path=copy))
        spool.delivered(segment)
    return found


@pytest.fixture(scope="module", params=[CURRENT, OLD])
def filled(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Filled]:
    """An engine that got every segment twice, the second time from a restarted server."""
    root = tmp_path_factory.mktemp("engine")
    segments = written(root / "history")
    assert len(segments) == 4
    with engine(request.param, root / "engine") as url:
        put(f"{url}&create=yes", *segments)
        put(f"{url}&create=yes", *segments)
        reader = Reader(root / "history")
        yield Filled(url, reader, segments)
        reader.close()


@pytest.mark.parametrize("name", QUESTIONS)
def test_an_engine_answers_as_the_files_do(filled: Filled, name: str) -> None:
    query = QUESTIONS[name]
    found, expected = filled.asked(query), filled.reader.ask(query)
    assert found.rows == expected.rows
    assert (found.total, found.other, found.of) == (expected.total, expected.other, expected.of)
    assert (found.query, found.step, found.source) == (
        expected.query,
        expected.step,
        expected.source,
    )
    if "nothing" not in name and name != "no such":
        assert found.total.bytes > 0


@pytest.mark.parametrize("kind", [CURRENT, OLD])
def test_tables_of_nodes_that_come_later_answer_from_their_first_whole_hour_on(
    tmp_path: Path, kind: str
) -> None:
    """As after an upgrade: first there are none, then they begin amid an hour."""
    writer = Writer(tmp_path / "history", SERVER, VERDICTS, Keep())
    writer.add_ends(ENDS, anew=True)
    for number, minute in enumerate((0, 30, 61), 1):
        writer.write(number, settled([(minute, 0, 1, 443, 6, 1, 1, 5 * number)]), {})
    writer.close()
    paths = sorted((tmp_path / "history").glob("raw/*/*"), key=lambda path: path.name[-9:])
    segments = [
        FinishedSegment(path.name, SERVER, T0, T0 + HOUR, path.stat().st_size, path)
        for path in paths
    ]
    query = TrafficQuery(T0 - DAY, T0 + DAY, ("src_node",))
    places = replace(query, by=("src_zone", "class"))

    async def create_pairs(url: str) -> None:
        client = Client(Place.of(parse_target(url)), seconds=20)
        for statement in create(Keep(), await client.version()):
            if "node_hour" not in statement and "node_day" not in statement:
                await client.run(statement)
        await client.close()

    with engine(kind, tmp_path / "engine") as url:
        asyncio.run(create_pairs(url))
        put(url, segments[0])
        before = with_store(url, lambda store: store.ask(query))
        assert (before.source, before.total.bytes) == ("minutes", 5)
        put(f"{url}&create=yes", *segments[1:])
        found = with_store(url, lambda store: store.ask(query))
        assert (found.source, found.complete_from, found.total.bytes) == ("minutes", T0, 30)
        recent = replace(query, begin=T0 + HOUR)
        found = with_store(url, lambda store: store.ask(recent))
        assert (found.source, found.complete_from) == ("hours", T0 + HOUR)
        assert found.rows == (Row(("n1",), Measure(15, 1)),)
        found = with_store(url, lambda store: store.ask(places))
        assert (found.source, found.total.bytes) == ("hours", 30)

        async def filled_in(store: ClickHouseStore) -> Answer:
            assert (await store.ask(query)).source == "minutes"
            client = Client(Place.of(parse_target(url)), seconds=20)
            table, names = TABLES["node_hour"], ", ".join(("time", *KEYS["node_hour"], "packets"))
            await client.run(
                f"INSERT INTO {table} ({names}, bytes) SELECT {names}, toUInt64(5)"  # noqa: S608
                f" FROM {table} WHERE time = toDateTime({T0})"
            )
            await client.close()
            return await store.ask(query)

        found = with_store(url, filled_in)
        assert (found.source, found.complete_from, found.total.bytes) == ("hours", T0, 30)


async def forward(port: int, one: asyncio.StreamReader, other: asyncio.StreamWriter) -> None:
    """What comes by TLS goes to the engine, as by a load balancer that ends TLS."""

    async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while piece := await source.read(1 << 16):
            target.write(piece)
            await target.drain()
        target.close()

    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with suppress(OSError):
        await asyncio.gather(copy(one, writer), copy(reader, other))


@pytest.mark.parametrize("kind", [CURRENT, OLD])
def test_an_engine_is_spoken_to_by_tls_and_only_with_its_authority(
    tmp_path: Path, kind: str
) -> None:
    authority = Authority(tmp_path / "pki")
    certificate, key = authority.issue("engine", "IP:127.0.0.1")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    history = SmallHistory(tmp_path / "history")
    spool = history.spool()
    spool.add(history.write(61, 4321))
    segment = spool.first()
    assert segment is not None

    async def run(url: str) -> None:
        place, _, options = url.partition("?")
        port = int(place.removeprefix("clickhouse://127.0.0.1:").partition("/")[0])
        front = await asyncio.start_server(partial(forward, port), "127.0.0.1", 0, ssl=context)
        behind = place.replace(str(port), str(front.sockets[0].getsockname()[1]))
        secure = f"{behind}?{options}&create=yes&tls=yes"
        sink = SINK.open(parse_target(f"{secure}&ca-file={authority.ca}"))
        await sink.put(segment)
        await sink.close()
        store = open_store(parse_target(f"{secure}&ca-file={authority.ca}"))
        found = await store.ask(QUESTIONS["everything"])
        assert found.total.bytes == 4321
        await store.close()
        for wrong in (secure, f"{behind}?{options}"):  # unknown authority, no TLS
            refused = SINK.open(parse_target(wrong))
            with pytest.raises(LaterError):
                await refused.put(segment)
            await refused.close()
        front.close()

    with engine(kind, tmp_path / "engine") as url:
        asyncio.run(run(url))


async def broken(port: int, head: bytes, body: bytes) -> None:
    """Send a request whose connection ends before its body does."""
    reader, out = await asyncio.open_connection("127.0.0.1", port)
    out.write(head)
    out.write(body)
    out.write_eof()
    with suppress(OSError):
        await reader.read()
    out.close()


async def cut_off(
    port: int, cut: bytes, reader: asyncio.StreamReader, out: asyncio.StreamWriter
) -> None:
    """Statements are answered; an insert arrives until ``cut``, and nothing comes back."""
    while True:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            break
        (length,) = (
            int(line.partition(b":")[2])
            for line in head.splitlines()
            if line.lower().startswith(b"content-length:")
        )
        body = await reader.readexactly(length)
        if b"query=INSERT" in head:
            await broken(port, head, body[: body.index(cut, len(body) // 3) + len(cut)])
            break
        out.write(await exchange(port, head + body))
    out.close()


async def exchange(port: int, request: bytes) -> bytes:
    """The answer to a request."""
    reader, out = await asyncio.open_connection("127.0.0.1", port)
    out.write(request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
    answer = await reader.read()
    out.close()
    return answer


@pytest.mark.parametrize("cut", [b'"1001"\n', b'"1001"', b'"100', b'"cross_'])
def test_rows_that_an_old_server_has_of_a_broken_insert_are_not_lost_and_not_doubled(
    tmp_path: Path, cut: bytes
) -> None:
    """It takes whole rows that came before the connection broke for all of them."""
    writer = Writer(tmp_path / "history", SERVER, VERDICTS, Keep())
    writer.add_ends(ENDS, anew=True)
    flows: list[tuple[int, ...]] = [(0, 0, 1, port, 6, 1, 1, 1000 + port) for port in range(3)]
    writer.write(1, settled(flows), {})
    writer.close()
    (path,) = (tmp_path / "history").glob("raw/*/*")
    size = path.stat().st_size
    segment = FinishedSegment(path.name, SERVER, T0, T0 + HOUR, size, path)

    async def run(url: str) -> None:
        place, _, options = url.partition("?")
        port = int(place.removeprefix("clickhouse://127.0.0.1:").partition("/")[0])
        front = await asyncio.start_server(partial(cut_off, port, cut), "127.0.0.1", 0)
        behind = place.replace(str(port), str(front.sockets[0].getsockname()[1]))
        sink = SINK.open(parse_target(f"{behind}?{options}&create=yes"))
        with pytest.raises(LaterError):
            await sink.put(segment)
        await sink.close()
        front.close()

    with engine(OLD, tmp_path / "engine") as url:
        asyncio.run(run(url))
        for _ in range(2):
            put(url, segment)
        found = with_store(url, lambda store: store.ask(TrafficQuery(T0, T0 + HOUR, ("port",))))
        assert [(row.values, row.measure.bytes) for row in found.rows] == [
            ((port,), 1000 + port) for port in (2, 1, 0)
        ]


def test_two_servers_and_two_clusters_are_one_answer(filled: Filled, tmp_path: Path) -> None:
    """Segments of another server add up; its cluster is a dimension. (Last: it adds rows.)"""
    before = filled.asked(QUESTIONS["everything"]).total.bytes
    writer = Writer(tmp_path, "0000000b", VERDICTS, Keep())
    writer.describe("west", {})
    writer.add_ends(ENDS, anew=True)
    writer.write(1, settled([(0, 0, 1, 443, 6, 1, 1, 5)]), {})
    writer.close()
    (path,) = (tmp_path / "raw").glob("*/*")
    put(filled.url, FinishedSegment(path.name, "0000000b", T0, T0 + HOUR, 1, path))
    query = replace(QUESTIONS["everything"], by=("cluster",))
    rows = {row.values: row.measure.bytes for row in filled.asked(query).rows}
    assert rows == {("east",): before, ("west",): 5}


def test_a_file_that_is_no_parquet_is_refused(filled: Filled, tmp_path: Path) -> None:
    bad = tmp_path / "bad.parquet"
    bad.write_bytes(b"PAR1 nothing PAR1")
    with pytest.raises((RefusedError, LaterError)):
        put(filled.url, replace(filled.segments[0], name="m1-0000000c-1.parquet", path=bad))


def test_a_wrong_password_is_for_later(filled: Filled, tmp_path: Path) -> None:
    (tmp_path / "wrong").write_text("wrong")
    place = filled.url.partition("?")[0]
    wrong = f"{place}?user-file={tmp_path}/wrong&password-file={tmp_path}/wrong"
    with pytest.raises(LaterError) as error:
        put(wrong, filled.segments[0])
    assert not isinstance(error.value, RefusedError)
    with pytest.raises(KznError):
        with_store(wrong, lambda store: store.ask(QUESTIONS["everything"]))


def test_an_engine_that_is_away_is_for_later(tmp_path: Path) -> None:
    segment = FinishedSegment("m1-0000000c-1.parquet", "0000000c", T0, T0 + HOUR, 1, tmp_path)
    with pytest.raises(LaterError, match=r"127\.0\.0\.1:1/"):
        put("clickhouse://127.0.0.1:1/kzn", segment)


@pytest.mark.parametrize(
    "rest",
    [
        "host/a-b",
        "host/a/b",
        "/db",
        "host/db?tls=maybe",
        "host/db?password=x",
        "host/db?user-file=/nowhere",
        "host/db?ca-file=/dev/null",
        "host/db?keep=raw=5m",
    ],
)
def test_what_is_not_the_url_of_an_engine_is_an_error(rest: str) -> None:
    for call in (SINK.open, open_store):
        with pytest.raises(UsageError):
            call(parse_target(f"clickhouse://{rest}"))
    assert isinstance(SINK.open(parse_target("clickhouse://[::1]/db?tls=yes")), ClickHouseSink)
