"""kzn/daemon/http/messages.py: heads of requests and responses."""

from http import HTTPStatus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kzn.daemon.http.messages import (
    MAX_PARAMETERS,
    Response,
    coding_of,
    head_of,
    names_tag,
    parse,
    problem,
    quality_of,
)
from kzn.errors import UsageError


def test_the_parts_of_a_request() -> None:
    found = parse(
        b"GET /api/v1/pairs?limit=5&q=a%20b&q=&q HTTP/1.1\r\n"
        b"Host: x:80\r\nACCEPT:  text/plain \r\n\r\n",
        "10.0.0.1",
    )
    assert found is not None
    assert (found.method, found.path, found.address) == ("GET", "/api/v1/pairs", "10.0.0.1")
    assert found.parameters == {"limit": ("5",), "q": ("a b", "", "")}
    assert found.headers == {"host": "x:80", "accept": "text/plain"}
    assert (found.keeps_alive, found.has_body) == (True, False)
    assert found.one("limit") == "5"
    assert found.one("none") is None
    with pytest.raises(UsageError, match="3 times"):
        found.one("q")


@pytest.mark.parametrize(
    ("head", "keeps_alive"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nConnection: Close, Upgrade\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", True),
    ],
)
def test_whether_a_client_keeps_the_connection(head: bytes, *, keeps_alive: bool) -> None:
    found = parse(head)
    assert found is not None
    assert found.keeps_alive is keeps_alive


@pytest.mark.parametrize(
    "header", [b"Content-Length: 1", b"Content-Length: x", b"Transfer-Encoding: chunked"]
)
def test_a_request_with_a_body_says_so(header: bytes) -> None:
    found = parse(b"GET / HTTP/1.1\r\n" + header + b"\r\n\r\n")
    assert found is not None
    assert found.has_body


@pytest.mark.parametrize(
    "head",
    [
        b"\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET / HTTP/2\r\n\r\n",
        b"GET  / HTTP/1.1\r\n\r\n",
        b"GET x HTTP/1.1\r\n\r\n",
        b"GET /met\trics HTTP/1.1\r\n\r\n",
        b"GET /x\x7f HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1x\r\n\r\n",
        b" / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: a\r\n Host: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: a\nContent-Length: 5\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: \x00\r\n\r\n",
        b"GET / HTTP/1.1\r\nno field\r\n\r\n",
        b"GET / HTTP/1.1\r\n: x\r\n\r\n",
        b"GET /?" + b"&".join([b"a=1"] * (MAX_PARAMETERS + 1)) + b" HTTP/1.1\r\n\r\n",
    ],
)
def test_a_malformed_head_is_no_request(head: bytes) -> None:
    assert parse(head) is None


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"//x/metrics", "//x/metrics"),
        (b"//[", "//["),
        (b"/a?b=//c", "/a"),
        (b"/a#/metrics?x", "/a"),
        (b"/%6detrics", "/%6detrics"),
        (b"/../metrics", "/../metrics"),
    ],
)
def test_a_path_is_what_a_proxy_before_it_sees(target: bytes, path: str) -> None:
    found = parse(b"GET " + target + b" HTTP/1.1\r\n\r\n")
    assert found is not None
    assert found.path == path


def test_equal_fields_are_one_list() -> None:
    found = parse(
        b"GET / HTTP/1.1\r\nContent-Length: 60\r\nCONTENT-LENGTH: 0\r\n"
        b'Connection: close\r\nConnection: keep-alive\r\nIf-None-Match: "a"\r\n'
        b'if-none-match:\t"b"\r\n\r\n'
    )
    assert found is not None
    assert found.headers["if-none-match"] == '"a", "b"'
    assert (found.has_body, found.keeps_alive) == (True, False)


@pytest.mark.parametrize(
    ("header", "is_named"),
    [
        ('W/"a1"', True),
        ('"a1"', True),
        (' W/"b",W/"a1" ', True),
        ('"b", "a1", "c"', True),
        ("*", True),
        ("", False),
        ('"a"', False),
        ('"xa1"', False),
        ('"xW/"a1""', False),
        ('"b,a1"', False),
        ("a1", False),
        ('"*"', False),
    ],
)
def test_whether_a_client_has_the_tagged_answer(header: str, *, is_named: bool) -> None:
    assert names_tag(header, 'W/"a1"') is is_named


@given(st.binary(max_size=300))
@settings(deadline=None, max_examples=200)
def test_any_bytes_are_a_request_or_none(head: bytes) -> None:
    parse(head)
    found = parse(b"GET /" + head + b" HTTP/1.1\r\n" + head + b"\r\n\r\n")
    assert found is None or found.path.startswith(("/", ""))


@pytest.mark.parametrize(
    ("header", "gzip"),
    [
        ("", False),
        ("gzip", True),
        ("GZIP", True),
        ("deflate, gzip;q=0.5", True),
        ("gzip;q=0", False),
        ("gzip; q=0.0, *", False),
        ("*", True),
        ("identity, *;q=0", False),
        ("br;q=1.0, gzip;q=x", False),
        ("zstd", False),
        ("gzip;q=nan", False),
        ("gzip;q=-1", False),
        ("gzip;q=inf", False),
    ],
)
def test_whether_a_client_takes_gzip(header: str, *, gzip: bool) -> None:
    assert (quality_of(header, "gzip") > 0) is gzip


@pytest.mark.parametrize(
    ("header", "coding"),
    [
        ("", ""),
        ("br", ""),
        ("identity", ""),
        ("gzip", "gzip"),
        ("zstd", "zstd"),
        ("zstd;q=0", ""),
        ("gzip, deflate, br, zstd", "gzip"),
        ("zstd;q=1.0, gzip;q=0.5", "zstd"),
        ("zstd;q=0.5, gzip", "gzip"),
        ("gzip;q=0, *", "zstd"),
        ("*", "gzip"),
        ("identity;q=0, gzip;q=0.1", "gzip"),
        ("identity;q=0", ""),
        ("gzip;q=0.1, identity", ""),
        ("gzip;q=0.5, zstd;q=0.2, identity;q=0.4", "gzip"),
    ],
)
def test_zstd_is_for_clients_that_prefer_it(header: str, coding: str) -> None:
    assert coding_of(header) == coding


def test_every_answer_forbids_sniffing_and_storing_and_names_no_software() -> None:
    assert head_of(Response(b"", content_type="text/plain"), 5, encoding="gzip") == (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n"
        b"Content-Encoding: gzip\r\nVary: Accept, Accept-Encoding\r\nCache-Control: no-store\r\n"
        b"X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
    )


def test_an_error_is_json() -> None:
    found = problem(HTTPStatus.METHOD_NOT_ALLOWED)
    assert found.body == b'{"error": "method not allowed"}\n'
    assert found.headers == (("Allow", "GET, HEAD"),)
    assert problem(HTTPStatus.BAD_REQUEST, "no", "yes").body == b'{"error": "no", "hint": "yes"}\n'
