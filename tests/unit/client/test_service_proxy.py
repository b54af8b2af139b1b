"""A server behind an API server: where it is asked, and which of the two refuses."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from kzn.client.http import ApiClient
from kzn.client.service_proxy import ServicePlace, ServiceProxy, is_configured
from kzn.errors import KznError, UsageError
from kzn.topology.kube.credentials import Access

Answer = Callable[[str, str], tuple[int, object]]
PROXY = "/api/v1/namespaces/kzn/services/kzn-server:http/proxy"


@contextmanager
def api_server(answer: Answer) -> Iterator[str]:
    """Serves ``answer`` of path and Authorization on loopback; yields the base URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answer(self.path, self.headers.get("Authorization", ""))
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


class Tokens:
    """Credentials whose token changes with each reload."""

    def __init__(self, host: str) -> None:
        self.host, self.loads = host, 0

    def access(self) -> Access:
        return Access(self.host, f"Bearer t{self.loads}")

    def reload(self) -> None:
        self.loads += 1


def client(host: str, place: ServicePlace | None = None) -> ApiClient:
    proxy = ServiceProxy(place or ServicePlace(), Tokens(host))
    return ApiClient(proxy.url, proxy=proxy)


def status(code: int, message: str) -> tuple[int, object]:
    return code, {"kind": "Status", "apiVersion": "v1", "code": code, "message": message}


def test_the_path_is_that_of_the_service_and_the_token_is_sent() -> None:
    asked = []

    def answer(path: str, token: str) -> tuple[int, object]:
        asked.append((path, token))
        return 200, {"of": 3}

    with api_server(answer) as host:
        place = ServicePlace(namespace="net", service="traffic")
        assert client(host, place).fetch("zones", lambda found: found["of"], [("limit", 7)]) == 3
    base = "/api/v1/namespaces/net/services/traffic:http/proxy"
    assert asked == [(f"{base}/api/v1/zones?limit=7", "Bearer t0")]


def test_an_expired_token_is_renewed_once() -> None:
    asked = []

    def answer(_path: str, sent: str) -> tuple[int, object]:
        asked.append(sent)
        return (200, {}) if len(asked) > 1 else status(401, "Unauthorized")

    with api_server(answer) as host:
        assert client(host).fetch("status", lambda found: found) == {}
    assert asked == ["Bearer t0", "Bearer t1"]


def test_a_host_name_that_the_server_does_not_know_is_the_services_own_then() -> None:
    hosts = []

    class Named(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            hosts.append(self.headers["Host"])
            known = hosts[-1] == "traffic.net.svc"
            body = b"{}" if known else b'{"error": "this server is not known as x"}'
            self.send_response(200 if known else 421)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Named) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        place = ServicePlace(namespace="net", service="https:traffic")
        api = client(f"http://127.0.0.1:{server.server_port}", place)
        assert "/services/https:traffic:http/proxy" in api.url
        assert api.fetch("status", lambda found: found) == {}
        assert api.fetch("status", lambda found: found) == {}
        server.shutdown()
    assert [host == "traffic.net.svc" for host in hosts] == [False, True, True]


@pytest.mark.parametrize(
    ("code", "sentence", "hint"),
    [
        (401, "credentials of the kubeconfig", "log in"),
        (403, "no right to reach the server", "services/proxy in namespace kzn"),
        (404, "namespace kzn has no Service kzn-server", "--namespace"),
        (503, "no server that is ready", "kubectl -n kzn get pods"),
        (500, "the API server answers status 500", ""),
    ],
)
def test_a_refusal_of_the_api_server_says_what_is_wrong(
    code: int, sentence: str, hint: str
) -> None:
    with (
        api_server(lambda *_: status(code, "words of the API server")) as host,
        pytest.raises(KznError) as caught,
    ):
        client(host).fetch("status", lambda found: found)
    assert sentence in caught.value.message
    assert "words of the API server" in caught.value.message
    assert hint in (caught.value.hint or "")


@pytest.mark.parametrize(("code", "kind"), [(400, UsageError), (404, KznError), (503, KznError)])
def test_an_error_of_the_server_itself_is_its_own(code: int, kind: type[KznError]) -> None:
    answer = code, {"error": "limit x is not a number", "hint": "0 to 9"}
    with api_server(lambda *_: answer) as host, pytest.raises(kind) as caught:
        client(host).fetch("zones", lambda found: found)
    assert "limit x is not a number" in caught.value.message
    assert caught.value.hint == "0 to 9"


def test_an_api_server_that_is_away_is_named() -> None:
    with api_server(lambda *_: (200, {})) as host:
        pass
    with pytest.raises(KznError, match="the API server http:") as caught:
        client(host).fetch("status", lambda found: found)
    assert "/readyz" in (caught.value.hint or "")


def test_a_redirect_is_not_followed() -> None:
    with api_server(lambda *_: (302, b"")) as host, pytest.raises(KznError, match="status 302"):
        client(host).fetch("status", lambda found: found)


@pytest.mark.parametrize(
    ("place", "variable", "expected"),
    [
        (ServicePlace(), "", False),
        (ServicePlace(), "/some/file", True),
        (ServicePlace(kubeconfig="x"), "", True),
        (ServicePlace(context="x"), "", True),
    ],
)
def test_whether_a_cluster_is_configured(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
    place: ServicePlace,
    variable: str,
    expected: bool,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.setenv("KUBECONFIG", variable)
    assert is_configured(place) == expected
