"""GET requests to the HTTP API of a kzn server.

In: a base URL, a topic of /api/v1 and a query. Out: a value made of the JSON answer.
Raises: UsageError for a URL or a query that cannot be used, KznError for everything that fails
afterwards.
Never: more than MAX_BYTES of an answer at once, a part of an answer for the whole, or a socket that
is silent for TIMEOUT_SECONDS.
"""

import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from http.client import HTTPException
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit, urlunsplit
from urllib.request import HTTPRedirectHandler, HTTPSHandler, Request, build_opener

from kzn.client.service_proxy import ServiceProxy
from kzn.daemon.http.body import PIECE
from kzn.daemon.tls import ClientTls
from kzn.errors import KznError, UsageError

TIMEOUT_SECONDS = 10.0
RELAY_SECONDS = 35.0
"""More than a server takes for its slowest answer."""
MAX_BYTES = 64 << 20
BAD_REQUEST = 400
UNAUTHORIZED = 401
MISDIRECTED = 421

_HINT = (
    "the URL must be the HTTP address of kzn server, such as http://kzn-server:8080; "
    "outside the cluster leave --url out, and the server is found through the kubeconfig"
)
_COMPRESSED = {"Accept-Encoding": "gzip"}
_GZIP = 31
_FILE_HINT = "write a token to it, such as that of kubectl create token"
_T = TypeVar("_T")


class _NoRedirects(HTTPRedirectHandler):
    """The server sends none; following one would send the token to another host."""

    def redirect_request(self, *_: Any) -> None:
        """Answer a redirect as an error."""


class ApiClient:
    """One server; ``url`` is its base URL without a slash at the end.

    ``token_file`` is read for each request (Kubernetes renews the tokens of pods), a pipe once.
    ``ca`` verifies an https URL in place of the system's certificates. UsageError for a file that
    cannot be used. With ``proxy`` the URL is the proxy's, and so are certificates and credentials.
    ``hint`` is for a URL at which nothing answers.
    """

    def __init__(
        self,
        url: str,
        *,
        token_file: Path | None = None,
        ca: Path | None = None,
        proxy: ServiceProxy | None = None,
        hint: str = _HINT,
    ) -> None:
        self._hint = hint
        self.url = parse_url(url)
        self._token_file = token_file
        self._token = ""
        self._proxy = proxy
        https = [HTTPSHandler(context=ClientTls(ca).context())] if ca is not None else []
        self._open = build_opener(_NoRedirects, *https).open

    def fetch(
        self, topic: str, read: Callable[[Any], _T], query: Sequence[tuple[str, str | int]] = ()
    ) -> _T:
        """GET /api/v1/``topic`` and make a value of its JSON by ``read``.

        ``read`` may raise KeyError, TypeError, ValueError or AttributeError for another shape.
        """
        page = f"{self.url}/api/v1/{topic}"
        body = self._get(page, f"{page}?{urlencode(query)}" if query else page)
        try:
            return read(json.loads(body))
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise KznError(f"{page}: unexpected answer: {error!r}", hint=_HINT) from error

    def get(self, path: str) -> tuple[int, bytes, Mapping[str, str]]:
        """Status, body and headers of any path of the server, errors of the server included.

        KznError for a server or an API server that does not answer.
        """
        url = f"{self.url}/{path.lstrip('/')}"
        try:
            body, headers = self._receive(url, RELAY_SECONDS, partial(_whole, url))
        except HTTPError as error:
            return self._error_of_server(error)
        return 200, body, headers

    def take(
        self, path: str, make: Callable[[Iterator[bytes]], _T], most: int
    ) -> tuple[int, _T, Mapping[str, str]]:
        """As `get`, with what ``make`` makes of the body's pieces, which are compressed on the way.

        KznError for a body of more than ``most`` bytes, too.
        """
        url = f"{self.url}/{path.lstrip('/')}"

        def made(answer: Any) -> _T:
            return make(_pieces(url, answer, most))

        try:
            body, headers = self._receive(url, RELAY_SECONDS, made, _COMPRESSED)
        except HTTPError as error:
            status, text, headers = self._error_of_server(error)
            return status, make(iter([text])), headers
        return 200, body, headers

    def _error_of_server(self, error: HTTPError) -> tuple[int, bytes, Mapping[str, str]]:
        body = error.read(MAX_BYTES)
        if self._proxy is not None and (found := self._proxy.refusal(error.code, body)):
            raise found from error
        return error.code, body, dict(error.headers.items())

    def _get(self, page: str, url: str) -> bytes:
        try:
            return self._receive(url, TIMEOUT_SECONDS, partial(_whole, page))[0]
        except HTTPError as error:
            raise self._refused(page, error) from error

    def _receive(
        self,
        url: str,
        seconds: float,
        read: Callable[[Any], _T],
        more: Mapping[str, str] = MappingProxyType({}),
    ) -> tuple[_T, Mapping[str, str]]:
        """What ``read`` makes of an answer, and its headers; HTTPError for one that is an error.

        ``more`` are headers of the request.
        """
        try:
            with self._ask_again(url, seconds, more) as answer:
                return read(answer), answer.headers
        except HTTPError:
            raise
        except URLError as error:
            raise self._unreachable(_reason(error)) from error
        except UnicodeError as error:  # a label of the host is empty, or longer than 63
            raise self._unreachable("the host is not a name that DNS can have") from error
        except (OSError, HTTPException) as error:
            raise self._unreachable(repr(error)) from error

    def _ask_again(self, url: str, seconds: float, more: Mapping[str, str]) -> Any:
        """Ask, and through an API server once more for what another credential or Host mends."""
        try:
            return self._ask(url, seconds, more)
        except HTTPError as error:
            proxy = self._proxy
            if proxy is None:
                raise
            if error.code == UNAUTHORIZED:
                proxy.renew()
            elif error.code != MISDIRECTED or not proxy.name_server():
                raise
        return self._ask(url, seconds, more)

    def _ask(self, url: str, seconds: float, more: Mapping[str, str]) -> Any:
        if self._proxy is None:
            headers = {**self._headers(), **more}
            request = Request(url, headers=headers)  # noqa: S310 - http(s), parse_url
            return self._open(request, timeout=seconds)
        handlers, own = self._proxy.handlers()
        request = Request(url, headers={**own, **more})  # noqa: S310 - http(s), parse_url
        return build_opener(_NoRedirects, *handlers).open(request, timeout=seconds)

    def _refused(self, page: str, error: HTTPError) -> KznError:
        body = error.read(2000)
        if self._proxy is not None and (found := self._proxy.refusal(error.code, body)):
            return found
        text, hint = _problem(body)
        if error.code == BAD_REQUEST:
            return UsageError(f"{self.url}: {text}", hint=hint)
        hint = hint or ("the server is busy; try again" if error.code == 503 else _HINT)
        return KznError(f"{page}: HTTP status {error.code}: {text}", hint=hint)

    def _unreachable(self, reason: str) -> KznError:
        if self._proxy is not None:
            return self._proxy.unreachable(reason)
        return KznError(f"{self.url}: {reason}", hint=self._hint)

    def _headers(self) -> dict[str, str]:
        path = self._token_file
        if path is None:
            return {}
        if not self._token or path.is_file():
            try:
                self._token = path.read_text("ascii").strip()
            except (OSError, ValueError) as error:
                raise UsageError(f"token file {path}: {error}", hint=_FILE_HINT) from error
        if not self._token.isprintable() or not self._token:
            raise UsageError(f"token file {path} has no token", hint=_FILE_HINT)
        return {"Authorization": f"Bearer {self._token}"}


def parse_url(text: str) -> str:
    """The base of an HTTP URL without a slash at its end; UsageError if it is not one.

    An address copied from the page is that of its server: what only the page reads of it, the
    screen after # and a query before that, is dropped.
    """
    hint = "write http://HOST:PORT"
    shown = repr(text[:60])
    try:
        parts = urlsplit(text.strip())
        port = parts.port
    except ValueError as error:
        raise UsageError(f"{shown} is not a URL: {error}", hint=hint) from error
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise UsageError(f"{shown} is not an HTTP URL", hint=hint)
    if parts.query and not parts.fragment:
        raise UsageError(f"{shown}: a base URL cannot have a query", hint=hint)
    path = parts.path.removesuffix("/index.html")
    return urlunsplit((parts.scheme, parts.netloc, path.rstrip("/"), "", ""))


def _whole(page: str, answer: Any) -> bytes:
    body = bytes(answer.read(MAX_BYTES + 1))
    if len(body) > MAX_BYTES:
        raise _too_large(page, MAX_BYTES)
    if answer.length:
        raise _cut_off(page)
    return body


def _pieces(page: str, answer: Any, most: int) -> Iterator[bytes]:
    """The pieces of a body that may be compressed by gzip; KznError unless it is complete."""
    is_compressed = answer.headers.get("Content-Encoding") == "gzip"
    size = 0
    for piece in (
        _inflated(page, answer) if is_compressed else iter(lambda: answer.read(PIECE), b"")
    ):
        size += len(piece)
        if size > most:
            raise _too_large(page, most)
        yield piece
    if answer.length:
        raise _cut_off(page)


def _inflated(page: str, answer: Any) -> Iterator[bytes]:
    stream = zlib.decompressobj(_GZIP)
    left = b""
    while not stream.eof:
        left = left or answer.read(PIECE)
        try:
            piece = stream.decompress(left, PIECE)
        except zlib.error as error:
            raise KznError(f"{page}: not gzip: {error}", hint=_HINT) from error
        if not left and not piece:
            raise _cut_off(page)
        left = stream.unconsumed_tail
        if piece:
            yield piece


def _too_large(page: str, most: int) -> KznError:
    return KznError(f"{page}: the answer is larger than {most >> 20} MiB", hint=_HINT)


def _cut_off(page: str) -> KznError:
    return KznError(f"{page}: the answer was cut off", hint="try again")


def _problem(body: bytes) -> tuple[str, str]:
    """Message and hint of an answer that is an error; the text itself if it is not kzn's JSON."""
    try:
        found = json.loads(body)
        return str(found["error"]), str(found.get("hint", ""))
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return body[:200].decode(errors="replace").strip(), ""


def _reason(error: URLError) -> str:
    if isinstance(error.reason, OSError) and error.reason.strerror:
        return error.reason.strerror
    return str(error.reason)
