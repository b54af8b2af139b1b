"""Hooks that another program detaches behind the agent's back are attached again, and counted."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import site_of_a1 as sites
from site_of_a1 import Process, Site

from kzn.agent.hooks import PACKETS_EVERY, Hooks
from kzn.agent.maps.buffers import read_totals
from kzn.agent.pins.attachments import PinnedAttachments
from kzn.agent.pins.install import install
from kzn.agent.pins.liveness import DATAGRAMS, counts_loopback
from kzn.agent.select.attach import AttachedProbe
from kzn.agent.stats import AgentStats
from kzn.lab import namespaces
from kzn.lab.daemons import wait_for
from kzn.lab.lab import Lab
from kzn.libbpf.links import attach_netfilter, detach, netfilter_link_info
from kzn.libbpf.pins import open_pin
from kzn.model.totals import Counts
from kzn.probes.attach import load
from kzn.probes.declaration import NetfilterHook
from kzn.probes.postrouting import PROBE
from kzn.probes.settings import Settings

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


@contextmanager
def foreign_program(site: Site, priority: int) -> Iterator[None]:
    """A program of another tool at a priority of POSTROUTING, IPv4 and IPv6, on node a1."""
    with ExitStack() as stack:
        stack.enter_context(namespaces.inside(site.lab.node("a1").namespace))
        loaded = stack.enter_context(load(PROBE, Settings(max_flows=16)))
        for hook in PROBE.netfilter_hooks():
            program = loaded.program_fd(hook.program)
            fd = attach_netfilter(program, hook.family, hook.hook, priority, "another")
            stack.callback(os.close, fd)
        yield


def priorities(site: Site) -> list[int]:
    found = []
    for path in sorted((site.pin_dir / "postrouting").glob("link_*")):
        fd = open_pin(path)
        info = netfilter_link_info(fd, str(path))
        os.close(fd)
        assert info is not None
        found.append(info.priority)
    return found


def test_an_agent_takes_no_foreign_program_at_its_priority_for_its_own(site: Site) -> None:
    server = site.server()
    site.agent("--probe", "postrouting").kill()
    assert priorities(site) == [50, 50]
    detach_behind_the_back(site, "postrouting")
    with foreign_program(site, 50):
        agent = site.agent("--probe", "postrouting")
        assert agent.stderr.count("another program has priority 50, which postrouting/ipv") == 2
        assert priorities(site) == [51, 51]
        sent = site.send(100)
        assert server.gets(site.key, sent), server.has(site.key)
        agent.kill()
        again = site.agent("--probe", "postrouting")
        sent = sent.plus(site.send(50))
        assert server.gets(site.key, sent), server.has(site.key)
        assert "another program" not in again.stderr
        assert priorities(site) == [51, 51]


def test_a_foreign_program_that_takes_the_priority_while_the_agent_runs_is_noticed(
    site: Site,
) -> None:
    site.pin_dir.mkdir(parents=True, exist_ok=True)
    node = site.lab.node("a1").namespace
    with namespaces.inside(node), install(PROBE, Settings(), site.pin_dir) as maps:
        stats = AgentStats("postrouting", 10.0)
        pins = PinnedAttachments(site.pin_dir / "postrouting")
        hooks = Hooks(AttachedProbe(PROBE, maps, pins), stats)

        async def a_minute() -> None:
            for _ in range(PACKETS_EVERY):
                await hooks.check()

        asyncio.run(a_minute())
        assert stats.reattached.total() == 0
        detach_behind_the_back(site, "postrouting")
        with foreign_program(site, 50):
            asyncio.run(a_minute())
            assert stats.reattached == {"ipv4": 1, "ipv6": 1}
            assert priorities(site) == [51, 51]
            asyncio.run(a_minute())
            assert stats.reattached.total() == 2


@pytest.mark.parametrize("hook", PROBE.netfilter_hooks())
def test_packets_over_loopback_tell_whether_a_hook_counts(site: Site, hook: NetfilterHook) -> None:
    node = site.lab.node("a1").namespace
    site.pin_dir.mkdir(parents=True, exist_ok=True)
    with namespaces.inside(node), install(PROBE, Settings(), site.pin_dir) as maps:
        before = read_totals(maps, 0).ignored.get("loopback", Counts())
        assert counts_loopback(hook, maps) is True
        assert counts_loopback(replace(hook, counts_all=False), maps) is None
        after = read_totals(maps, 0).ignored["loopback"]
        assert after.packets - before.packets == DATAGRAMS
        detach_behind_the_back(site, "postrouting")
        assert counts_loopback(hook, maps) is False
        site.lab.ip(["-n", node, "link", "set", "lo", "down"])
        try:
            assert counts_loopback(hook, maps) is None
        finally:
            site.lab.ip(["-n", node, "link", "set", "lo", "up"])
