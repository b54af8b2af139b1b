"""Programs are replaced by those with other options under traffic: nothing is lost or doubled."""

import socket
import struct
from collections.abc import Callable, Iterator

import pytest
import site_of_a1 as sites
from site_of_a1 import Process, Served, Site

from kzn.agent.devices.netlink_messages import RTM_DELQDISC
from kzn.lab import namespaces
from kzn.lab.daemons import wait_for
from kzn.lab.lab import Lab
from kzn.model.totals import Counts

UNCOUNTED = "kzn_agent_switch_uncounted_bytes_total "
RTMGRP_TC = 0x8
PORTS = ("none", "service")
probes = pytest.mark.parametrize("probe", ["postrouting", "tcx", "clsact"])


@pytest.fixture
def site(lab: Lab) -> Iterator[Site]:
    """Node a1 and a place for a server."""
    with sites.made(lab, "replacing") as site:
        yield site


@pytest.fixture
def removed_qdiscs(lab: Lab) -> Iterator[Callable[[], int]]:
    """How many qdiscs of node a1 were removed since the last call."""
    with (
        namespaces.inside(lab.node("a1").namespace),
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as notifications,
    ):
        notifications.bind((0, RTMGRP_TC))
        notifications.setblocking(False)

        def take() -> int:
            found = 0
            while True:
                try:
                    data = notifications.recv(1 << 16)
                except BlockingIOError:
                    return found
                found += struct.unpack_from("=IH", data)[1] == RTM_DELQDISC

        yield take


def stop(agent: Process) -> None:
    assert agent.has_loop()
    agent.stop()


def settled(server: Served, site: Site) -> Counts:
    """What the server has once the kernel holds nothing more."""
    assert wait_for(lambda: site.left(site.key) == Counts(), sites.WAIT)
    return server.has(site.key)


@probes
def test_other_options_under_traffic_lose_at_most_what_is_reported(
    site: Site,
    probe: str,
    removed_qdiscs: Callable[[], int],
    record_testsuite_property: Callable[[str, object], None],
) -> None:
    server, reported = site.server(), 0.0
    agent = site.agent("--probe", probe, "--ports", "service")
    removed_qdiscs()
    with site.busy() as sent:
        for ports in PORTS:
            least = sent().packets + 500
            assert wait_for(lambda least=least: sent().packets > least, sites.WAIT)
            stop(agent)
            agent = site.agent("--probe", probe, "--ports", ports)
            assert f"probe {probe} replaced its programs" in agent.stderr
            reported += agent.metric(UNCOUNTED)
    assert wait_for(lambda: [p.name for p in site.pin_dir.iterdir()] == [probe], sites.WAIT)
    assert removed_qdiscs() == 0
    stop(agent)
    lost = sent().bytes - settled(server, site).bytes
    words = f"{lost} of {sent().bytes} bytes in {len(PORTS)} times, {reported:.0f} reported"
    record_testsuite_property(f"lost while {probe} was replaced", words)
    assert 0 <= lost <= reported
    assert site.kzn("detach", "--pin-dir", str(site.pin_dir)).returncode == 0
    assert removed_qdiscs() == (probe == "clsact")


@probes
def test_a_batch_that_waits_for_a_server_is_kept_when_options_change(
    site: Site, probe: str
) -> None:
    agent = site.agent("--probe", probe)
    waiting = site.send(100)
    assert wait_for(lambda: "in flight" in states(site), sites.WAIT)
    agent.kill()
    with site.busy() as sent:
        assert wait_for(lambda: sent().packets > 500, sites.WAIT)
        agent = site.agent("--probe", probe, "--ports", "none")
        reported = agent.metric(UNCOUNTED)
        least = sent().packets + 500
        assert wait_for(lambda: sent().packets > least, sites.WAIT)
    server = site.server()
    assert wait_for(lambda: [p.name for p in site.pin_dir.iterdir()] == [probe], 2 * sites.WAIT)
    stop(agent)
    lost = waiting.plus(sent()).bytes - settled(server, site).bytes
    assert 0 <= lost <= reported


def states(site: Site) -> list[str]:
    return [buffer["state"] for one in site.inspect() for buffer in one["buffers"]]
