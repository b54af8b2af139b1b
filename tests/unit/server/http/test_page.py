"""The page's files as routes: types, caching, policy, and the reason when there is none."""

from pathlib import Path

import pytest

from kzn.daemon.http.body import Body
from kzn.daemon.http.messages import Request, Response, head_of
from kzn.server.http import page

PROJECT = Path(__file__).parents[4]


@pytest.fixture
def built(tmp_path: Path) -> Path:
    (tmp_path / "index.html").write_text("<!doctype html><p>hello")
    (tmp_path / "main-AB12.js").write_text("let a = 1;" * 1000)
    (tmp_path / "main-CD34.css").write_text("p{}")
    (tmp_path / "icon.svg").write_text("<svg/>")
    (tmp_path / "NOTICES.txt").write_text("preact")
    (tmp_path / "stamp").write_text("0")
    return tmp_path


def _answer(folder: Path, path: str) -> Response:
    found = page.routes(folder)[path].answer(Request("GET", path))
    assert isinstance(found, Response)
    return found


def _text(response: Response) -> bytes:
    body = response.body
    assert isinstance(body, Body)
    return b"".join(body.pieces(""))


def test_each_file_has_a_route_and_the_stamp_has_none(built: Path) -> None:
    assert set(page.routes(built)) == {
        "/",
        "/index.html",
        "/main-AB12.js",
        "/main-CD34.css",
        "/icon.svg",
        "/NOTICES.txt",
    }


@pytest.mark.parametrize(
    ("path", "content_type", "caching"),
    [
        ("/", "text/html; charset=utf-8", "no-cache"),
        ("/main-AB12.js", "text/javascript; charset=utf-8", "immutable"),
        ("/main-CD34.css", "text/css; charset=utf-8", "immutable"),
        ("/icon.svg", "image/svg+xml", "no-cache"),
        ("/NOTICES.txt", "text/plain; charset=utf-8", "no-cache"),
    ],
)
def test_types_caching_and_policy(built: Path, path: str, content_type: str, caching: str) -> None:
    response = _answer(built, path)
    head = head_of(response, 1).decode()
    assert f"Content-Type: {content_type}\r\n" in head
    assert head.count("Cache-Control") == 1
    assert caching in dict(response.headers)["Cache-Control"]
    assert "default-src 'none'" in dict(response.headers)["Content-Security-Policy"]


def test_files_are_sent_as_they_are_and_compressed_once(built: Path) -> None:
    response = _answer(built, "/main-AB12.js")
    assert _text(response) == b"let a = 1;" * 1000
    assert isinstance(response.body, Body)
    assert len(response.body.gzip or b"") < 1000
    assert response.body.tag


def test_other_answers_are_not_stored() -> None:
    assert head_of(Response(b""), 0).decode().count("Cache-Control: no-store\r\n") == 1


@pytest.mark.parametrize("content", [None, "npm failed: <b>\n"])
def test_without_the_page_the_reason_is_shown(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / page.ABSENT).write_text(content)
    routes = page.routes(tmp_path)
    assert set(routes) == {"/"}
    response = _answer(tmp_path, "/")
    assert response.status == 404
    assert isinstance(response.body, bytes)
    assert (b"npm failed: &lt;b&gt;" if content else b"it was not built") in response.body


def test_a_folder_that_is_not_there_is_a_page_that_was_not_built(tmp_path: Path) -> None:
    assert set(page.routes(tmp_path / "nowhere")) == {"/"}


def test_every_reason_has_advice() -> None:
    """The page says what to do about each reason of unresolved and missed bytes."""
    rows = (PROJECT / "docs" / "metrics.md").read_text().splitlines()
    cells = [[cell.strip(" `") for cell in row.split("|")] for row in rows if row.count("|") == 4]
    terms = {"unresolved", "missed", "missed, ignored"}
    reasons = {cell[1] for cell in cells if cell[2] in terms}
    assert len(reasons) > 12
    text = (PROJECT / "web" / "src" / "reasons.ts").read_text()
    assert {reason for reason in reasons if f"\n  {reason}:" not in text} == set()


def test_only_the_page_itself_tells_that_it_was_opened(built: Path) -> None:
    asked: list[str] = []
    routes = page.routes(built, opened=lambda: asked.append("opened"))
    for path, route in routes.items():
        if path != "/":
            route.answer(Request("GET", path))
    assert asked == []
    found = routes["/"].answer(Request("GET", "/"))
    assert isinstance(found, Response)
    assert _text(found).startswith(b"<!doctype html>")
    assert asked == ["opened"]
