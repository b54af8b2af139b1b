"""`kzn agent` as a process: no byte is lost or doubled when it, its server or its pins end."""

import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import site_of_a1 as sites
from site_of_a1 import Process, Served, Site

from kzn.agent.config import LAST_DRAIN_SECONDS
from kzn.agent.deliver.shipper import FAILOVER_SECONDS
from kzn.agent.pins import directory
from kzn.lab.daemons import wait_for
from kzn.lab.lab import Lab
from kzn.model.totals import Counts
from kzn.probes.postrouting import PROBE

FAILED_TRIES = "kzn_agent_delivery_failures_total"


@pytest.fixture
def site(lab: Lab) -> Iterator[Site]:
    """Node a1 and a place for a server."""
    with sites.made(lab, "agent") as site:
        yield site


def test_an_agent_killed_under_traffic_and_restarted_delivers_every_byte_once(site: Site) -> None:
    server = site.server()
    agent = site.agent()
    with site.busy() as sent:
        for _ in range(3):
            assert wait_for(partial(has_acked, agent, 2), sites.WAIT)
            agent.kill()
            agent = site.agent()
    assert sent().bytes > 0
    assert server.gets(site.key, sent()), (server.has(site.key), sent())


def has_acked(agent: Process, batches: int) -> bool:
    return agent.metric("kzn_agent_acked_total") >= batches


def test_no_byte_is_lost_while_the_server_is_away(site: Site) -> None:
    agent = site.agent()
    with site.busy() as sent:
        assert wait_for(lambda: agent.metric(FAILED_TRIES) >= 3, sites.WAIT)
    assert agent.metric("kzn_agent_batches_total") == 1
    assert "its counts stay in the kernel" in agent.stderr
    server = site.server()
    assert server.gets(site.key, sent()), (server.has(site.key), sent())
    assert agent.logs("again after")


def crossed(server: Served) -> float:
    """The cross-zone bytes that the server counted; here only one pod sends."""
    return server.metric("pod_cross_zone_network_traffic_bytes_total{")


def test_a_restarted_server_gets_the_unacknowledged_batches(site: Site, tmp_path: Path) -> None:
    state = ("--state", str(tmp_path / "state"))
    old = site.server(*state)
    site.agent()
    before = site.send(50)
    assert old.gets(site.key, before)
    assert wait_for(lambda: site.left(site.key) == Counts(), sites.WAIT)
    old.kill()
    after = site.send(70)
    new = site.server(*state)
    assert new.gets(site.key, after), (new.has(site.key), after)
    assert crossed(new) == before.bytes + after.bytes


def test_a_server_killed_under_traffic_counts_every_byte_once(site: Site, tmp_path: Path) -> None:
    state = ("--state", str(tmp_path / "state"))
    server = site.server(*state)
    site.agent()
    with site.busy() as sent:
        for _ in range(3):
            assert wait_for(partial(has_settled, server, site), sites.WAIT)
            server.kill()
            server = site.server(*state)
    assert wait_for(lambda: crossed(server) == sent().bytes, sites.WAIT), (crossed(server), sent())


def has_settled(server: Served, site: Site) -> bool:
    return server.has(site.key) != Counts()


def test_a_new_server_gets_the_batches_that_the_old_one_did_not_acknowledge(site: Site) -> None:
    old = site.server()
    site.agent()
    assert old.gets(site.key, site.send(50))
    assert wait_for(lambda: site.left(site.key) == Counts(), sites.WAIT)
    old.kill()
    after = site.send(70)
    new = site.server()  # without state it is another ledger under the same name
    # A batch that was under way when the old server died is kept for it that long.
    limit = FAILOVER_SECONDS + sites.WAIT
    assert wait_for(lambda: new.has(site.key) == after, limit), new.has(site.key)


def test_sigterm_delivers_a_last_batch(site: Site) -> None:
    server = site.server()
    agent = site.agent("--interval", "5m")
    sent = site.send(50)
    agent.stop()
    assert server.gets(site.key, sent)
    assert site.left(site.key) == Counts()


def test_sigterm_without_a_server_keeps_the_batch_for_the_next_agent(site: Site) -> None:
    agent = site.agent()
    sent = site.send(50)
    assert wait_for(lambda: agent.metric(FAILED_TRIES) >= 1, sites.WAIT)
    began = time.monotonic()
    agent.stop()
    assert time.monotonic() - began < LAST_DRAIN_SECONDS + 2
    assert "it stays in the kernel" in agent.stderr
    assert site.left(site.key) == sent
    sent = sent.plus(site.send(30))  # counted although no agent runs
    server = site.server()
    site.agent()
    assert server.gets(site.key, sent), (server.has(site.key), sent)


def test_a_second_signal_stops_an_agent_that_waits_for_a_dead_server(site: Site) -> None:
    agent = site.agent()
    assert wait_for(lambda: agent.metric(FAILED_TRIES) >= 1, sites.WAIT)
    began = time.monotonic()
    agent.daemon.process.send_signal(signal.SIGTERM)
    # Two kinds: two signals of one kind would be one while the first is pending.
    agent.daemon.process.send_signal(signal.SIGINT)
    assert agent.wait() == 0
    assert time.monotonic() - began < LAST_DRAIN_SECONDS - 1


def test_with_other_settings_the_old_maps_are_delivered_under_their_own_epoch(site: Site) -> None:
    old = site.agent()
    before = site.send(50)
    assert wait_for(lambda: old.metric(FAILED_TRIES) >= 1, sites.WAIT)
    old.kill()
    [was] = site.inspect()
    new = site.agent("--ports", "none")
    after = site.send(30)
    assert len(directory.retired(PROBE, site.pin_dir)) == 1
    assert wait_for(lambda: new.metric("kzn_agent_batches_total") >= 1, sites.WAIT)
    server = site.server()
    # Both epochs begin with batch 1: in one epoch the second would count as a duplicate.
    assert server.gets(site.key, before.plus(after)), (server.has(site.key), before, after)
    assert new.logs(f"removed pins {site.pin_dir}/postrouting+retired+1")
    assert [path.name for path in site.pin_dir.iterdir()] == ["postrouting"]
    [now] = site.inspect()
    assert now["epoch"] != was["epoch"]
    assert server.metric("kzn_server_duplicate_batches_total") == 0


def test_detach_is_refused_while_the_agent_runs_and_removes_all_afterwards(site: Site) -> None:
    site.server()
    agent = site.agent()
    pins = ("--pin-dir", str(site.pin_dir))
    refused = site.kzn("detach", *pins)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "another kzn agent uses pin directory" in refused.stderr
    assert "hint: stop it" in refused.stderr
    agent.stop()
    done = site.kzn("detach", *pins)
    assert (done.returncode, done.stdout) == (0, f"removed {site.pin_dir}/postrouting\n")
    assert list(site.pin_dir.iterdir()) == []
    assert "no pins of kzn" in site.kzn("detach", *pins).stdout


def test_an_agent_with_removed_pins_ends_with_an_error_and_a_hint(site: Site) -> None:
    site.server()
    agent = site.agent()
    (site.pin_dir / "postrouting" / "link_ipv6").unlink()
    assert agent.wait() == 1
    assert "is gone: postrouting no longer counts" in agent.stderr
    assert "hint: kzn detach or another process removed it" in agent.stderr


def test_inspect_map_does_not_disturb_the_agent(site: Site) -> None:
    server = site.server()
    site.agent()
    pins = ("--pin-dir", str(site.pin_dir))
    with site.busy() as sent:
        for _ in range(5):
            [seen] = site.inspect()
            assert len(seen["links"]) == 2
            table = site.kzn("inspect-map", *pins)
            assert table.returncode == 0
            assert table.stdout.startswith("postrouting: ipv4 at 50, ipv6 at 50; epoch ")
    assert server.gets(site.key, sent()), (server.has(site.key), sent())


def test_an_agent_that_prints_does_not_disturb_the_other_and_leaves_no_pins(site: Site) -> None:
    server = site.server()
    site.agent()
    pins = sorted(site.pin_dir.rglob("*"))
    sent = Counts()
    for _ in range(2):
        printer = site.agent("--print", "--interval", "5m", ready=False)
        # The same priority both times, since the first process took its links along.
        assert printer.logs("attached postrouting/ipv6 at priority 51")
        assert printer.has_loop()
        now = site.send(50)
        sent = sent.plus(now)
        printer.daemon.ask_to_stop()
        assert printer.wait() == 0
        text = printer.daemon.stdout.read().decode()
        assert text.startswith("batch 1: ")
        ends = f"{site.key.src} > {site.key.dst}:5300 udp"
        assert f"  {ends} {now.bytes} bytes {now.packets} packets\n" in text
    assert sorted(site.pin_dir.rglob("*")) == pins
    assert server.gets(site.key, sent), (server.has(site.key), sent)
