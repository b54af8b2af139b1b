"""The example package, installed by pip: its probe counts marked packets, in every command."""

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import example
import pytest
import site_of_a1 as sites
from counting import PREFIX
from site_of_a1 import Site

from kzn.lab import traffic
from kzn.lab.lab import Lab
from kzn.lab.witness import WireKey
from kzn.model.totals import Counts

MARKED, UNMARKED, MARKED_STREAM = 5300, 5301, 5400
RULES = f"""
table inet count {{
  chain choose {{
    type filter hook postrouting priority 0
    th dport {{ {MARKED}, {MARKED_STREAM} }} meta mark set meta mark or 0x1000
  }}
}}
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder where pip installed the example."""
    return example.install(example.SOURCE, tmp_path_factory.mktemp("package"))


@pytest.fixture
def site(lab: Lab, package: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Node a1 with a rule that marks two ports; its commands find the package."""
    path = os.pathsep.join(filter(None, [str(package), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("PYTHONPATH", path)
    node = lab.node("a1").namespace
    done = lab.run(node, ["nft", RULES])
    assert done.returncode == 0, done.stderr
    with sites.made(lab, "plugin") as site:
        yield site
    lab.run(node, ["nft", "delete", "table", "inet", "count"])


def send(site: Site) -> dict[str, Counts]:
    """Send marked and unmarked traffic; the packets and bytes that must be counted."""
    a, b = site.lab.pod("a1-p1"), site.lab.pod("b1-p1")
    counted = {}
    before = site.lab.carried()
    for family, shape in ((4, "{}:{}"), (6, "[{}]:{}")):
        for port in (MARKED, UNMARKED):
            [sent] = traffic.udp(a, b, family, datagrams=20, size=700, mtu=1500, port=port)
            assert sent.wire is not None
            if port == MARKED:
                counted[f"{sent.src} > {shape.format(sent.dst, port)} udp"] = sent.wire
    traffic.tcp_bulk(a, b, 4, size=5_000_000, port=MARKED_STREAM)
    key = WireKey(a.ipv4, b.ipv4, 6)
    was, now = before.get(key, Counts()), site.lab.carried()[key]
    stream = Counts(now.packets - was.packets, now.bytes - was.bytes)
    return counted | {f"{a.ipv4} > {b.ipv4}:{MARKED_STREAM} tcp": stream}


def test_the_example_is_listed_by_kzn_probes(site: Site) -> None:
    rows = {row["name"]: row for row in json.loads(site.kzn("probes", "--json").stdout)}
    assert rows["marked"]["supported"] is True
    assert "0x1000" in rows["marked"]["summary"]
    assert rows["postrouting"]["supported"] is True


def test_print_shows_marked_traffic_to_the_byte_and_nothing_else(site: Site) -> None:
    printer = site.agent("--print", "--probe", "marked", "--interval", "5m", ready=False)
    assert printer.logs("attached marked/ipv6 at priority 60")
    assert printer.has_loop()
    sent = send(site)
    printer.daemon.ask_to_stop()
    assert printer.wait() == 0
    head, *flows = printer.daemon.stdout.read().decode().splitlines()
    assert sorted(flows) == sorted(
        f"  {ends} {counts.bytes} bytes {counts.packets} packets" for ends, counts in sent.items()
    )
    size, packets = sum(c.bytes for c in sent.values()), sum(c.packets for c in sent.values())
    assert head.startswith("batch 1: 3 flows in ")
    assert head.endswith(f"seen {size} bytes in {packets} packets")


def test_the_example_is_inspected_adopted_shipped_and_detached(site: Site) -> None:
    agent = site.agent("--probe", "marked")
    sent = site.send(30)
    site.send(9, UNMARKED)
    [found] = site.inspect()
    assert (found["probe"], site.left(site.key)) == ("marked", sent)
    table = site.kzn("inspect-map", "--pin-dir", str(site.pin_dir)).stdout
    assert table.startswith("marked: ipv4 at 60, ipv6 at 60; epoch ")
    agent.kill()
    sent = sent.plus(site.send(20))  # the kernel counts without an agent
    server = site.server()
    agent = site.agent("--probe", "marked")
    assert agent.logs(f"adopted {site.pin_dir}/marked")
    assert server.gets(site.key, sent), (server.has(site.key), sent)
    agent.stop()
    done = site.kzn("detach", "--pin-dir", str(site.pin_dir))
    assert (done.returncode, done.stdout) == (0, f"removed {site.pin_dir}/marked\n")


def test_the_tests_of_the_example_pass(site: Site, tmp_path: Path) -> None:
    assert site.lab.plan
    tests = shutil.copytree(example.SOURCE / "tests", tmp_path / "tests")
    options = ["-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path)]
    command = [sys.executable, "-m", "pytest", *options, str(tests)]
    output = example.run(command, KZN_LAB_PREFIX=f"{PREFIX}x")
    assert "5 passed" in output
