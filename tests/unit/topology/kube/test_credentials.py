"""kzn/topology/kube/credentials.py: kubeconfig, ServiceAccounts and their TLS settings."""

import asyncio
import json
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_api import FakeApi, status

from kzn.errors import EXIT_USAGE, UsageError
from kzn.topology.kube.client import KubeClient
from kzn.topology.kube.credentials import Cluster, load_cluster
from kzn.topology.kube.errors import KubeError

# Made for these tests only: an authority, and a server and a client that it signed, for 100 years.
CERTIFICATES = Path(__file__).parent / "certificates"


@pytest.fixture(autouse=True)
def _no_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)


def kubeconfig(tmp_path: Path, user: dict[str, Any], **cluster: Any) -> str:
    path = tmp_path / "kubeconfig"
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [
            {"name": "here", "context": {"cluster": "c", "user": "u"}},
            {"name": "there", "context": {"cluster": "far", "user": "u"}},
        ],
        "clusters": [
            {"name": "c", "cluster": {"server": "http://127.0.0.1:1/"} | cluster},
            {"name": "far", "cluster": {"server": "http://192.0.2.1"}},
        ],
        "users": [{"name": "u", "user": user}],
    }
    path.write_text(yaml.safe_dump(content))
    return str(path)


def ask(cluster: Cluster) -> bytes:
    async def one_page() -> bytes:
        async with KubeClient(cluster, idle=5.0) as client:
            return await client.page("/api/v1/nodes", {"limit": "1"}, "application/json")

    return asyncio.run(one_page())


def mutual_tls() -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=CERTIFICATES / "ca.pem")
    context.load_cert_chain(CERTIFICATES / "server.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def ask_over_tls(tmp_path: Path, user: dict[str, Any], **cluster: Any) -> bytes:
    async def page() -> bytes:
        async with FakeApi().serve(mutual_tls()) as api:
            path = kubeconfig(tmp_path, user, server=api.host, **cluster)
            async with KubeClient(load_cluster(path), idle=5.0) as client:
                return await client.page("/api/v1/nodes", {}, "application/json")

    return asyncio.run(page())


def test_the_current_context_and_its_token_are_used(tmp_path: Path) -> None:
    access = load_cluster(kubeconfig(tmp_path, {"token": "s3cret"})).access()
    assert (access.host, access.authorization) == ("http://127.0.0.1:1", "Bearer s3cret")
    assert access.tls is None


def test_another_context_can_be_selected(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path, {"token": "x"})
    assert load_cluster(path, "there").access().host == "http://192.0.2.1"


def test_kubeconfig_is_found_like_kubectl_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = kubeconfig(tmp_path, {"token": "x"})
    monkeypatch.setenv("KUBECONFIG", path)
    assert load_cluster().access().host == "http://127.0.0.1:1"
    monkeypatch.delenv("KUBECONFIG")
    (tmp_path / ".kube").mkdir()
    Path(path).rename(tmp_path / ".kube" / "config")
    assert load_cluster().access().host == "http://127.0.0.1:1"


CLIENT = {key: str(CERTIFICATES / "client.pem") for key in ("client-certificate", "client-key")}
AUTHORITY = {"certificate-authority": str(CERTIFICATES / "ca.pem")}


def test_client_certificate_and_authority_are_used(tmp_path: Path) -> None:
    assert json.loads(ask_over_tls(tmp_path, CLIENT, **AUTHORITY))["kind"] == "List"


def test_tls_server_name_and_insecure_skip_verify_are_used(tmp_path: Path) -> None:
    named = AUTHORITY | {"tls-server-name": "api.kzn.test"}
    assert ask_over_tls(tmp_path, CLIENT, **named)
    with pytest.raises(KubeError, match="certificate"):
        ask_over_tls(tmp_path, CLIENT, **AUTHORITY | {"tls-server-name": "other.test"})
    assert ask_over_tls(tmp_path, CLIENT, **{"insecure-skip-tls-verify": True})


def test_an_unknown_certificate_authority_is_an_error_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(KubeError, match="certificate") as caught:
        ask_over_tls(tmp_path, CLIENT)
    assert caught.value.reason == "connection"
    assert "certificate authority" in caught.value.hint


def test_an_exec_plugin_is_run_again_when_its_token_expires(tmp_path: Path) -> None:
    script = tmp_path / "plugin.py"
    script.write_text(
        "import json, pathlib\n"
        f"path = pathlib.Path({str(tmp_path / 'runs')!r})\n"
        "runs = int(path.read_text()) + 1 if path.exists() else 1\n"
        "path.write_text(str(runs))\n"
        "status = {'token': f't{runs}', 'expirationTimestamp': '2001-01-01T00:00:00Z'}\n"
        "version = 'client.authentication.k8s.io/v1'\n"
        "print(json.dumps({'apiVersion': version, 'kind': 'ExecCredential', 'status': status}))\n"
    )
    plugin = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": sys.executable,
        "args": [str(script)],
        "interactiveMode": "Never",
    }
    cluster = load_cluster(kubeconfig(tmp_path, {"exec": plugin}))
    first, second = cluster.access().authorization, cluster.access().authorization
    assert first.startswith("Bearer t")
    assert second.startswith("Bearer t")
    assert first != second


def test_a_reload_reads_a_replaced_token(tmp_path: Path) -> None:
    cluster = load_cluster(kubeconfig(tmp_path, {"token": "old"}))
    kubeconfig(tmp_path, {"token": "new"})
    assert cluster.access().authorization == "Bearer old"
    cluster.reload()
    assert cluster.access().authorization == "Bearer new"


def test_in_a_pod_the_serviceaccount_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kubernetes.config import incluster_config

    (tmp_path / "token").write_text("pod-token")
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(CERTIFICATES / "ca.pem"))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    cluster = load_cluster()
    access = cluster.access()
    assert (access.host, access.authorization.lower()) == (
        "https://[fd00::1]:443",
        "bearer pod-token",
    )
    assert access.tls is not None
    (tmp_path / "token").write_text("rotated")
    cluster.reload()
    assert cluster.access().authorization.lower() == "bearer rotated"


def test_without_a_configured_cluster_the_error_has_a_hint() -> None:
    with pytest.raises(UsageError, match="no Kubernetes cluster is configured") as caught:
        load_cluster()
    assert "--topology FILE" in caught.value.hint
    assert caught.value.exit_code == EXIT_USAGE


@pytest.mark.parametrize("content", ["", "a: [", "[]", "contexts: 7", "current-context: none"])
def test_a_broken_kubeconfig_is_a_usage_error(tmp_path: Path, content: str) -> None:
    path = tmp_path / "broken"
    path.write_text(content)
    with pytest.raises(UsageError, match="cannot be used") as caught:
        load_cluster(str(path))
    assert "kubectl get nodes" in caught.value.hint


def test_a_missing_kubeconfig_and_an_unknown_context_are_usage_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="none cannot be used: no such file"):
        load_cluster(str(tmp_path / "none"))
    with pytest.raises(UsageError, match="nowhere"):
        load_cluster(kubeconfig(tmp_path, {}), "nowhere")


def test_an_unreadable_certificate_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "junk.pem").write_text("junk")
    cluster = {
        "server": "https://127.0.0.1:1",
        "certificate-authority": str(tmp_path / "junk.pem"),
    }
    with pytest.raises(UsageError, match="cannot be used"):
        load_cluster(kubeconfig(tmp_path, {}, **cluster))


def test_an_http_error_states_path_status_and_the_servers_reason(tmp_path: Path) -> None:
    async def page() -> None:
        api = FakeApi()
        api.faults["nodes"].append(status(403, "Forbidden", "nodes is forbidden: no list"))
        async with api.serve():
            path = kubeconfig(tmp_path, {}, server=api.host)
            async with KubeClient(load_cluster(path), idle=5.0) as client:
                await client.page("/api/v1/nodes", {}, "application/json")

    with pytest.raises(KubeError, match=r"GET /api/v1/nodes: .*403: nodes is forbidden") as caught:
        asyncio.run(page())
    assert (caught.value.status, caught.value.reason) == (403, "forbidden")
    assert "ServiceAccount" in caught.value.hint


def test_a_refused_connection_states_the_address(tmp_path: Path) -> None:
    with pytest.raises(KubeError, match=r"127\.0\.0\.1:1") as caught:
        ask(load_cluster(kubeconfig(tmp_path, {})))
    assert caught.value.reason == "connection"


@pytest.mark.slow
def test_the_kubernetes_package_is_imported_only_with_a_cluster() -> None:
    modules = (
        "sys, kzn.topology.kube.source, kzn.topology.kube.credentials, kzn.topology.static.file"
    )
    code = f"import {modules}; print('kubernetes' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
