"""kzn/daemon/http/hosts.py: names that a web page cannot have."""

import pytest

from kzn.daemon.http.hosts import AllowedHosts, host_of


@pytest.mark.parametrize(
    "header",
    [
        None,
        "127.0.0.1",
        "127.0.0.1:8080",
        "10.1.2.3:9102",
        "[::1]",
        "[fd00::1]:8080",
        "[::ffff:10.0.0.1]:80",
        "localhost",
        "LOCALHOST:8080",
        "localhost.",
        "kzn-server",
        "kzn-server:8080",
        "kzn-server.kzn.svc",
        "kzn-server.kzn.svc:8080",
        "kzn-server.kzn.svc.cluster.local",
        "kzn-server.kzn.svc.cluster.local.:8080",
    ],
)
def test_addresses_localhost_and_names_of_services_are_answered(header: str | None) -> None:
    assert AllowedHosts().allows(header)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "evil.example",
        "evil.example:8080",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "kzn-server.kzn.svc.evil.example",
        "evilsvc.example",
        "[::1",
        "[evil.example]",
        "[::1]evil.example",
        "127.0.0.1:evil.example",
        "10.0.0.256",
        "evil.example,kzn.svc",
        "evil.example .svc",
        "evil.example\x00.svc",
        "evil/localhost",
    ],
)
def test_every_other_name_is_refused(header: str) -> None:
    assert not AllowedHosts().allows(header)


def test_names_can_be_allowed() -> None:
    hosts = AllowedHosts(["kzn.example.org", "*.zone.example", "Node-1.Internal."])
    for name in ("kzn.example.org:443", "a.zone.example", "a.b.zone.example.", "node-1.internal"):
        assert hosts.allows(name), name
    for name in ("x.kzn.example.org", "zone.example", "azone.example", "example.org"):
        assert not hosts.allows(name), name
    assert AllowedHosts(["*"]).allows("evil.example")


@pytest.mark.parametrize(
    ("header", "host"),
    [("a.b:80", "a.b"), ("A.B.", "a.b"), ("[::1]:80", "::1"), ("a:b", ""), ("a:", "a")],
)
def test_the_host_of_a_header(header: str, host: str) -> None:
    assert host_of(header) == host
