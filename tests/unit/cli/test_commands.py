"""Mistakes of an operator: every command answers with a sentence and a code, not a traceback."""

import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError

import pytest

from kzn.cli import main

pytestmark = pytest.mark.slow

KZN = [sys.executable, "-m", "kzn.cli.main"]
SHIPPING = ("agent", "--server", "h:1", "--node", "n")

BAD_OPTIONS = [
    (("agent",), "--server and --node are needed, or --print"),
    (("agent", "--server", "h:1"), "--server and --node are needed, or --print"),
    (("agent", "--server", "h:1", "--node", ""), "--server and --node are needed, or --print"),
    (
        ("agent", "--server", "h", "--node", "n"),
        "'h' is not an address with a port; write HOST:PORT",
    ),
    (
        ("agent", "--server", ":7070", "--node", "n"),
        "':7070' has no host or no port; write HOST:PORT",
    ),
    ((*SHIPPING, "--interval", "10"), "'10' is not a duration; write 10s, 500ms or 1m30s"),
    ((*SHIPPING, "--interval", "0s"), "duration must be positive"),
    ((*SHIPPING, "--interval", "100ms"), "interval 0.1 s is not between 0.5 s and 300 s"),
    ((*SHIPPING, "--interval", "1h"), "interval 3600 s is not between 0.5 s and 300 s"),
    ((*SHIPPING, "--max-flows", "0"), "0 is not in the range 1<=x<="),
    ((*SHIPPING, "--max-flows", "many"), "'many' is not a valid integer"),
    ((*SHIPPING, "--ports", "some"), "'some' is not one of 'none', 'service', 'all'"),
    ((*SHIPPING, "--listen-http", "9102"), "'9102' is not an address with a port"),
    ((*SHIPPING, "--log-level", "loud"), "'loud' is not one of"),
    ((*SHIPPING, "--probe", "nope"), "unknown probe 'nope'"),
    ((*SHIPPING, "more"), "unexpected extra argument (more)"),
    (("server", "--listen-agents", "7070"), "'7070' is not an address with a port"),
    (("server", "--listen-http", "h:70000"), "'h:70000' is not an address with a port"),
    (("server", "--flow-log", "xml"), "'xml' is not one of 'text', 'json', 'off'"),
    (("server", "--topology", "/no/such"), "/no/such: No such file or directory"),
    (("server", "--static", "/"), "'/' is a directory"),
    (("server", "--nope"), "No such option"),
    (("inspect-map", "--top", "-1"), "-1 is not in the range x>=0"),
    (("inspect-map", "--url", "h:8080"), "'h:8080' is not an HTTP URL"),
    (("inspect-map", "--server", "http://h:8080"), "Did you mean --url http://HOST:8080?"),
    (("top", "--server", "http://h:8080"), "Did you mean --url http://HOST:8080?"),
    (("top", "--url", "h:8080"), "'h:8080' is not an HTTP URL"),
    (("inspect-map", "more"), "unexpected extra argument (more)"),
    (("probes", "--nope"), "No such option"),
    (("detach", "more"), "unexpected extra argument (more)"),
    (("demo", "--seconds", "-1"), "-1.0 is not in the range 0<=x<="),
    (("demo", "--mtu", "576"), "576 is not in the range 1280<=x<="),
    (("nope",), "No such command 'nope'"),
]


@pytest.mark.parametrize(("arguments", "sentence"), BAD_OPTIONS)
def test_a_bad_option_is_one_sentence_and_code_2(
    arguments: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    lines = [line for line in shown.err.splitlines() if line.startswith(("kzn: ", "Error: "))]
    assert len(lines) == 1
    assert sentence in lines[0]


def test_a_bad_value_from_the_environment_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KZN_INTERVAL", "soon")
    assert main.run(SHIPPING) == 2
    assert "env var: 'KZN_INTERVAL'): 'soon' is not a duration" in capsys.readouterr().err


def test_an_error_in_a_topology_file_names_file_line_and_what_is_expected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "topology.yaml"
    path.write_text("nodes:\n  - name: a\n    zome: z\n")
    assert main.run(["server", "--topology", str(path)]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first == (
        f'kzn: {path}:3: unknown key "zome" in a node, '
        "expected one of addresses, name, price, provider, region, zone"
    )
    assert second.startswith("hint: ")


@pytest.mark.parametrize("command", ["inspect-map", "detach"])
def test_a_pin_directory_outside_a_bpf_file_system_is_refused(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run([command, "--pin-dir", str(tmp_path)]) == 3
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(f"kzn: pin directory {tmp_path} is not on a bpf file system (")
    assert second.startswith("hint: mount one: mount -t bpf bpf /sys/fs/bpf, ")


def run(
    *arguments: str, stdout: int | None = subprocess.PIPE, environment: dict[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run a command of kzn; it must not print a traceback."""
    done = subprocess.run(
        [*KZN, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        env=os.environ | (environment or {}),
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


@contextmanager
def full() -> Iterator[int]:
    """A file on a full disk."""
    fd = os.open("/dev/full", os.O_WRONLY)
    try:
        yield fd
    finally:
        os.close(fd)


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", [("--help",), ("probes", "--json"), ("probes",)])
def test_output_that_cannot_be_written_is_an_error(
    arguments: tuple[str, ...], unbuffered: str
) -> None:
    with full() as fd:
        done = run(*arguments, stdout=fd, environment={"PYTHONUNBUFFERED": unbuffered})
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "kzn: write to standard output: No space left on device",
        "hint: is the disk behind standard output full?",
    ]


def test_a_closed_standard_output_is_not_an_error() -> None:
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *KZN, "--version"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: c
clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}]
contexts: [{name: c, context: {cluster: c, user: u}}]
users: [{name: u, user: {token: t}}]
"""


def test_the_server_waits_for_an_api_server_and_logs_that(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(KUBECONFIG)
    listen = ("--listen-agents", "127.0.0.1:0", "--listen-http", "127.0.0.1:0")
    command = [*KZN, "server", "--kubeconfig", str(path), *listen]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        ready = next(line for line in server.stderr if "HTTP on port " in line)
        warning = next(line for line in server.stderr if "API server 127.0.0.1:1: " in line)
        port = int(ready.rsplit(" ", 1)[1])
        with pytest.raises(HTTPError) as answer:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10)
        server.send_signal(signal.SIGTERM)
        rest = server.stderr.read()
        assert server.wait(30) == 0
    assert "retrying" in warning
    assert answer.value.code == 503
    assert "waiting for the first full list of pods" in answer.value.read().decode()
    assert "Traceback" not in ready + warning + rest


@pytest.mark.parametrize("text", ["", "{", "apiVersion: v1\nkind: Config\n"])
def test_a_kubeconfig_without_a_cluster_is_a_usage_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    done = run("server", "--kubeconfig", str(path))
    assert done.returncode == 2
    assert f"kzn: kubeconfig {path} cannot be used: " in done.stderr
    assert "hint: check that `kubectl get nodes` works" in done.stderr


def test_without_a_cluster_the_error_names_topology_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"):
        monkeypatch.delenv(name, raising=False)
    done = run("server", environment={"HOME": str(tmp_path)})
    assert done.returncode == 2
    assert "no Kubernetes cluster is configured" in done.stderr
    assert "give --topology FILE to run without a cluster" in done.stderr
