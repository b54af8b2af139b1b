"""Requests and responses as values, and their bytes (RFC 9112). Pure."""

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Protocol
from urllib.parse import parse_qsl

from kzn.daemon.http.body import Body, zstd_maker
from kzn.errors import KznError, UsageError

TEXT = "text/plain; charset=utf-8"
JSON = "application/json"
MAX_PARAMETERS = 200
_NO_STORE = "Cache-Control: no-store"
_TARGET = re.compile(r"(/[^\x00-\x20?#\x7f]*)(?:\?([^\x00-\x20#\x7f]*))?(?:#[^\x00-\x20\x7f]*)?")
_VERSION = re.compile(r"HTTP/1\.[0-9]")
_FIELD = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\x00\r\n]*)")
_TAG = re.compile(r'"[^"]*"')


class BusyError(KznError):
    """A route cannot answer now; the client may try again (503). ``reason`` is a metric label."""

    def __init__(self, message: str, *, hint: str = "", reason: str = "busy") -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Request:
    """A request head. ``parameters`` are those of the query, decoded, in order of first use.

    Header names are in lower case, the values of equal ones joined by commas. ``address`` is the
    peer's.
    """

    method: str
    path: str
    parameters: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    address: str = ""
    keeps_alive: bool = False
    has_body: bool = False
    knows_chunks: bool = True
    """False for HTTP/1.0."""

    def one(self, name: str) -> str | None:
        """The value of a parameter, None without it; UsageError if it is given twice."""
        values = self.parameters.get(name, ())
        if len(values) > 1:
            raise UsageError(f"parameter {name} is given {len(values)} times", hint="give it once")
        return values[0] if values else None


class Stream(Protocol):
    """Pieces of a body, none of them empty, made as they are asked for; closed in any case."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...
    async def aclose(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Response:
    """The answer of a route. ``headers`` are added to those that every answer has.

    ``received`` is called when the client has read a body, but for what sockets buffer. ``stream``
    are the pieces of a body of unknown length instead of ``body``; a KznError of it cuts the
    connection, so that the client sees that the body is not complete.
    """

    body: bytes | Body
    status: HTTPStatus = HTTPStatus.OK
    content_type: str = TEXT
    headers: tuple[tuple[str, str], ...] = ()
    received: Callable[[], None] | None = None
    stream: Stream | None = None


Answer = Callable[[Request], Response | Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Route:
    """A page: its function, and the parameters that it knows; others are refused.

    An ``is_open`` page needs no authorization and no known Host, and ignores parameters: probes of
    a cluster or a load balancer ask it.
    """

    answer: Answer
    parameters: frozenset[str] = frozenset()
    is_open: bool = False


def parse(head: bytes, address: str = "") -> Request | None:
    """The request of a head that ends with an empty line; None if it is malformed."""
    first, *lines = head.decode("latin-1").split("\r\n")
    method, _, rest = first.partition(" ")
    target, _, version = rest.partition(" ")
    parts, headers = _TARGET.fullmatch(target), _headers(lines)
    if not (method and parts and _VERSION.fullmatch(version)) or headers is None:
        return None
    try:
        found = parse_qsl(
            parts[2] or "", keep_blank_values=True, max_num_fields=MAX_PARAMETERS, errors="replace"
        )
    except ValueError:
        return None
    parameters: dict[str, tuple[str, ...]] = {}
    for name, value in found:
        parameters[name] = (*parameters.get(name, ()), value)
    connection = headers.get("connection", "").lower()
    return Request(
        method,
        parts[1],
        parameters,
        headers,
        address,
        keeps_alive="close" not in connection
        and (version != "HTTP/1.0" or "keep-alive" in connection),
        knows_chunks=version != "HTTP/1.0",
        has_body="transfer-encoding" in headers or headers.get("content-length", "0") != "0",
    )


def _headers(lines: list[str]) -> dict[str, str] | None:
    """Header fields; None if one is malformed, continued on another line, or a second Host.

    A proxy may read such a head in another way, and so see other requests.
    """
    headers: dict[str, str] = {}
    for line in filter(None, lines):
        field = _FIELD.fullmatch(line)
        if field is None:
            return None
        name, value = field[1].lower(), field[2].strip(" \t")
        if name in headers:
            if name == "host":
                return None
            value = f"{headers[name]}, {value}"
        headers[name] = value
    return headers


def problem(status: HTTPStatus, error: str = "", hint: str = "") -> Response:
    """An error as JSON: ``{"error": …, "hint": …}``, without a hint if there is none."""
    found = {"error": error or status.phrase.lower()} | ({"hint": hint} if hint else {})
    headers: tuple[tuple[str, str], ...] = ()
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        headers = (("Allow", "GET, HEAD"),)
    return Response(json.dumps(found).encode() + b"\n", status, JSON, headers)


def head_of(
    response: Response,
    length: int | None,
    *,
    encoding: str = "",
    keep_alive: bool = False,
    chunked: bool = False,
) -> bytes:
    """The bytes before the body; ``encoding`` of the body, empty for none.

    Without a length the body is ``chunked`` or ends with the connection.
    """
    is_cached = any(name.lower() == "cache-control" for name, _ in response.headers)
    lines = [
        f"HTTP/1.1 {response.status.value} {response.status.phrase}",
        f"Content-Type: {response.content_type}",
        *([f"Content-Length: {length}"] if length is not None else []),
        *(["Transfer-Encoding: chunked"] if chunked else []),
        *([f"Content-Encoding: {encoding}"] if encoding else []),
        "Vary: Accept, Accept-Encoding",
        *([] if is_cached else [_NO_STORE]),
        "X-Content-Type-Options: nosniff",
        *(f"{name}: {value}" for name, value in response.headers),
        f"Connection: {'keep-alive' if keep_alive else 'close'}",
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")


def coding_of(header: str) -> str:
    """The coding that an Accept-Encoding header prefers: gzip, zstd, or empty for neither.

    That is the case, too, if it gives identity a greater weight than both. Most clients take gzip
    and zstd alike and get gzip, of which one form serves all; zstd is for those that take it alone
    or weight it more.
    """
    found = {coding: quality_of(header, coding) for coding in ("gzip", "zstd")}
    best = max(found, key=lambda coding: found[coding])
    if best == "zstd" and zstd_maker() is None:
        best = "gzip"
    least = quality_of(header, "identity") if "identity" in header.lower() else 0.0
    return best if found[best] > 0.0 and found[best] >= least else ""


def names_tag(header: str, tag: str) -> bool:
    """Whether an If-None-Match header has ``tag``, by weak comparison (RFC 9110, 13.1.2)."""
    return header.strip() == "*" or tag.removeprefix("W/") in _TAG.findall(header)


def quality_of(header: str, coding: str) -> float:
    """How much an Accept-Encoding header prefers ``coding``; 0 refuses it (RFC 9110, 12.5.3)."""
    quality = {}
    for part in header.lower().split(","):
        name, _, rest = part.strip().partition(";")
        weight = rest.strip().removeprefix("q=").strip()
        try:
            given = float(weight) if weight else 1.0
        except ValueError:
            given = 0.0
        quality[name.strip()] = given if 0.0 <= given <= 1.0 else 0.0
    return quality.get(coding, quality.get("*", 0.0))
