"""Serves a server's page on a port of this machine: GET alone, loopback alone, Host checked.

In: requests of a browser on this machine. Out: the server's answers. Never: a request of another
machine or for another host name, which a page of a stranger could make this browser send.
"""

import json
import re
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from kzn.client.http import ApiClient
from kzn.errors import KznError

_PASSED_ON = (
    "Cache-Control",
    "Content-Disposition",
    "Content-Security-Policy",
    "Content-Type",
    "ETag",
    "Referrer-Policy",
    "X-Frame-Options",
)
MOST_PATH = 8192
_PATH = re.compile(r"/(?:[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*|api/v1/[a-z]+)?(?:\?[!-~]*)?")
"""What a server has: the page and its files, /metrics, /api/v1. No other path of an API server."""


class _Server(ThreadingHTTPServer):
    """A server that is silent about browsers that leave."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a connection that broke."""


class Relay:
    """Listens on 127.0.0.1 from the start; ``run`` serves until it is interrupted."""

    def __init__(
        self, client: ApiClient, port: int = 0, report: Callable[[str], None] = lambda _line: None
    ) -> None:
        """``port`` 0 takes a free one. KznError if it cannot listen; ``report`` gets errors."""
        self._client = client
        self._report = report
        try:
            self._server = _Server(("127.0.0.1", port), self._handler())
        except OSError as error:
            raise KznError(
                f"cannot listen on 127.0.0.1:{port}: {error.strerror}",
                hint="give another --port, or 0 for any that is free",
            ) from error
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}/"

    def run(self) -> None:
        """Serve; ends after `stop`, or with KeyboardInterrupt."""
        try:
            self._server.serve_forever(poll_interval=0.2)
        finally:
            self._server.server_close()

    def stop(self) -> None:
        """End ``run``, from another thread."""
        self._server.shutdown()

    def answer(self, host: str, path: str) -> tuple[int, list[tuple[str, str]], bytes]:
        """Status, headers and body for a GET of ``path`` by the name ``host``."""
        names = {f"127.0.0.1:{self.port}", f"localhost:{self.port}"}
        if host not in names:
            return 421, [], b'{"error": "this relay is for a browser on the same machine"}\n'
        if len(path) > MOST_PATH or not _PATH.fullmatch(path):
            return 404, _JSON, b'{"error": "there is no such page"}\n'
        try:
            status, body, headers = self._client.get(path)
        except KznError as error:
            self._report(f"{error.message}; {error.hint}" if error.hint else error.message)
            return 502, _JSON, _problem(error)
        found = [(name, headers[name]) for name in _PASSED_ON if headers.get(name)]
        return status, [*found, ("X-Content-Type-Options", "nosniff")], body

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        relay = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 60

            def do_GET(self) -> None:
                """Answer one request."""
                status, headers, body = relay.answer(self.headers.get("Host", ""), self.path)
                self.send_response(status)
                for name, value in headers:
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def version_string(self) -> str:
                """Tell nothing about this program."""
                return "kzn"

            def log_message(self, *_: Any) -> None:
                """Log no requests."""

        return Handler


_JSON = [("Content-Type", "application/json")]


def _problem(error: KznError) -> bytes:
    return json.dumps({"error": error.message, "hint": error.hint or ""}).encode() + b"\n"
