"""An agent that starts: signals during the start, a second agent, and damaged pins."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path

import pytest
import site_of_a1 as sites
from counting import Counted
from site_of_a1 import Process, Site

from kzn.agent.maps.mapset import MapSet
from kzn.agent.maps.spool import Spool
from kzn.agent.maps.structs import STATE_SIZE
from kzn.agent.pins import directory, install
from kzn.agent.pins.notes import Notes
from kzn.agent.select import takeover
from kzn.agent.select.takeover import install_or_replace
from kzn.lab import daemons, namespaces
from kzn.lab.daemons import wait_for
from kzn.lab.lab import Lab
from kzn.libbpf.maps import Map, create_array
from kzn.libbpf.pins import opened, pin
from kzn.model.totals import Counts
from kzn.probes.postrouting import PROBE
from kzn.probes.settings import Settings

AS_PID_1 = ["unshare", "--pid", "--fork", "--kill-child", sys.executable, "-m", "kzn.cli.main"]
"""A process without handlers does not get signals as PID 1, as in a container."""


_number = count(1)


@pytest.fixture
def site(lab: Lab) -> Iterator[Site]:
    """Node a1 and a place for a server; each test has a pin directory of its own."""
    with sites.made(lab, f"starting{next(_number)}") as site:
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


# Each signal with each step, each step with each kind of process, but not all of them.
@pytest.mark.parametrize(
    ("process_id", "number", "pin"),
    [
        ("ordinary", signal.SIGTERM, "postrouting+new"),
        ("PID 1", signal.SIGINT, "postrouting+new"),
        ("ordinary", signal.SIGINT, "tcx+new"),
        ("PID 1", signal.SIGTERM, "tcx+new"),
        ("ordinary", signal.SIGTERM, "tcx+new/program_egress"),
        ("PID 1", signal.SIGINT, "tcx+new/program_egress"),
    ],
    indirect=["process_id"],
)
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


@pytest.mark.parametrize("process_id", ["PID 1"], indirect=True)
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


@pytest.mark.parametrize("process_id", ["PID 1"], indirect=True)
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


def pin_a_map(path: Path) -> None:
    with create_array("foreign", 4) as made:
        pin(made.fd, path)


def damage_state(folder: Path, offset: int, value: int) -> None:
    with opened(folder / "spool") as fd:
        spool = Map(fd, "spool")
        raw = bytearray(spool.read(0, STATE_SIZE))
        raw[offset] = value
        spool.write(0, bytes(raw))


def damaged_phase(folder: Path) -> None:
    damage_state(folder, 4, 9)


def damaged_buffer(folder: Path) -> None:
    damage_state(folder, 8, 7)


def no_epoch(folder: Path) -> None:
    for offset in range(16, 24):
        damage_state(folder, offset, 0)


def missing_map(folder: Path) -> None:
    (folder / "flows_1").unlink()


def foreign_spool(folder: Path) -> None:
    (folder / "spool").unlink()
    pin_a_map(folder / "spool")


def program_as_a_map(folder: Path) -> None:
    (folder / "totals").unlink()
    (folder / "link_ipv4").rename(folder / "totals")


def start(site: Site) -> MapSet:
    """The maps of a probe that is put into the kernel of node a1 as an agent does it."""
    with namespaces.inside(site.lab.node("a1").namespace), directory.locked(site.pin_dir):
        takeover.finish_or_remove(site.pin_dir)
        takeover.retire_others(site.pin_dir, takeover.current_probe(site.pin_dir))
        return install_or_replace(PROBE, Settings(), site.pin_dir)[0]


def drained(maps: MapSet, site: Site) -> Counts:
    return Counted(Spool(maps)).drain().by_key().get(site.key, Counts())


@pytest.mark.parametrize(
    "damage",
    [damaged_phase, damaged_buffer, no_epoch, missing_map, foreign_spool, program_as_a_map],
)
def test_a_damaged_set_is_retired_for_a_new_one_that_counts(
    site: Site, damage: Callable[[Path], None]
) -> None:
    start(site).close()
    damage(site.pin_dir / "postrouting")
    with start(site) as maps:
        sent = site.send(40)
        assert drained(maps, site) == sent
    assert pins(site) == ["postrouting", "postrouting+retired+1"]
    assert install.open_set(site.pin_dir / "postrouting+retired+1") is None
    site.detach()
    assert pins(site) == []


def put_folder(path: Path) -> None:
    path.mkdir()


def put_loop(path: Path) -> None:
    path.symlink_to(path)


@pytest.mark.parametrize(
    ("name", "put"),
    [
        ("control", put_folder),
        ("fence", put_loop),
        ("devices", pin_a_map),
        ("device_places", pin_a_map),
        ("link_ipv4", put_folder),
        ("link_ipv6", put_loop),
        ("program_ipv4", put_loop),
        ("program_ipv6", pin_a_map),
    ],
)
def test_a_set_with_another_thing_in_the_place_of_a_pin_is_replaced_and_detached(
    site: Site, name: str, put: Callable[[Path], None]
) -> None:
    start(site).close()
    (site.pin_dir / "postrouting" / name).unlink()
    put(site.pin_dir / "postrouting" / name)
    with start(site) as maps:
        sent = site.send(40)
        assert drained(maps, site) == sent
        assert pins(site) == ["postrouting", "postrouting+retired+1"]
        (site.pin_dir / "postrouting" / "folder").mkdir()
        site.detach()
        site.send(20)
        assert drained(maps, site) == Counts()
    kept = [path for path in site.pin_dir.iterdir() if directory.FOREIGN not in path.name]
    assert kept == []
    assert not [path for path in site.pin_dir.rglob("link_*") if not path.is_dir()]


@pytest.mark.parametrize(
    ("damage", "probe"), [(damaged_phase, "auto"), (program_as_a_map, "postrouting")]
)
def test_a_damaged_set_is_replaced_and_its_loss_is_a_number(
    site: Site, damage: Callable[[Path], None], probe: str
) -> None:
    site.agent("--probe", "postrouting").kill()
    damage(site.pin_dir / "postrouting")
    command = ["--pin-dir", str(site.pin_dir)]
    assert site.kzn("inspect-map", *command).returncode == 1
    site.kzn("doctor", *command)
    server = site.server()
    agent = site.agent("--probe", probe)
    assert agent.logs("damaged or of an incompatible kzn version")
    assert wait_for(lambda: agent.metric("kzn_agent_lost_sets_total") == 1, sites.WAIT)
    assert server.gets(site.key, site.send(40))
    assert wait_for(lambda: len(pins(site)) == 1, sites.WAIT)
    agent.stop()
    assert site.kzn("detach", *command).returncode == 0
    assert pins(site) == []


def test_a_set_that_is_damaged_while_its_agent_runs_ends_it_and_the_next_one_replaces_it(
    site: Site,
) -> None:
    site.server()
    agent = site.agent("--probe", "postrouting")
    damaged_phase(site.pin_dir / "postrouting")
    assert agent.wait() == 1
    assert "kzn: the pinned state of this node's counters is damaged" in agent.stderr
    assert "hint: start the agent again" in agent.stderr
    assert wait_for(lambda: site.agent("--probe", "postrouting").logs("is damaged"), sites.WAIT)


def test_retired_sets_of_any_name_are_shipped_once(site: Site) -> None:
    site.agent("--probe", "postrouting").kill()
    sent = site.send(40)
    (site.pin_dir / "postrouting").rename(site.pin_dir / "postrouting+retired+old")
    (site.pin_dir / "postrouting+retired+").mkdir()
    pin_a_map(site.pin_dir / "postrouting+retired+file")
    server = site.server()
    agent = site.agent("--probe", "postrouting")
    sent = sent.plus(site.send(30))
    assert server.gets(site.key, sent), (server.has(site.key), sent)
    assert agent.logs("removed pins")
    kept = ["postrouting", "postrouting+retired+file"]
    assert wait_for(lambda: pins(site) == kept, sites.WAIT), pins(site)
    assert server.gets(site.key, sent.plus(site.send(20)))


def file_in_its_place(pin_dir: Path) -> None:
    pin_a_map(pin_dir / "postrouting")


def foreign_folder(pin_dir: Path) -> None:
    (pin_dir / "postrouting").mkdir()
    pin_a_map(pin_dir / "postrouting" / "cilium_ipcache")


def nested_folder(pin_dir: Path) -> None:
    (pin_dir / "postrouting+new" / "folder").mkdir(parents=True)


@pytest.mark.parametrize("foreign", [file_in_its_place, foreign_folder, nested_folder])
def test_what_is_not_a_set_is_put_aside_and_not_removed(
    site: Site, foreign: Callable[[Path], None]
) -> None:
    site.pin_dir.mkdir(parents=True)
    foreign(site.pin_dir)
    for _ in range(2):
        with start(site) as maps:
            sent = site.send(40)
            assert drained(maps, site) == sent
        for folder in directory.retired(None, site.pin_dir):  # as its agent does, in background
            assert install.open_set(folder) is None
            install.remove(folder)
        assert pins(site) == ["postrouting", "postrouting+foreign+1"]


def test_an_agent_says_what_it_has_put_aside(site: Site) -> None:
    site.pin_dir.mkdir(parents=True)
    foreign_folder(site.pin_dir)
    server = site.server()
    agent = site.agent("--probe", "auto")
    assert server.gets(site.key, site.send(40))
    assert agent.logs("renamed to postrouting+foreign+1")
    assert wait_for(lambda: pins(site) == ["postrouting", "postrouting+foreign+1"], sites.WAIT)
    agent.kill()
    again = site.agent("--probe", "auto")
    assert "foreign" not in again.stderr


def test_a_pin_of_a_link_that_is_not_one_does_not_stop_a_replacement(site: Site) -> None:
    site.agent("--probe", "postrouting").kill()
    link = site.pin_dir / "postrouting" / "link_ipv6"
    link.unlink()
    pin_a_map(link)
    server = site.server()
    agent = site.agent("--probe", "postrouting", "--ports", "none")
    assert agent.logs("is not a link")
    assert server.gets(site.key, site.send(40))


def refused(site: Site, status: int, *prefix: str) -> str:
    arguments = ["agent", "--node", "a1", "--server", "127.0.0.1:9", "--listen-http", "127.0.0.1:0"]
    done = site.kzn(*arguments, "--pin-dir", str(site.pin_dir), prefix=prefix)
    assert done.returncode == status, done.stderr
    assert "hint: " in done.stderr
    return done.stderr


@pytest.mark.parametrize("has_set", [False, True])
def test_a_read_only_bpffs_is_a_sentence_and_a_hint(site: Site, has_set: bool) -> None:
    mount = site.pin_dir.parent
    if has_set:
        site.agent("--probe", "postrouting").kill()
    else:
        site.pin_dir.mkdir(parents=True)
    script = f'mount --bind {mount} {mount}; mount -o remount,bind,ro {mount}\nexec "$@"'
    text = refused(site, 3, "unshare", "-m", "sh", "-ec", script, "sh")
    assert "the bpf file system is read-only" in text
    assert "remount,rw" in text


def test_a_pin_directory_that_is_a_file_is_a_sentence_and_a_hint(site: Site) -> None:
    pin_a_map(site.pin_dir)
    try:
        assert f"pin directory {site.pin_dir}" in refused(site, 1)
    finally:
        site.pin_dir.unlink()


def test_a_pin_directory_of_another_user_is_a_sentence_and_a_hint(site: Site) -> None:
    site.pin_dir.mkdir(parents=True)
    as_nobody = ("setpriv", "--reuid=65534", "--inh-caps=+bpf,+net_admin,+perfmon")
    text = refused(site, 3, *as_nobody, "--ambient-caps=+bpf,+net_admin,+perfmon", "--")
    assert "Permission denied" in text or "not on a bpf" in text, text
