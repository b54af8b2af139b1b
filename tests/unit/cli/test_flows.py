"""`kzn flows`: text, JSON and CSV of an answer, from files and from a server."""

import asyncio
import json
from pathlib import Path

import pytest
from cluster import index_of
from historic import CLUSTER
from questions import ENDS, T0, VERDICTS, check, settled
from smallserver import snapshot

from kzn.cli import main
from kzn.daemon.listen import HostPort, bound_port, listen
from kzn.errors import EXIT_FAULT, EXIT_OK, EXIT_USAGE
from kzn.history.memory import answer
from kzn.history.query import Answer, TrafficQuery
from kzn.history.retention import Keep
from kzn.history.writer import Writer
from kzn.server.http.server import HttpApi
from kzn.server.http.traffic import TrafficPages
from kzn.server.snapshot import ServerSnapshot

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


def test_csv_has_the_rest_as_its_last_row(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["flows", "--history", str(root), *SPAN, "--by", "cause_pod", "--limit", "0"]
    assert main.run([*command, "--csv"]) == EXIT_OK
    assert capsys.readouterr().out == "cause_pod,bytes,packets\n(other),730,2\n"


def test_where_there_is_no_data_it_says_so(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    span = ["--from", str(T0 - 7200), "--to", str(T0 - 3600)]
    assert main.run(["flows", "--history", str(root), *span]) == EXIT_OK
    assert "there is no data before 2026-11-26T00:00:00Z" in capsys.readouterr().out


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
