"""An agent that starts: signals during the start, a second agent, and damaged pins."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import site_of_a1 as sites
from site_of_a1 import Process, Site

from kzn.agent.pins.notes import Notes
from kzn.lab import daemons
from kzn.lab.daemons import wait_for
from kzn.lab.lab import Lab

AS_PID_1 = ["unshare", "--pid", "--fork", "--kill-child", sys.executable, "-m", "kzn.cli.main"]
"""A process without handlers does not get signals as PID 1, as in a container."""


@pytest.fixture
def site(lab: Lab) -> Iterator[Site]:
    """Node a1 and a place for a server."""
    with sites.made(lab, "starting") as site:
        yield site


@pytest.fixture(params=["ordinary", "PID 1"])
def process_id(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Process], int]:
    """How agents run; a function that returns the process to signal."""
    if request.param == "ordinary":
        return lambda agent: agent.daemon.process.pid
    monkeypatch.setattr(daemons, "KZN", AS_PID_1)

    def child(agent: Process) -> int:
        pid = agent.daemon.process.pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text())

    return child


def pins(site: Site) -> list[str]:
    return sorted(path.name for path in site.pin_dir.iterdir()) if site.pin_dir.exists() else []


def has_pinned(site: Site, name: str) -> bool:
    return (site.pin_dir / name).exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("pin", ["postrouting+new", "tcx+new", "tcx+new/program_egress"])
def test_a_signal_while_probes_are_on_trial_leaves_nothing_attached(
    site: Site, process_id: Callable[[Process], int], number: signal.Signals, pin: str
) -> None:
    agent = site.agent(ready=False)
    assert wait_for(partial(has_pinned, site, pin), sites.WAIT)
    os.kill(process_id(agent), number)
    assert agent.wait() == 0
    assert "stopped by a signal" in agent.stderr
    assert "selected probe" not in agent.stderr
    assert pins(site) == []


def test_a_signal_in_a_trial_after_a_suspicion_keeps_the_set_that_counted(
    site: Site, process_id: Callable[[Process], int]
) -> None:
    first = site.agent("--probe", "postrouting")
    first.daemon.process.send_signal(signal.SIGKILL)
    first.wait()
    before = site.send(20)
    assert Notes(site.pin_dir).suspect()
    agent = site.agent(ready=False)
    assert wait_for(partial(has_pinned, site, "tcx+new/program_egress"), sites.WAIT)
    os.kill(process_id(agent), signal.SIGTERM)
    assert agent.wait(5.0) == 0  # the trial takes ten seconds
    assert pins(site) == ["auto+distrusted", "postrouting"]
    after = site.send(30)
    assert site.left(site.key) == before.plus(after)


def test_a_signal_to_an_agent_that_prints_ends_its_trial(
    site: Site, process_id: Callable[[Process], int]
) -> None:
    agent = site.agent("--print", ready=False)
    assert agent.logs("attached postrouting/ipv4")
    os.kill(process_id(agent), signal.SIGTERM)
    assert agent.wait() == 0
    assert "stopped by a signal" in agent.stderr


def test_a_second_agent_with_other_pins_is_refused_and_nothing_is_counted_twice(
    site: Site,
) -> None:
    server = site.server()
    agent = site.agent("--probe", "postrouting")
    other = site.pin_dir.with_name("other")
    options = ("--pin-dir", str(other), "--listen-http", "127.0.0.1:9103", "--probe", "tcx")
    second = site.agent(*options, ready=False)
    assert second.wait() == 1
    pid = agent.daemon.process.pid
    assert f"kzn: another kzn agent (process {pid}) counts in this network" in second.stderr
    assert "kzn agent --print" in second.stderr
    assert list(other.iterdir()) == []
    sent = site.send(40)
    assert server.gets(site.key, sent)
    agent.kill()  # the kernel releases the name
    other.rmdir()
    last = site.agent("--probe", "postrouting")
    sent = sent.plus(site.send(30))
    assert server.gets(site.key, sent)
    last.stop()
