"""The page at /: files that the build makes of web/, read once and sent as they are.

In: a folder, or nothing. Out: a route for each file. Never: a path of a request opened as a file.
"""

import html
from collections.abc import Awaitable, Callable
from functools import partial
from http import HTTPStatus
from pathlib import Path

from kzn.daemon.http.body import Body, body_of
from kzn.daemon.http.messages import Answer, Request, Response, Route

FOLDER = Path(__file__).parent.parent / "page"
"""Made by hatch_build.py; not in git."""
INDEX = "index.html"
ABSENT = "absent.txt"
_STAMP = "stamp"
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
SECURITY = (
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:;"
        " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("Referrer-Policy", "no-referrer"),
    ("X-Frame-Options", "DENY"),
)
_FOR_EVER = ("Cache-Control", "public, max-age=31536000, immutable")
_ASK_ANEW = ("Cache-Control", "no-cache")


def routes(folder: Path = FOLDER, opened: Callable[[], None] = lambda: None) -> dict[str, Route]:
    """The routes of the page; only ``/``, with the reason, if it was not built.

    ``opened`` is called when a browser asks for ``/``: questions follow.
    """
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix in _TYPES)
        files = {path.name: path.read_bytes() for path in paths}
    except OSError:
        files = {}
    if INDEX not in files:
        reason = files.get(ABSENT, b"it was not built").decode(errors="replace").strip()
        return {"/": Route(partial(_absent, reason))}
    found = {f"/{name}": _route(name, content) for name, content in files.items()}
    index = found[f"/{INDEX}"]
    return found | {"/": Route(partial(_opened, opened, index.answer))}


def _opened(
    opened: Callable[[], None], answer: Answer, request: Request
) -> Response | Awaitable[Response]:
    opened()
    return answer(request)


def _route(name: str, content: bytes) -> Route:
    # Names with a hash are those of one content: a browser never asks for them again.
    is_hashed = Path(name).suffix in (".css", ".js")
    headers = (_FOR_EVER if is_hashed else _ASK_ANEW, *SECURITY)
    body = body_of([content], tagged=True)
    return Route(partial(_file, body, _TYPES[Path(name).suffix], headers))


def _file(
    body: Body, content_type: str, headers: tuple[tuple[str, str], ...], _request: Request
) -> Response:
    return Response(body, content_type=content_type, headers=headers)


def _absent(reason: str, _request: Request) -> Response:
    text = (
        "<!doctype html><title>kzn</title><h1>kzn server</h1>"
        f"<p>It runs without its page: {html.escape(reason)}.</p>"
        '<p>The numbers are at <a href="metrics">metrics</a> and below api/v1/; in a terminal:'
        " <code>kzn top</code>.</p>\n"
    )
    return Response(
        text.encode(), HTTPStatus.NOT_FOUND, _TYPES[".html"], headers=(_ASK_ANEW, *SECURITY)
    )
