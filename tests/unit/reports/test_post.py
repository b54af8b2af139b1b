"""A webhook gets the summary; what goes wrong is an error that does not tell the URL."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from asking import asking
from questions import T0

from kzn.errors import KznError, UsageError
from kzn.reports.period import month
from kzn.reports.post import post, read_url, slack, teams
from kzn.reports.report import Line, Report, make_report

SECRET = "T0/B0/secret"  # noqa: S105 - of a test
FLOWS: list[tuple[int, ...]] = [
    (0, 0, 2, 443, 6, 1, 1, 1000),
    (0, 2, 0, 443, 6, 1, 1, 10),
    (1, 3, 4, 53, 17, 2, 0, 500),
]


@pytest.fixture
def report() -> Report:
    return make_report(
        asking(FLOWS, T0 - 99 * 86_400),
        month("2026-11"),
        by="namespace",
        charge="cause",
        now=T0 + 3600,
        limit=10,
    )


@contextmanager
def webhook(
    status: int, answer: bytes = b"ok", stall: threading.Event | None = None
) -> Iterator[tuple[str, list[bytes]]]:
    bodies: list[bytes] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            assert self.headers["Content-Type"] == "application/json"
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", "http://127.0.0.1:1/elsewhere")
            self.end_headers()
            if stall is not None:
                stall.wait()
            self.wfile.write(answer)

        def log_message(self, *_args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Hook)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/{SECRET}", bodies
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_slack_gets_the_groups_and_the_total_as_text(report: Report) -> None:
    with webhook(200) as (url, bodies):
        post(url, "slack", report)
    (body,) = bodies
    text = json.loads(body)["text"]
    assert json.loads(body) == slack(report)
    assert "shop    5,000.00 USD  1 kB" in text
    assert "total   5,050.00 USD  1.01 kB  100.0 %" in text


def test_teams_gets_a_card(report: Report) -> None:
    with webhook(202) as (url, bodies):
        post(url, "teams", report)
    found = json.loads(bodies[0])
    assert found == teams(report)
    card = found["attachments"][0]["content"]
    assert (found["type"], card["type"]) == ("message", "AdaptiveCard")
    assert any("5,050.00 USD" in block["text"] for block in card["body"])


@pytest.mark.parametrize(
    ("status", "message"), [(404, "answered 404: no_team"), (302, "answered 302"), (500, "500")]
)
def test_a_refusal_is_an_error_without_the_secret(
    report: Report, status: int, message: str
) -> None:
    with webhook(status, b"no_team") as (url, _), pytest.raises(KznError, match=message) as found:
        post(url, "slack", report)
    assert SECRET not in str(found.value)


def test_a_webhook_that_is_away_is_an_error_without_the_secret(report: Report) -> None:
    with webhook(200) as (url, _):
        pass
    with pytest.raises(KznError, match="cannot be reached") as found:
        post(url, "slack", report)
    assert SECRET not in str(found.value)


def test_a_webhook_that_took_it_and_stalls_in_its_answer_is_no_error(
    report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kzn.reports.post.TIMEOUT_SECONDS", 0.5)
    stall = threading.Event()
    with webhook(200, stall=stall) as (url, bodies):
        try:
            post(url, "slack", report)
        finally:
            stall.set()
    assert len(bodies) == 1


@pytest.mark.parametrize("host", ["a..example", f"{'a' * 64}.example"])
def test_a_host_that_dns_cannot_have_is_an_error_without_the_secret(
    report: Report, host: str
) -> None:
    with pytest.raises(KznError, match="not a name that DNS can have") as found:
        post(f"http://{host}/{SECRET}", "slack", report)
    assert SECRET not in str(found.value)


def test_the_url_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "url"
    path.write_text(" https://hooks.example.com/x\n")
    assert read_url(path) == "https://hooks.example.com/x"
    path.write_text("https://hooks.example.com/y\r\n", "utf-8-sig")
    assert read_url(path) == "https://hooks.example.com/y"
    for text in (
        "",
        "hooks.example.com",
        "ftp://x/y",
        "ht\u00e9",
        f"https://h.example/{SECRET} # mine",
        f"https://h.example/\n{SECRET}",
        f"https://user:{SECRET}@h.example/x",
        f"https://h.example:{SECRET}/x",
    ):
        path.write_text(text)
        with pytest.raises(UsageError) as found:
            read_url(path)
        assert SECRET not in str(found.value)
    with pytest.raises(UsageError, match="No such file"):
        read_url(tmp_path / "none")


def test_a_name_mentions_no_channel_and_ends_no_block(report: Report) -> None:
    fields = {name: getattr(report, name) for name in Report.__slots__}
    line = {name: getattr(report.lines[0], name) for name in Line.__slots__}
    bad = Line(**line | {"name": "x```<!channel>&"})
    text = slack(Report(**fields | {"lines": (bad,)}))["text"]
    assert "x'''&lt;!channel&gt;&amp;" in text
    assert text.count("```") == 2


def test_a_name_is_no_markdown_of_a_card(report: Report) -> None:
    fields = {name: getattr(report, name) for name in Report.__slots__}
    line = {name: getattr(report.lines[0], name) for name in Line.__slots__}
    names = ("*a* _b_ [c](https://d) `e` <f> ~~g~~", "# h", "- i", "1. j", "a\\*k*")
    bad = tuple(Line(**line | {"name": name}) for name in names)
    card = teams(Report(**fields | {"lines": bad}))["attachments"][0]["content"]
    rows = card["body"][2]["text"].split("\n\n")
    assert rows[0].startswith(r"\*a\* \_b\_ \[c\](https://d) \`e\` \<f\> \~\~g\~\~")
    shown = [row.split("  ")[0] for row in rows[1:5]]
    assert shown == [r"\# h", r"\- i", r"1\. j", r"a\\\*k\*"]


def test_a_long_name_is_cut(report: Report) -> None:
    fields = {name: getattr(report, name) for name in Report.__slots__}
    line = {name: getattr(report.lines[0], name) for name in Line.__slots__}
    bad = (Line(**line | {"name": "x" * 50_000}), *report.lines)
    for body in (slack, teams):
        assert len(json.dumps(body(Report(**fields | {"lines": bad})))) < 4_000


def test_only_the_first_groups_are_in_a_message(report: Report) -> None:
    many = {name: getattr(report, name) for name in Report.__slots__}
    many["lines"] = report.lines * 8
    text = slack(Report(**many))["text"]
    assert "and 14 more" in text
