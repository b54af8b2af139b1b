"""`kzn flows`: text, JSON and CSV of an answer, from files and from a server."""

import asyncio
import json
from pathlib import Path

import pytest
from cluster import index_of
from engines import CURRENT, OLD, engine
from historic import CLUSTER
from questions import ENDS, T0, VERDICTS, check, settled
from smallserver import snapshot

from kzn.cli import main
from kzn.daemon.listen import HostPort, bound_port, listen
from kzn.errors import EXIT_FAULT, EXIT_OK, EXIT_USAGE, UsageError
from kzn.history.export_query import Export
from kzn.history.memory import answer
from kzn.history.query import Answer, TrafficQuery
from kzn.history.retention import Keep
from kzn.history.writer import Writer
from kzn.server.http.server import HttpApi
from kzn.server.http.traffic import Exported, TrafficPages
from kzn.server.snapshot import ServerSnapshot
from kzn.sinks.clickhouse.sink import SINK
from kzn.sinks.declaration import FinishedSegment
from kzn.sinks.target import parse_target

FLOWS: list[tuple[int, ...]] = [(0, 0, 1, 443, 6, 1, 1, 700), (1, 1, 0, 443, 6, 0, 2, 30)]
SPAN = ["--from", str(T0), "--to", str(T0 + 120)]
TEXT = """\
2026-11-26T00:00:00Z to 2026-11-26T00:02:00Z, 2 groups, by minutes

dst_pod  port  bytes  packets  before
web-2    443     700        1       0
(other)           30        1       0
total            730        2       0
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    writer = Writer(tmp_path, "00000001", VERDICTS, Keep())
    writer.add_ends(ENDS, anew=True)
    writer.write(1, settled(FLOWS), {})
    writer.close()
    return tmp_path


def test_a_table_has_the_rows_the_rest_and_the_total(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["flows", "--history", str(root), *SPAN, "--by", "dst_pod,port", "--limit", "1"]
    assert main.run([*command, "--compare"]) == EXIT_OK
    assert capsys.readouterr().out == TEXT


def test_without_dimensions_there_is_the_total_alone(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(["flows", "--history", str(root), *SPAN, "--by", ""]) == EXIT_OK
    (_, _, *lines) = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [["bytes", "packets"], ["730", "2"]]


def test_csv_has_the_rest_as_its_last_row(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["flows", "--history", str(root), *SPAN, "--by", "cause_pod", "--limit", "0"]
    assert main.run([*command, "--csv"]) == EXIT_OK
    assert capsys.readouterr().out == "cause_pod,bytes,packets\n(other),730,2\n"


def test_a_name_in_csv_is_no_formula_of_a_spreadsheet(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    writer = Writer(tmp_path, "00000001", VERDICTS, Keep())
    writer.add_ends([ENDS[0]._replace(group="=1+1"), *ENDS[1:]], anew=True)
    writer.write(1, settled(FLOWS), {})
    writer.close()
    command = ["flows", "--history", str(tmp_path), *SPAN, "--by", "src_group", "--csv"]
    assert main.run(command) == EXIT_OK
    assert "\n'=1+1,700,1\n" in capsys.readouterr().out


def test_where_there_is_no_data_it_says_so(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    span = ["--from", str(T0 - 7200), "--to", str(T0 - 3600)]
    assert main.run(["flows", "--history", str(root), *span]) == EXIT_OK
    assert "there is no data before 2026-11-26T00:00:00Z" in capsys.readouterr().out
    writer = Writer(root, "00000001", VERDICTS, Keep())
    writer.note({}, [], T0 + 180)
    writer.close()
    assert main.run(["flows", "--history", str(root), *span]) == EXIT_OK
    hint = "--from 2026-11-26T00:00:00Z --to 2026-11-26T00:03:00Z"
    assert hint in (note := capsys.readouterr().out)
    assert "there is no data before" not in note
    assert main.run(["flows", "--history", str(root), *hint.split()]) == EXIT_OK
    assert "the history has" not in capsys.readouterr().out


@pytest.mark.parametrize("kind", [CURRENT, OLD])
def test_an_engine_is_asked_the_same_as_the_files(
    root: Path,
    tmp_path_factory: pytest.TempPathFactory,
    capsys: pytest.CaptureFixture[str],
    kind: str,
) -> None:
    (path,) = (root / "raw").glob("*/*")
    segment = FinishedSegment(path.name, "00000001", T0, T0 + 3600, path.stat().st_size, path)

    async def put(url: str) -> None:
        sink = SINK.open(parse_target(f"{url}&create=yes"))
        await sink.put(segment)
        await sink.close()

    asked = [*SPAN, "--by", "dst_pod,port", "--limit", "1", "--compare"]
    with engine(kind, tmp_path_factory.mktemp("engine") / "engine") as url:
        asyncio.run(put(url))
        assert main.run(["flows", "--history-store", url, *asked]) == EXIT_OK
        assert capsys.readouterr().out == TEXT
        before, after = f"{T0}..{T0 + 60}", f"{T0 + 60}..{T0 + 120}"
        compared = ["diff", "--before", before, "--after", after, "--json"]
        assert main.run([*compared, "--history-store", url]) == EXIT_OK
        found = capsys.readouterr().out
        assert main.run([*compared, "--history", str(root)]) == EXIT_OK
        assert capsys.readouterr().out == found
    assert main.run(["flows", "--history-store", url, *asked]) == EXIT_FAULT
    assert "127.0.0.1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("clickhouse://h/d?password=x", "password"),
        ("dir:///tmp", "cannot answer"),
        ("nowhere://h", "unknown sink"),
        ("h:8123", "h:8123"),
    ],
)
def test_what_is_not_an_engine_is_named(
    capsys: pytest.CaptureFixture[str], url: str, message: str
) -> None:
    assert main.run(["flows", "--history-store", url]) == EXIT_USAGE
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("command", [["flows"], ["report"], ["diff"]])
def test_files_and_an_engine_are_not_asked_together(
    root: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    options = ["--history", str(root), "--history-store", "clickhouse://h/d"]
    assert main.run([*command, *options]) == EXIT_USAGE
    assert "exclude each other" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--by", "colour"], "'colour' is not a dimension"),
        (["--where", "colour=red"], "'colour' is not a filter"),
        (["--since", "1y"], "not a duration"),
        (["--json", "--csv"], "exclude each other"),
    ],
)
def test_what_is_wrong_is_named(
    root: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert main.run(["flows", "--history", str(root), *options]) == EXIT_USAGE
    assert message in capsys.readouterr().err


def test_a_directory_that_is_not_there_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(["flows", "--history", str(tmp_path / "none")]) == EXIT_FAULT
    assert "no such directory" in capsys.readouterr().err


def test_a_server_is_asked_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    class Store:
        kept = {"raw": 3600}  # noqa: RUF012 - read alone

        async def ask(self, query: TrafficQuery) -> Answer:
            return answer(query, settled(FLOWS), ENDS, VERDICTS, T0)

        async def export(self, export: Export) -> Exported:
            raise UsageError(f"no files for {export.format}")

    async def take(_families: frozenset[str] = frozenset()) -> ServerSnapshot:
        return snapshot()

    async def run() -> int:
        pages = TrafficPages(Store(), index_of(CLUSTER), take, lambda: T0 + 120.0)
        api = HttpApi(take, lambda: "", pages=pages.routes())
        sockets = listen(HostPort("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound_port(sockets)}"
        await api.start(sockets)
        try:
            options = [*SPAN, "--where", "workload=shop/web", "--by", "cause_workload,port"]
            command = ["flows", "--url", url, *options, "--json", "--compare"]
            return await asyncio.to_thread(main.run, command)
        finally:
            await api.close()

    assert asyncio.run(run()) == EXIT_OK
    found = json.loads(capsys.readouterr().out)
    query = TrafficQuery(
        T0, T0 + 120, ("cause_workload", "port"), (("workload", ("shop/web",)),), compare=True
    )

    class Document:
        def to_json(self) -> object:
            return found

    check(Document(), FLOWS, query)
