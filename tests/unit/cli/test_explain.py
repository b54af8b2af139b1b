"""``kzn explain``, with a real server's HTTP on loopback."""

import asyncio
import json
from collections.abc import Mapping

import pytest
from decisions import ELSEWHERE, HERE, OUTSIDE, TWO_OWNERS, UNOWNED, World

from kzn.cli import main
from kzn.daemon.listen import HostPort, bound_port, listen
from kzn.errors import EXIT_FAULT, EXIT_OK, EXIT_USAGE
from kzn.server.http.explain import Moment, answer
from kzn.server.http.server import HttpApi
from kzn.server.resolve.reporting import ReportingNodes
from kzn.server.snapshot import ServerSnapshot

TEXT = """\
10.1.1.1 to 10.1.8.1 at 2001-09-09T02:06:40Z, as seen on node n1 (the source's, which counts it)

verdict      ambiguous: counted as unresolved
source       10.1.1.1  pod d/p1, node n1, zone a, region r
             since an unknown time
destination  10.1.8.1  ambiguous
             pod d/first from 2001-09-09T02:04:58Z until 2001-09-09T02:06:40Z
             pod d/second since 2001-09-09T02:06:38Z
why          10.1.1.1 is Pod d/p1 on node n1, which saw the packet
             more than one owner may have had 10.1.8.1 at that time
             kzn does not guess between two owners
to do        nothing, if it is rare: the address changed hands within one interval, or while the
             watch of pods was interrupted
"""


async def _explain(*arguments: str) -> int:
    async def take(_families: frozenset[str]) -> ServerSnapshot:
        raise AssertionError("explaining does not need a snapshot")

    world = World()

    def explained(query: Mapping[str, str]) -> bytes:
        now = Moment(world.clock.now(), world.clock.wall())
        return answer(query, world.index, ReportingNodes(world.index), now)

    api = HttpApi(take, lambda: "", explain=explained)
    sockets = listen(HostPort("127.0.0.1", 0))
    url = f"http://127.0.0.1:{bound_port(sockets)}"
    await api.start(sockets)
    try:
        return await asyncio.to_thread(main.run, ["explain", *arguments, "--url", url])
    finally:
        await api.close()


def run(*arguments: str) -> int:
    return asyncio.run(_explain(*arguments))


def test_the_text_to_the_letter(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(HERE, TWO_OWNERS) == EXIT_OK
    assert capsys.readouterr().out == TEXT


@pytest.mark.parametrize(
    ("ends", "line"),
    [
        ((HERE, ELSEWHERE), "verdict      cross_zone: counted, charged to d/p1"),
        ((OUTSIDE, HERE), "verdict      external: counted, charged to no workload"),
        ((OUTSIDE, ELSEWHERE, "--node", "n1"), "verdict      cross_zone: counted, charged to n1"),
        ((ELSEWHERE, HERE, "--node", "n1"), "verdict      transit: not counted for node n1"),
        (
            (HERE, UNOWNED),
            "verdict      unknown_destination: counted as unresolved, after two retries",
        ),
        ((HERE, UNOWNED), "destination  10.200.0.1  unknown"),
        (
            (HERE, TWO_OWNERS, "--at", "1m"),
            "destination  10.1.8.1  pod d/first, node n1, zone a, r",
        ),
    ],
)
def test_the_lines_name_verdict_and_owners(
    ends: tuple[str, ...], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*ends) == EXIT_OK
    assert f"\n{line}" in capsys.readouterr().out


def test_json_is_the_answer_of_the_server(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(HERE, ELSEWHERE, "--json") == EXIT_OK
    assert json.loads(capsys.readouterr().out)["class"] == "cross_zone"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("web-1", HERE), "kzn: 'web-1' is not an IP address"),
        ((HERE, ELSEWHERE, "--at", "yesterday"), "kzn: 'yesterday' is not a time"),
        ((HERE, ELSEWHERE, "--at", "40m"), "owners are not known as of"),
        ((HERE,), "Missing argument 'DST'"),
    ],
)
def test_a_mistake_is_a_sentence_and_exit_code_2(
    arguments: tuple[str, ...], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == EXIT_USAGE
    assert reason in capsys.readouterr().err


def test_a_server_that_cannot_be_reached_is_exit_code_1(
    capsys: pytest.CaptureFixture[str],
) -> None:
    (closed,) = listen(HostPort("127.0.0.1", 0))
    url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    closed.close()
    assert main.run(["explain", HERE, ELSEWHERE, "--url", url]) == EXIT_FAULT
    assert f"kzn: {url}: Connection refused\n" in capsys.readouterr().err
