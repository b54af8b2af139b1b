"""`kzn diff` of one proposal, and the command that each proposal prints, when it is pasted."""

import asyncio
import json
import shlex
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from advice_examples import EVEN, EXAMPLES, NOISE, T0, WEB, WEB_STS, answers, example
from advice_world import GIB, HOUR, of_all, of_rule, party, rules, talk, world

from kzn.advisor.declaration import Rule
from kzn.advisor.evaluate import Advice
from kzn.advisor.facts import Flow
from kzn.advisor.proposal import Proposal
from kzn.advisor.world import World
from kzn.cli import main
from kzn.client.traffic import parse_query
from kzn.daemon.http.messages import Request, Response
from kzn.errors import EXIT_FAULT, EXIT_OK, EXIT_USAGE
from kzn.server.advice import Adviser
from kzn.server.http.advice import AdvicePage
from kzn.server.http.rollouts import RolloutsPage
from kzn.topology.facts import OwnerFacts, OwnerRef
from kzn.topology.rollouts import Rollouts
from kzn.topology.routing import Routing

AFTER = ["--after", f"{T0 + 3600}..{T0 + 7200}"]


@dataclass
class Known(Adviser):
    """An adviser with its answer, and what it remembers."""

    answer: Advice
    last: Proposal | None = None

    @property
    def rules(self) -> list[Rule]:
        return rules()

    async def advice(self, seconds: int | None = None) -> Advice:
        del seconds
        return self.answer

    def made_last(self, identity: str) -> Proposal | None:
        return self.last if self.last is not None and self.last.id == identity else None


def log() -> Routing:
    """A ReplicaSet of shop/web ten minutes after the first hour, and one of another workload."""
    found = Routing(rollouts=Rollouts(lambda: T0 + 7200.0))
    assert found.rollouts is not None
    for name in ("web", "unconcerned"):
        owner = OwnerRef("Deployment", name, "u")
        at = T0 + 4200.0
        found.rollouts.put_replicaset(OwnerFacts(name, f"{name}-77", owner, 0, "shop", at))
    return found


@contextmanager
def server(
    found: World, adviser: Adviser | None = None, after: Iterable[Flow] = ()
) -> Iterator[str]:
    """A server of traffic, advice and rollouts; yields its URL."""
    ask, pages = answers(found, after=after), RolloutsPage(log(), lambda: T0 + 7200.0).routes()
    pages |= AdvicePage(adviser or Known(of_all(found))).routes()

    def body(path: str, query: dict[str, list[str]]) -> bytes:
        if path == "/api/v1/traffic":
            return json.dumps(ask(parse_query(query, T0 + 7200.0)).to_json()).encode()
        parameters = {name: tuple(values) for name, values in query.items()}

        async def run() -> Response:
            answer = pages[path].answer(Request("GET", path, parameters))
            assert not isinstance(answer, Response)
            return await answer

        made = asyncio.run(run()).body
        assert not isinstance(made, bytes)
        return b"".join(made.pieces())

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Answer with JSON."""
            parts = urlsplit(self.path)
            content = body(parts.path, parse_qs(parts.query, keep_blank_values=True))
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{http.server_address[1]}"
        finally:
            http.shutdown()


def diff(url: str, capsys: pytest.CaptureFixture[str], *options: str) -> Any:
    capsys.readouterr()
    assert main.run(["diff", "--url", url, "--json", *options]) == EXIT_OK
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("rule", EXAMPLES)
def test_a_diff_of_a_proposal_has_its_flows_and_no_others(
    rule: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = example(rule)
    with server(found, after=found.flows) as url:
        for one in of_rule(found, rule):
            # The window of both ends is needed: the proposal is still made.
            windows = ["--before", f"{T0}..{T0 + 3600}", *AFTER]
            total = diff(url, capsys, "--advice", one.id, *windows, "--by", "zones")["total"]
            for half in ("before", "after"):
                assert total[half]["bytes_per_hour"] == one.measured_bytes
                assert total[half]["crossed_bytes_per_hour"] == one.crossing_bytes


@pytest.mark.parametrize("rule", EXAMPLES)
def test_the_printed_command_works_when_pasted_and_has_at_least_these_flows(
    rule: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = example(rule)
    proposals = of_rule(found, rule)
    assert proposals
    with server(found, after=found.flows) as url:
        for one in proposals:
            kzn, *words = shlex.split(one.verify)
            assert kzn == "kzn"
            assert main.run([*words, "--url", url]) == EXIT_OK
            text = capsys.readouterr().out
            assert "There is no traffic after" in text, text  # long after the history
            total = diff(url, capsys, *words[1:], *AFTER)["total"]
            assert total["before"]["bytes_per_hour"] >= one.measured_bytes
            assert total["before"] == total["after"]


def test_after_the_change_the_diff_says_what_was_predicted_and_what_came(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = example("same-zone")
    (one,) = of_rule(found, "same-zone")
    kept = {(zone, zone): size for (zone, other), size in EVEN.items() if zone == other}
    after = [*talk(WEB, one.draft.workloads[0], kept | {("a", "b"): 3 * GIB}), *NOISE]
    now = replace(of_all(found), proposals=(), window=replace(found.window, end=T0 + 9000))
    with server(found, Known(now, one), after) as url:
        answer = diff(url, capsys, "--advice", one.id, *AFTER)
        assert answer["before"] == {"from": T0, "to": T0 + 3600}
        assert answer["proposal"] == {
            "id": "same-zone:shop/cart",
            "title": one.draft.title,
            "is_made": False,
            "measured": {"from": T0, "to": T0 + 3600},
            "share": 600 / 900,
            "predicted_share": 0.0,
        }
        assert answer["total"]["after"]["share"] == 3 / 303
        assert [row["text"] for row in answer["rollouts"]["rows"]] == ["new ReplicaSet web-77"]
        assert main.run(["diff", "--url", url, "--advice", one.id, *AFTER]) == EXIT_OK
        text = capsys.readouterr().out
        assert "predicted: 66.7 % crossed when it was measured, 0.0 % after the change" in text
        assert "measured after: 1.0 %" in text
        assert "Deployment shop/web: new ReplicaSet web-77" in text
        # Without windows: since it was made last, until now.
        plain = diff(url, capsys, "--advice", one.id)
        assert (plain["before"], plain["total"]["before"]) == (
            answer["before"],
            answer["total"]["before"],
        )


def test_a_proposal_that_is_not_known_and_options_that_do_not_go_together_are_errors(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with server(example("batch")) as url:
        assert main.run(["diff", "--url", url, "--advice", "batch:no/such"]) == EXIT_FAULT
        assert "knows no proposal 'batch:no/such'" in capsys.readouterr().err
        options = ["--advice", "x:y", "--where", "port=1"]
        assert main.run(["diff", "--url", url, *options]) == EXIT_USAGE


def test_two_workloads_of_one_name_have_two_ids(capsys: pytest.CaptureFixture[str]) -> None:
    jobs = [party("shop/web", kind) for kind in ("Job", "CronJob")]
    flows = [
        flow
        for number, job in enumerate(jobs, 1)
        for flow in talk(job, party("data/db"), {("a", "b"): number * GIB})
    ]
    found = replace(world([*flows, *talk(WEB_STS, WEB, EVEN)]), window=replace(HOUR, begin=T0))
    found = replace(found, window=replace(found.window, end=T0 + 3600))
    proposals = of_rule(found, "batch")
    assert [one.id for one in proposals] == ["batch:CronJob/shop/web", "batch:Job/shop/web"]
    with server(found) as url:
        for one in proposals:
            answer = diff(url, capsys, "--advice", one.id, "--before", f"{T0}..{T0 + 3600}", *AFTER)
            assert answer["total"]["before"]["bytes_per_hour"] == one.measured_bytes
