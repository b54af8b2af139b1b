"""Hooks that another program detaches behind the agent's back are attached again, and counted."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import site_of_a1 as sites
from site_of_a1 import Process, Site

from kzn.lab.daemons import wait_for
from kzn.lab.lab import Lab
from kzn.libbpf.links import detach
from kzn.libbpf.pins import open_pin

REATTACHED = 'kzn_agent_reattached_total{hook="%s",probe="%s"}'
ATTACHED = 'kzn_agent_hook_attached{hook="%s",probe="%s"}'
probes = pytest.mark.parametrize("probe", ["postrouting", "tcx", "clsact"])


@pytest.fixture
def site(lab: Lab) -> Iterator[Site]:
    """Node a1 and a place for a server."""
    with sites.made(lab, "lost") as site:
        yield site


def hooks(site: Site, probe: str) -> list[str]:
    """The names of a probe's hooks in the metrics."""
    return ["ipv4", "ipv6"] if probe == "postrouting" else [site.lab.node("a1").uplink]


def detach_behind_the_back(site: Site, probe: str) -> None:
    """As bpftool and tc do it: the pins stay."""
    folder: Path = site.pin_dir / probe
    if probe == "clsact":
        node = site.lab.node("a1")
        command = ["tc", "qdisc", "del", "dev", node.uplink, "clsact"]
        assert site.lab.run(node.namespace, command).returncode == 0
    links = sorted(folder.glob("link_*"))
    assert bool(links) == (probe != "clsact")
    for path in links:
        detach(open_pin(path), str(path))


def has_reattached(agent: Process, probe: str, names: list[str]) -> bool:
    return all(agent.metric(REATTACHED % (name, probe)) == 1 for name in names)


@probes
def test_a_detached_hook_is_attached_again_while_the_agent_runs(site: Site, probe: str) -> None:
    server, agent = site.server(), site.agent("--probe", probe)
    names = hooks(site, probe)
    assert wait_for(lambda: all(agent.metric(ATTACHED % (n, probe)) == 1 for n in names), 20)
    before = site.send(10)
    assert server.gets(site.key, before)
    detach_behind_the_back(site, probe)
    assert wait_for(partial(has_reattached, agent, probe, names), sites.WAIT)
    assert agent.stderr.count("another program had detached") == len(names)
    assert all(agent.metric(ATTACHED % (name, probe)) == 1 for name in names)
    assert agent.daemon.page("/healthz")
    after = site.send(100)
    assert server.gets(site.key, before.plus(after)), server.has(site.key)


@probes
def test_an_agent_adopts_no_hook_that_was_detached_while_it_was_away(
    site: Site, probe: str
) -> None:
    server = site.server()
    site.agent("--probe", probe).kill()
    detach_behind_the_back(site, probe)
    agent = site.agent("--probe", probe)
    assert "another program had detached" in agent.stderr
    assert f"adopted {site.pin_dir / probe}" in agent.stderr
    sent = site.send(100)
    assert server.gets(site.key, sent), server.has(site.key)


@probes
def test_a_living_hook_is_left_alone_by_the_checks_and_by_a_restart(site: Site, probe: str) -> None:
    server = site.server()
    site.agent("--probe", probe).kill()
    agent = site.agent("--probe", probe)
    sent = site.send(100)
    assert server.gets(site.key, sent), server.has(site.key)
    assert "another program had detached" not in agent.stderr
    assert "attached again" not in agent.stderr
    assert agent.metric("kzn_agent_reattached_total{") == 0
