"""kzn/server/auth/open.py: a server whose HTTP asks a fake API server about each client."""

import asyncio
import json
import logging
import ssl
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from pki import Authority

from kzn.daemon.listen import HostPort, bound_port, listen
from kzn.daemon.tls import ServerTlsFiles
from kzn.errors import UsageError
from kzn.server.auth.authenticator import SecurityState
from kzn.server.auth.open import HttpSecurity, open_http_security
from kzn.server.config import ServerConfig
from kzn.server.http.server import HttpApi
from kzn.server.snapshot import ServerSnapshot

PROMETHEUS = "system:serviceaccount:monitoring:prometheus"
USERS = {"p": PROMETHEUS, "j": "jane"}


async def api_server() -> tuple[web.AppRunner, str]:
    """Prometheus may get /metrics, Jane may get what is below /api; both are in a group."""

    async def review_token(request: web.Request) -> web.Response:
        user = USERS.get((await request.json())["spec"]["token"], "")
        known = {"authenticated": True, "user": {"username": user, "groups": ["cluster"]}}
        return web.json_response({"status": known if user else {}}, status=201)

    async def review_access(request: web.Request) -> web.Response:
        spec = (await request.json())["spec"]
        path, user = spec["nonResourceAttributes"]["path"], spec["user"]
        allowed = path == "/metrics" if user == PROMETHEUS else path.startswith("/kzn/api/")
        return web.json_response(
            {"status": {"allowed": allowed and spec["groups"] == ["cluster"]}}, status=201
        )

    app = web.Application()
    app.router.add_post("/apis/authentication.k8s.io/v1/tokenreviews", review_token)
    app.router.add_post("/apis/authorization.k8s.io/v1/subjectaccessreviews", review_access)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}"


def kubeconfig(folder: Path, url: str) -> str:
    """A kubeconfig for ``url``."""
    path = folder / "kubeconfig"
    found = {
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "users": [{"name": "u", "user": {"token": "server"}}],
        "current-context": "c",
    }
    path.write_text(json.dumps(found))
    return str(path)


async def take(_families: frozenset[str]) -> ServerSnapshot:
    raise AssertionError("only pages without a snapshot are asked for")


def test_tokens_of_prometheus_and_of_people_work_over_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "pki")
    files = ServerTlsFiles(*authority.issue("server", "IP:127.0.0.1"))

    async def run() -> tuple[dict[tuple[str, str], int], SecurityState]:
        runner, url = await api_server()
        config = ServerConfig(
            http_auth="kubernetes", http_tls=files, kubeconfig=kubeconfig(tmp_path, url)
        )
        security = open_http_security(config)
        sockets = listen(HostPort("127.0.0.1", 0))
        api = HttpApi(
            take,
            str,
            owners=lambda _asked: b"{}\n",
            tls=security.tls,
            authorize=security.authorize,
        )
        base = f"https://127.0.0.1:{bound_port(sockets)}"
        await api.start(sockets)
        found = {}
        trusted = aiohttp.TCPConnector(ssl=aiohttp_context(authority))
        async with security.api_client, aiohttp.ClientSession(base, connector=trusted) as session:
            for path in ("/healthz", "/readyz", "/metrics", "/api/v1/addresses?address=::1"):
                for token in ("p", "j", "x", ""):
                    headers = {"Authorization": f"Bearer {token}"} if token else {}
                    async with session.get(path, headers=headers) as response:
                        found[path[:8], token] = response.status
        await api.close()
        await runner.cleanup()
        return found, security.added_to(SecurityState())

    found, state = asyncio.run(run())
    assert {key: status for key, status in found.items() if key[0] in {"/healthz", "/readyz"}} == {
        (path, token): 200 for path in ("/healthz", "/readyz") for token in ("p", "j", "x", "")
    }
    # 500: it was let through, and there is no snapshot
    assert [found["/metrics", token] for token in ("p", "j", "x", "")] == [500, 403, 401, 401]
    assert [found["/api/v1/", token] for token in ("p", "j", "x", "")] == [403, 200, 401, 401]
    assert (state.http_mode, state.tls_loaded) == ("kubernetes", 1)
    assert state.http_decisions == {"allowed": 2, "forbidden": 2, "unauthenticated": 4}


def aiohttp_context(authority: Authority) -> ssl.SSLContext:
    """Trusts ``authority`` alone."""
    return ssl.create_default_context(cafile=str(authority.ca))


def test_without_options_nothing_is_asked_or_encrypted() -> None:
    found = open_http_security(ServerConfig())
    assert found == HttpSecurity(api_client=found.api_client)
    assert found.authorize is None


def test_tokens_without_tls_are_warned_about(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = ServerConfig(http_auth="kubernetes", kubeconfig=kubeconfig(tmp_path, "http://x"))
    with caplog.at_level(logging.WARNING):
        open_http_security(config)
    assert "--http-tls-cert" in caplog.text


def test_files_that_cannot_be_used_are_a_usage_error(tmp_path: Path) -> None:
    missing = ServerTlsFiles(tmp_path / "none.crt", tmp_path / "none.key")
    with pytest.raises(UsageError, match="cannot be used"):
        open_http_security(ServerConfig(http_tls=missing))
    with pytest.raises(UsageError, match="nowhere"):
        open_http_security(
            ServerConfig(http_auth="kubernetes", kubeconfig=str(tmp_path / "nowhere"))
        )
