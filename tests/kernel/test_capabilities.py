"""Capabilities: those that a probe needs to start and that a running agent keeps, as documented."""

import os
import socket
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import site_of_a1 as sites
from site_of_a1 import Process, Site

from kzn.errors import UnsupportedError
from kzn.lab import daemons, namespaces
from kzn.lab.lab import Lab
from kzn.lab.witness import WireKey
from kzn.libbpf import capabilities
from kzn.libbpf.capabilities import Sets, mask
from kzn.model.totals import Counts
from kzn.probes import postrouting, support
from kzn.probes.attach import load
from kzn.probes.declaration import Probe
from kzn.probes.registry import find, installed
from kzn.probes.settings import PORTS, Settings

NEEDED = {
    "postrouting": ("CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON"),
    "tcx": ("CAP_BPF", "CAP_NET_ADMIN"),
    "clsact": ("CAP_BPF", "CAP_NET_ADMIN"),
}
KEPT = {"postrouting": (), "tcx": (), "clsact": ("CAP_NET_ADMIN",)}
"""As in docs/security.md."""
probes = pytest.mark.parametrize("probe", NEEDED)
LATE = "10.99.0.1"
BEHIND = "10.98.0.1"


@pytest.fixture
def site(lab: Lab) -> Iterator[Site]:
    """Node a1 and a place for a server."""
    with sites.made(lab, "capabilities") as site:
        yield site


def with_only(names: tuple[str, ...]) -> tuple[str, ...]:
    """A prefix that runs a command as root with only these capabilities."""
    added = "".join(f",+{name.removeprefix('CAP_').lower()}" for name in names)
    return ("setpriv", f"--bounding-set=-all{added}", "--")


def limit(monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...]) -> None:
    """Start daemons with only these capabilities from now on."""
    kzn = [*with_only(names), sys.executable, "-m", "kzn.cli.main"]
    monkeypatch.setattr(daemons, "KZN", kzn)


def sets(process: Process) -> set[Sets]:
    """The capability sets of all threads of an agent."""
    tasks = Path(f"/proc/{process.daemon.process.pid}/task")
    return {capabilities.read(task / "status") for task in tasks.iterdir()}


def same(held: int, bounding: int) -> Sets:
    """All sets equal but the bounding set."""
    return Sets(held, held, held, bounding, held)


@pytest.mark.parametrize("name", NEEDED)
def test_a_probe_declares_the_documented_capabilities(name: str) -> None:
    probe = find(name, installed())
    assert isinstance(probe, Probe)
    assert sorted(probe.capabilities) == list(NEEDED[name])


@probes
def test_programs_load_with_the_documented_capabilities_and_any_ports(probe: str) -> None:
    found = find(probe, installed())
    assert isinstance(found, Probe)
    try:
        support.require(found)
    except UnsupportedError as error:
        pytest.skip(f"{error}: {error.hint}")
    with capabilities.only(mask(NEEDED[probe])):
        for ports in PORTS:
            with load(found, Settings(ports)):
                pass


@probes
def test_with_the_documented_capabilities_an_agent_runs_stops_and_restarts(
    site: Site, probe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = site.server()
    limit(monkeypatch, NEEDED[probe])
    agent = site.agent("--probe", probe)
    assert sets(agent) == {same(mask(KEPT[probe]), mask(NEEDED[probe]))}
    sent = site.send(50)
    assert server.gets(site.key, sent), (server.has(site.key), sent)
    sent = sent.plus(site.send(20))
    agent.stop()  # its last batch
    assert server.gets(site.key, sent)
    agent = site.agent("--probe", probe, "--ports", "none")  # new maps; the old ones are drained
    sent = sent.plus(site.send(30))
    assert server.gets(site.key, sent), (server.has(site.key), sent)
    assert agent.logs(f"removed pins {site.pin_dir}/{probe}+retired+1")
    agent.stop()
    done = site.kzn("detach", "--pin-dir", str(site.pin_dir), prefix=with_only(NEEDED[probe]))
    assert done.returncode == 0, done.stderr
    assert list(site.pin_dir.iterdir()) == []


@probes
def test_an_agent_started_with_all_capabilities_drops_all_but_the_documented_ones(
    site: Site, probe: str
) -> None:
    site.server()
    agent = site.agent("--probe", probe)
    kept = mask(KEPT[probe])
    assert sets(agent) == {same(kept, kept)}
    status = Path(f"/proc/{agent.daemon.process.pid}/status").read_text()
    assert "NoNewPrivs:\t1\n" in status
    assert f"capabilities kept: {capabilities.text(kept)}; new privileges: none\n" in agent.stderr


@pytest.mark.parametrize(
    ("probe", "lost"), [(probe, name) for probe, names in NEEDED.items() for name in names]
)
def test_without_one_capability_the_agent_refuses_to_start_and_names_it(
    site: Site, probe: str, lost: str
) -> None:
    left = tuple(name for name in NEEDED[probe] if name != lost)
    done = site.kzn("agent", "--print", "--probe", probe, prefix=with_only(left))
    assert (done.returncode, done.stdout) == (3, "")
    assert f"kzn: probe {probe}: this process lacks {lost}\nhint: run as root" in done.stderr


@probes
def test_without_capabilities_the_agent_refuses_to_start_and_names_them(
    site: Site, probe: str
) -> None:
    done = site.kzn("agent", "--print", "--probe", probe, prefix=with_only(()))
    assert (done.returncode, done.stdout) == (3, "")
    lacking = [name for name in capabilities.NUMBERS if name in NEEDED[probe]]
    for name in lacking:
        assert name in done.stderr.splitlines()[0]


def test_a_capability_that_the_verifier_requires_is_named() -> None:
    probe = replace(postrouting.PROBE, capabilities=NEEDED["tcx"])  # too few for this program
    with (
        capabilities.only(mask(NEEDED["tcx"])),
        pytest.raises(UnsupportedError, match="to a process without CAP_PERFMON") as raised,
        load(probe, Settings(max_flows=16)),
    ):
        pass
    # What the verifier meets first differs by program and kernel: arithmetic, or struct sk_buff.
    said = "run as root or give it this capability; the verifier's reason: "
    assert raised.value.hint.startswith(said)
    assert len(raised.value.hint) > len(said)


def test_auto_selects_a_probe_that_the_capabilities_allow(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = site.server()
    limit(monkeypatch, NEEDED["tcx"])
    agent = site.agent("--probe", "auto")
    assert "not postrouting: this process lacks CAP_PERFMON" in agent.stderr
    sent = site.send(50)
    assert server.gets(site.key, sent), (server.has(site.key), sent)


@pytest.fixture
def late(lab: Lab) -> Iterator[list[str]]:
    """Commands that add an uplink to node a1, with a permanent neighbour entry."""
    yield [
        f"link add late0 type veth peer name late1 netns {lab.fabric.namespace}",
        "link set late0 up",
        f"addr add {LATE}/24 dev late0",
        "neigh add 10.99.0.2 lladdr 02:00:00:00:00:09 dev late0",
        f"route add {BEHIND}/32 via 10.99.0.2 dev late0",
    ]
    lab.run(lab.node("a1").namespace, ["ip", "link", "del", "late0"])


@pytest.mark.parametrize("probe", ["tcx", "clsact"])
def test_an_uplink_added_after_the_drop_of_capabilities_is_counted(
    site: Site, lab: Lab, probe: str, late: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = site.server()
    limit(monkeypatch, NEEDED[probe])
    agent = site.agent("--probe", probe)
    lab.configure(lab.node("a1").namespace, late)
    lab.ip(["-n", lab.fabric.namespace, "link", "set", "late1", "up"])
    assert agent.logs(f"attached {probe}/egress to late0", sites.WAIT)
    with namespaces.inside(lab.node("a1").namespace):
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sender:
        for _ in range(20):
            sender.sendto(bytes(100), (BEHIND, 9))
    key = WireKey(LATE, BEHIND, socket.IPPROTO_UDP)
    assert server.gets(key, Counts(20, 20 * 128)), server.has(key)
    assert sets(agent) == {same(mask(KEPT[probe]), mask(NEEDED[probe]))}


@probes
def test_printing_with_the_documented_capabilities_leaves_nothing_attached(
    site: Site, lab: Lab, probe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(monkeypatch, NEEDED[probe])
    printer = site.agent("--print", "--interval", "5m", "--probe", probe, ready=False)
    assert printer.logs("capabilities kept: ")
    assert printer.has_loop()
    sent = site.send(50)
    printer.daemon.ask_to_stop()
    assert printer.wait() == 0
    assert f"{sent.bytes} bytes {sent.packets} packets" in printer.daemon.stdout.read().decode()
    node = lab.node("a1")
    shown = lab.run(node.namespace, ["tc", "qdisc", "show", "dev", node.uplink]).stdout
    assert "clsact" not in shown


def test_a_token_file_that_only_a_capability_can_read_is_refused_at_the_start(
    site: Site, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("secret")
    token.chmod(0o600)
    os.chown(token, 12345, 12345)
    words = ("--node", "a1", "--server", "10.0.0.1:7070", "--token-file", str(token))
    done = site.kzn("agent", *words, "--pin-dir", str(site.pin_dir))
    assert done.returncode == 2
    assert f"kzn: token file {token}: Permission denied" in done.stderr
