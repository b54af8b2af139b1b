"""Which server a command asks: by URL, by kubeconfig, or the one on this machine."""

from pathlib import Path

import pytest

from kzn.cli import main
from kzn.client import find
from kzn.client.find import LOCAL, ServerOptions
from kzn.client.service_proxy import ServicePlace
from kzn.errors import KznError, UsageError

KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: one
contexts:
  - {name: one, context: {cluster: one, user: me}}
  - {name: two, context: {cluster: two, user: me}}
clusters:
  - {name: one, cluster: {server: "http://127.0.0.1:1"}}
  - {name: two, cluster: {server: "http://127.0.0.1:2/prefix/"}}
users:
  - {name: me, user: {token: secret}}
"""


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)


@pytest.fixture
def kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "config"
    path.write_text(KUBECONFIG)
    monkeypatch.setenv("KUBECONFIG", str(path))
    return path


def test_without_anything_it_is_the_one_on_this_machine() -> None:
    assert ServerOptions().client().url == LOCAL


def test_where_nothing_is_configured_the_hint_says_what_was_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(find, "LOCAL", "http://127.0.0.1:1")
    hints = []
    for options in (ServerOptions(), ServerOptions(["http://127.0.0.1:1"])):
        with pytest.raises(KznError, match=r"^http://127\.0\.0\.1:1: ") as caught:
            options.client().fetch("status", dict)
        hints.append(caught.value.hint)
    assert ["neither --url nor a kubeconfig" in hint for hint in hints] == [True, False]


def test_the_kubeconfig_leads_to_the_service_proxy(kubeconfig: Path) -> None:
    proxy = "/api/v1/namespaces/kzn/services/kzn-server:http/proxy"
    assert kubeconfig.exists()
    assert ServerOptions().client().url == f"http://127.0.0.1:1{proxy}"
    two = ServerOptions(place=ServicePlace(context="two"))
    assert two.client().url == f"http://127.0.0.1:2/prefix{proxy}"


def test_urls_come_before_a_kubeconfig(kubeconfig: Path) -> None:
    assert kubeconfig.exists()
    urls = ["http://a:1", "http://b:2"]
    assert [one.url for one in ServerOptions(urls).clients()] == urls


def test_a_token_file_is_for_a_url_alone(kubeconfig: Path) -> None:
    with pytest.raises(UsageError, match="--token-file"):
        ServerOptions(token_file=kubeconfig).clients()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--context", "three"], "kubeconfig"),
        (["--kubeconfig", "/nowhere"], "kubeconfig /nowhere cannot be used: no such file"),
    ],
)
def test_a_kubeconfig_that_cannot_be_used_is_a_usage_error(
    kubeconfig: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    assert kubeconfig.exists()
    assert main.run(["top", "--once", *arguments]) == 2
    assert sentence in capsys.readouterr().err
