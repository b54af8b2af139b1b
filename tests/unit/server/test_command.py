"""`kzn server` with real files: TLS, client certificates, tokens, and its warnings."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pki import Authority

from kzn.agent.deliver.shipper import Shipper
from kzn.client.prices import PriceTable
from kzn.daemon.connect import dial_tcp
from kzn.daemon.listen import HostPort
from kzn.daemon.tls import ClientTls
from kzn.errors import RefusedError
from kzn.lab.daemons import wait_for
from kzn.model.batch import AgentIdentity, Batch
from kzn.model.flows import Flows
from kzn.model.totals import Counts, Totals
from kzn.wire.messages import Reason

pytestmark = pytest.mark.slow

DEADLINE = 20.0
TOPOLOGY = "nodes: [{name: node-a, zone: a, addresses: [10.0.0.1]}]\n"
SERVING = re.compile(r"agents on port (\d+), for HTTP on port (\d+)$")


@dataclass
class First:
    """Stores the server that a batch was first sent to, as the spool does."""

    server: int = 0

    def sending_to(self, server: int) -> None:
        self.server = server


@contextmanager
def serving(tmp_path: Path, *options: str, **environment: str) -> Iterator[tuple[int, int, str]]:
    """`kzn server` with ``options``: its ports, and its log until it serves."""
    topology = tmp_path / "cluster.yaml"
    topology.write_text(TOPOLOGY)
    command = [sys.executable, "-m", "kzn.cli.main", "server", "--topology", str(topology)]
    command += ["--listen-agents", "127.0.0.1:0", "--listen-http", "127.0.0.1:0", *options]
    process = subprocess.Popen(
        command, env={**os.environ, **environment}, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    log = ""
    found = None
    while not found:
        line = process.stderr.readline()
        assert line, log
        log += line
        found = SERVING.search(line.rstrip())
    try:
        yield int(found[1]), int(found[2]), log
    finally:
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate(timeout=DEADLINE)
        assert "Traceback" not in rest
    assert process.returncode == 0, rest


def deliver(port: int, tls: ClientTls | None, *, node: str = "node-a", token: str = "") -> int:
    """Deliver one batch; returns the number of connections used."""

    async def run() -> int:
        address = HostPort("127.0.0.1", port)
        identity = AgentIdentity(node, 7, "postrouting", "0.1.0")
        dial = dial_tcp(address, tls)
        shipper = Shipper(identity, address, first=First(), dial=dial, token=lambda: token)
        try:
            async with asyncio.timeout(DEADLINE):
                totals = Totals(seen=Counts(1, 100), ignored={"loopback": Counts(1, 100)})
                await shipper.deliver(Batch(1, 0, 0, Flows.empty(), totals))
        finally:
            await shipper.close()
        return shipper.stats.connects

    return asyncio.run(run())


def metrics(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=DEADLINE) as answer:
        return str(answer.read().decode())


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "pki")


@pytest.fixture
def tls(authority: Authority) -> list[str]:
    cert, key = authority.issue("server", "IP:127.0.0.1")
    return ["--tls-cert", str(cert), "--tls-key", str(key)]


def test_without_authentication_the_server_warns(tmp_path: Path) -> None:
    with serving(tmp_path) as (agents, http, log):
        assert "warning server.auth.open: agents are not authenticated" in log
        assert deliver(agents, None) == 1
        assert 'kzn_server_authentication{mode="none"} 1' in metrics(http)


@pytest.mark.parametrize(
    ("options", "environment"),
    [
        (
            ["--max-series", "pod=5", "--max-series", "zone=7", "--max-series", "node=3"],
            {"KZN_FAMILIES": "pod,zone"},
        ),
        ([], {"KZN_MAX_SERIES": "pod=5 zone=7 node=3", "KZN_FAMILIES": "pod, zone"}),
    ],
    ids=["options", "variables"],
)
def test_families_are_limited_and_turned_off(
    tmp_path: Path, options: list[str], environment: dict[str, str]
) -> None:
    with serving(tmp_path, *options, **environment) as (_, http, _log):
        text = metrics(http)
        limits = set(
            re.findall(r'^kzn_server_series_limit\{family="(\w+)"\} (\d+)', text, re.MULTILINE)
        )
        assert limits == {("pod", "5"), ("zone", "7")}
        assert "kzn_zone_traffic_bytes_total" in text
        assert "kzn_workload" not in text
        url = f"http://127.0.0.1:{http}/api/v1/pairs"
        with urllib.request.urlopen(url, timeout=DEADLINE) as answer:
            assert json.load(answer) == {"pairs": [], "of": 0}


def test_a_static_file_that_changes_is_used_without_a_restart(tmp_path: Path) -> None:
    networks = "networks: [{name: %s, kind: Database, cidr: 10.9.0.0/24}]\n"
    static = tmp_path / "static.yaml"
    static.write_text(networks % "before")
    with serving(tmp_path, "--static", str(static)) as (_, http, _log):
        url = f"http://127.0.0.1:{http}/api/v1/addresses?address=10.9.0.7"

        def owner() -> str:
            with urllib.request.urlopen(url, timeout=DEADLINE) as answer:
                return str(json.load(answer)["addresses"][0].get("name"))

        assert owner() == "before"
        static.write_text("networks: [")
        assert wait_for(lambda: "\nkzn_server_static_outdated 1" in metrics(http), DEADLINE)
        assert owner() == "before"
        static.write_text(networks % "after")
        assert wait_for(lambda: owner() == "after", DEADLINE)
        text = metrics(http)
        assert 'kzn_server_static_reads_total{result="loaded"} 2' in text
        assert 'kzn_server_static_reads_total{result="failed"} 1' in text
        assert "\nkzn_server_static_outdated 0" in text


def test_a_price_list_that_changes_is_used_without_a_restart(tmp_path: Path) -> None:
    ours = "extends: aws\nrules: [{class: cross_zone, sender: %s, receiver: 0}]\n"
    path = tmp_path / "ours.yaml"
    path.write_text(ours % "0.007")
    nodes = "nodes: [{name: c, zone: c, provider: aws}, {name: d, zone: d, provider: aws}]\n"
    static = tmp_path / "static.yaml"
    static.write_text(nodes)
    options = ["--static", str(static), "--prices", f"auto,{path}"]
    with serving(tmp_path, *options) as (_, http, _log):

        def sender() -> float:
            url = f"http://127.0.0.1:{http}/api/v1/prices"
            with urllib.request.urlopen(url, timeout=DEADLINE) as answer:
                table = PriceTable.from_json(json.load(answer))
            [found] = [p for p in table.prices if (p.src_zone, p.dst_zone) == ("c", "d")]
            assert found.sender is not None
            return found.sender * (1 << 30)

        assert sender() == pytest.approx(0.007)
        path.write_text(ours % "cheap")
        assert wait_for(lambda: "\nkzn_server_prices_outdated 1" in metrics(http), DEADLINE)
        assert sender() == pytest.approx(0.007)
        path.write_text(ours % "0.008")
        assert wait_for(lambda: sender() == pytest.approx(0.008), DEADLINE)
        text = metrics(http)
        assert 'kzn_server_price_reads_total{result="loaded"} 2' in text
        assert 'kzn_server_price_reads_total{result="failed"} 1' in text
        assert "\nkzn_server_prices_outdated 0" in text


def test_client_certificates(tmp_path: Path, authority: Authority, tls: list[str]) -> None:
    ours = ClientTls(authority.ca, *authority.issue("agent", "DNS:node-a"))
    options = [*tls, "--tls-client-ca", str(authority.ca)]
    with serving(tmp_path, *options) as (agents, http, log):
        assert "warning" not in log
        deliver(agents, ours)
        with pytest.raises(RefusedError) as caught:
            deliver(agents, ours, node="node-b")
        assert caught.value.reason == Reason.NODE
        text = metrics(http)
        assert 'kzn_server_authentication{mode="mtls"} 1' in text
        assert 'kzn_server_tls_reads_total{result="loaded"} 1' in text
        assert 'kzn_server_refused_total{reason="node"} 1' in text


class Api(BaseHTTPRequestHandler):
    """Reviews tokens: "good" belongs to an agent on node-a."""

    def do_POST(self) -> None:
        spec = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["spec"]
        assert spec["audiences"] == ["kzn-server"]
        user = {
            "username": "system:serviceaccount:kzn:kzn-agent",
            "extra": {"authentication.kubernetes.io/node-name": ["node-a"]},
        }
        good = {"authenticated": True, "user": user, "audiences": spec["audiences"]}
        status = {"good": good}.get(spec["token"], {"authenticated": False})
        body = json.dumps({"kind": "TokenReview", "status": status}).encode()
        self.send_response(201)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Iterator[Path]:
    api = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    threading.Thread(target=api.serve_forever, daemon=True).start()
    path = tmp_path / "kubeconfig"
    cluster = {"name": "c", "cluster": {"server": f"http://127.0.0.1:{api.server_port}"}}
    context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
    user = {"name": "u", "user": {"token": "server"}}
    path.write_text(
        json.dumps(
            {"clusters": [cluster], "contexts": [context], "users": [user], "current-context": "c"}
        )
    )
    yield path
    api.shutdown()
    api.server_close()


def test_service_account_tokens(
    tmp_path: Path, authority: Authority, tls: list[str], kubeconfig: Path
) -> None:
    ours = ClientTls(authority.ca)
    options = [*tls, "--auth", "token", "--kubeconfig", str(kubeconfig)]
    with serving(tmp_path, *options) as (agents, http, log):
        assert "warning" not in log
        deliver(agents, ours, token="good")  # noqa: S106
        for node, token in (("node-b", "good"), ("node-a", "bad"), ("node-a", "")):
            with pytest.raises(RefusedError):
                deliver(agents, ours, node=node, token=token)
        text = metrics(http)
        assert 'kzn_server_authentication{mode="token"} 1' in text
        assert 'kzn_server_token_reviews_total{result="accepted"} 1' in text
        assert 'kzn_server_token_reviews_total{result="cached"} 1' in text
        assert 'kzn_server_token_reviews_total{result="refused"} 1' in text
    with serving(tmp_path, "--auth", "token", "--kubeconfig", str(kubeconfig)) as (_, _, log):
        assert "warning server.auth.open: agents send tokens without TLS" in log


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--tls-cert", "x"], "--tls-cert and --tls-key go together"),
        (["--tls-client-ca", "x"], "--tls-client-ca needs --tls-cert"),
        (["--auth", "mtls"], "set --tls-client-ca"),
        (["--auth", "none", "--tls-cert", "x", "--tls-key", "x", "--tls-client-ca", "x"], "--auth"),
        (["--tls-cert", "missing.pem", "--tls-key", "missing.key"], "missing.pem"),
        (
            ["--auth", "token", "--kubeconfig", "missing"],
            "kubeconfig missing cannot be used: no such file",
        ),
        (["--agent-service-account", "agent"], "NAMESPACE/NAME"),
    ],
)
def test_wrong_or_contradicting_options_are_a_usage_error(
    tmp_path: Path, options: list[str], text: str
) -> None:
    topology = tmp_path / "cluster.yaml"
    topology.write_text(TOPOLOGY)
    command = [sys.executable, "-m", "kzn.cli.main", "server", "--topology", str(topology)]
    done = subprocess.run(
        [*command, "--listen-agents", "127.0.0.1:0", "--listen-http", "127.0.0.1:0", *options],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert text in done.stderr
    assert "Traceback" not in done.stderr
