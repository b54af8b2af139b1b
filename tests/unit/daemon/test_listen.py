"""kzn/daemon/listen.py: addresses as text, and sockets or one sentence."""

import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from kzn.daemon.listen import HostPort, bound_port, listen, parse_host_port
from kzn.errors import KznError, UsageError


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("10.0.0.1:7070", HostPort("10.0.0.1", 7070)),
        ("kzn-server.kzn.svc:7070", HostPort("kzn-server.kzn.svc", 7070)),
        (":7070", HostPort("", 7070)),
        (" :0 ", HostPort("", 0)),
        ("[::1]:65535", HostPort("::1", 65535)),
        ("[fe80::1%eth0]:1", HostPort("fe80::1%eth0", 1)),
    ],
)
def test_an_address_is_parsed(text: str, address: HostPort) -> None:
    assert parse_host_port(text) == address
    assert parse_host_port(str(address)) == address


@pytest.mark.parametrize(
    "text", ["", "7070", "host", "host:", "host:x", "h:65536", "h:-1", "::1:7070", "h:\u0661"]
)
def test_other_text_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_host_port(text)
    assert "[IPv6]:PORT" in caught.value.hint


@pytest.fixture
def taken() -> Iterator[int]:
    with closing(socket.create_server(("127.0.0.1", 0))) as sock:
        yield sock.getsockname()[1]


def reachable(host: str, port: int) -> bool:
    with closing(socket.create_connection((host, port), timeout=5)):
        return True


def test_without_a_host_ipv4_and_ipv6_have_one_port() -> None:
    (sock,) = listen(HostPort("", 0))
    with sock:
        port = bound_port([sock])
        assert reachable("127.0.0.1", port)
        if sock.family == socket.AF_INET6:
            assert reachable("::1", port)


def test_a_host_is_the_only_address_bound() -> None:
    (sock,) = listen(HostPort("127.0.0.1", 0))
    with sock:
        assert sock.getsockname()[0] == "127.0.0.1"
        assert not sock.getblocking()


def test_a_name_with_port_0_is_bound_once() -> None:
    (sock,) = listen(HostPort("localhost", 0))
    with sock:
        assert reachable(sock.getsockname()[0], bound_port([sock]))


@pytest.mark.parametrize("host", ["127.0.0.1", ""])
def test_a_port_in_use_is_one_sentence(taken: int, host: str) -> None:
    with pytest.raises(KznError, match=rf":{taken}: EADDRINUSE") as caught:
        listen(HostPort(host, taken))
    assert "choose another port" in caught.value.hint


def test_an_address_of_another_machine_is_one_sentence() -> None:
    with pytest.raises(KznError, match="EADDRNOTAVAIL") as caught:
        listen(HostPort("192.0.2.1", 0))
    assert "does not have that address" in caught.value.hint


@pytest.mark.parametrize("host", ["no-such-host.invalid", "x" * 70 + ".example"])
def test_a_name_that_does_not_resolve_is_one_sentence(host: str) -> None:
    with pytest.raises(KznError, match="does not resolve"):
        listen(HostPort(host, 7070))
