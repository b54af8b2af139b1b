"""`kzn agent` as a process with a probe on devices: new uplinks, restarts, detach."""

from collections.abc import Iterator
from functools import partial

import pytest
import site_of_a1 as sites
from site_of_a1 import Process, Site

from kzn.lab.daemons import wait_for
from kzn.lab.lab import Lab

HOOK = 'kzn_agent_hook_attached{hook="%s",probe="%s"}'
probes = pytest.mark.parametrize("probe", ["tcx", "clsact"])


@pytest.fixture
def site(lab: Lab) -> Iterator[Site]:
    """Node a1 and a place for a server."""
    with sites.made(lab, "egress") as site:
        yield site


@probes
def test_an_agent_killed_under_traffic_and_restarted_delivers_every_byte_once(
    site: Site, probe: str
) -> None:
    server = site.server()
    agent = site.agent("--probe", probe)
    with site.busy() as sent:
        for _ in range(2):
            assert wait_for(partial(has_acked, agent), sites.WAIT)
            agent.kill()
            agent = site.agent("--probe", probe)
    assert sent().bytes > 0
    assert server.gets(site.key, sent()), (server.has(site.key), sent())


def has_acked(agent: Process) -> bool:
    return agent.metric("kzn_agent_acked_total") >= 2


@probes
def test_an_uplink_added_while_the_agent_runs_is_attached(site: Site, lab: Lab, probe: str) -> None:
    node, fabric = lab.node("a1").namespace, lab.fabric.namespace
    site.server()
    agent = site.agent("--probe", probe)
    try:
        lab.configure(
            node,
            [
                f"link add late0 type veth peer name late1 netns {fabric}",
                "link set late0 up",
                "addr add 10.99.0.1/24 dev late0",
                "route add 10.98.0.0/24 via 10.99.0.2 dev late0",
            ],
        )
        assert agent.logs(f"attached {probe}/egress to late0")
        assert wait_for(lambda: agent.metric(HOOK % ("late0", probe)) == 1, sites.WAIT)
    finally:
        lab.ip(["-n", node, "link", "del", "late0"])
    assert wait_for(lambda: agent.metric(HOOK % ("late0", probe)) == 0, sites.WAIT)
    assert agent.metric(HOOK % (lab.node("a1").uplink, probe)) == 1


@probes
def test_detach_removes_all_hooks_from_devices(site: Site, lab: Lab, probe: str) -> None:
    site.server()
    agent = site.agent("--probe", probe)
    assert agent.has_loop()
    agent.stop()
    assert site.kzn("detach", "--pin-dir", str(site.pin_dir)).returncode == 0
    shown = lab.run(
        lab.node("a1").namespace, ["tc", "filter", "show", "dev", lab.node("a1").uplink, "egress"]
    )
    assert shown.stdout == ""
