"""Pinned sets: adopted, finished, replaced and removed, and never a byte lost on the way."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from counting import Counted

from kzn.agent.inspect import snapshot
from kzn.agent.maps.mapset import MapSet
from kzn.agent.maps.spool import Spool
from kzn.agent.maps.structs import Phase
from kzn.agent.pins import directory, install
from kzn.errors import KznError, UnsupportedError
from kzn.lab import namespaces, traffic
from kzn.lab.lab import Lab
from kzn.libbpf.links import detach
from kzn.libbpf.pins import open_pin
from kzn.model.totals import Counts
from kzn.probes.postrouting import PROBE
from kzn.probes.settings import Settings


@pytest.fixture
def pin_dir(lab: Lab, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A folder of its own for each test, on the lab's bpffs."""
    folder = lab.pin_dir(lab.node("a1")).parent / request.node.name.replace(".", "-")[:60]
    yield folder
    install.detach_all(folder)


def attach(lab: Lab, pin_dir: Path, settings: Settings | None = None) -> MapSet:
    """What an agent does when it starts, in the namespace of node a1."""
    with namespaces.inside(lab.node("a1").namespace), directory.locked(pin_dir):
        return install.install(PROBE, settings or Settings(), pin_dir)


def send(lab: Lab, datagrams: int) -> Counts:
    """Datagrams of 100 bytes across the zones; what they weigh."""
    a, b = lab.pod("a1-p1"), lab.pod("b1-p1")
    [sent] = traffic.udp(a, b, 4, datagrams=datagrams, size=100, mtu=1500)
    assert sent.wire is not None
    return sent.wire


def test_counting_goes_on_without_any_process_and_a_restart_adopts_it(
    lab: Lab, pin_dir: Path
) -> None:
    with attach(lab, pin_dir) as maps:
        epoch = maps.state().epoch
    sent = send(lab, 30)
    with attach(lab, pin_dir) as maps:
        counted = Counted(Spool(maps)).drain()
        assert maps.state().epoch == epoch
    assert counted.seen == counted.accounted == sent


def test_a_batch_cut_by_a_killed_agent_is_cut_again_the_same(lab: Lab, pin_dir: Path) -> None:
    with attach(lab, pin_dir) as maps:
        before = send(lab, 5)
        first = Spool(maps).cut()
    after = send(lab, 7)
    with attach(lab, pin_dir) as maps:
        again, rest = Counted(Spool(maps)).drain(), Counted(Spool(maps)).drain()
    assert again.batches[0].sequence == first.sequence
    assert (again.seen, rest.seen) == (before, after)


@pytest.mark.parametrize("flipped", [False, True])
def test_killed_between_writing_down_and_flipping_nothing_is_lost(
    lab: Lab, pin_dir: Path, flipped: bool
) -> None:
    with attach(lab, pin_dir) as maps:
        before = send(lab, 5)
        maps.write_state(replace(maps.state(), phase=Phase.CUT, buffer=0, sequence=1))
        if flipped:
            maps.set_active(1)
    after = send(lab, 7)
    with attach(lab, pin_dir) as maps:
        spool = Spool(maps)
        counted = Counted(spool).drain().drain()
    assert [batch.sequence for batch in counted.batches] == [1, 2]
    assert counted.seen == counted.accounted == before.plus(after)


def test_killed_while_clearing_an_acknowledged_batch_is_not_sent_again(
    lab: Lab, pin_dir: Path
) -> None:
    with attach(lab, pin_dir) as maps:
        send(lab, 5)
        Spool(maps).cut()
        maps.write_state(replace(maps.state(), phase=Phase.ACKNOWLEDGED))
    after = send(lab, 7)
    with attach(lab, pin_dir) as maps:
        counted = Counted(Spool(maps)).drain()
    assert counted.seen == after
    assert counted.batches[0].sequence == 2


def test_other_settings_replace_the_set_and_the_old_one_still_holds_its_bytes(
    lab: Lab, pin_dir: Path
) -> None:
    with attach(lab, pin_dir):
        before = send(lab, 5)
    with attach(lab, pin_dir, Settings(ports="none")) as maps:
        after = send(lab, 7)
        new = Counted(Spool(maps)).drain()
    [old] = directory.retired(PROBE, pin_dir)
    assert directory.links(old) == []
    found = install.open_set(old)
    assert found is not None
    with found as maps:
        left = Counted(Spool(maps)).drain()
    assert (left.seen, new.seen) == (before, after)


def test_a_link_that_is_missing_is_attached_again_to_the_same_maps(lab: Lab, pin_dir: Path) -> None:
    with attach(lab, pin_dir):
        before = send(lab, 5)
    link = pin_dir / "postrouting" / "link_ipv4"
    detach(open_pin(link), "link_ipv4")
    link.unlink()
    send(lab, 100)  # nobody counts these
    with attach(lab, pin_dir) as maps:
        after = send(lab, 7)
        counted = Counted(Spool(maps)).drain()
    assert counted.seen == before.plus(after)


def test_a_set_that_was_being_made_when_its_maker_died_is_made_anew(
    lab: Lab, pin_dir: Path
) -> None:
    pin_dir.mkdir()
    (pin_dir / "postrouting+new").mkdir()
    with attach(lab, pin_dir) as maps:
        sent = send(lab, 5)
        assert Counted(Spool(maps)).drain().seen == sent
    assert [path.name for path in pin_dir.iterdir()] == ["postrouting"]


def test_detach_removes_all_and_nothing_is_counted_any_more(lab: Lab, pin_dir: Path) -> None:
    with attach(lab, pin_dir) as maps:
        sent = send(lab, 5)
        assert install.detach_all(pin_dir) == [pin_dir / "postrouting"]
        send(lab, 7)
        assert Counted(Spool(maps)).drain().seen == sent
    assert list(pin_dir.iterdir()) == []


def test_two_agents_cannot_share_a_pin_directory(pin_dir: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from kzn.agent.pins.directory import locked\n"
        "with locked(Path(sys.argv[1])): pass"
    )
    with directory.locked(pin_dir):
        done = subprocess.run(
            [sys.executable, "-c", script, str(pin_dir)],
            capture_output=True,
            text=True,
            check=False,
        )
    assert "another kzn agent uses pin directory" in done.stderr


def test_a_pin_directory_on_another_file_system_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(UnsupportedError, match="is not on a bpf file system") as raised,
        directory.locked(tmp_path / "pins"),
    ):
        pass
    assert "mount -t bpf" in raised.value.hint


def test_a_look_takes_nothing_away(lab: Lab, pin_dir: Path) -> None:
    with attach(lab, pin_dir) as maps:
        sent = send(lab, 5)
        for _ in range(3):
            [seen] = snapshot.take(pin_dir)
            assert seen.buffers[0].totals.seen == sent
            assert seen.buffers[0].flows.bytes.sum() == sent.bytes
        assert [(link.family, link.priority) for link in seen.links] == [("ipv4", 50), ("ipv6", 50)]
        assert Counted(Spool(maps)).drain().seen == sent


def test_a_look_shows_what_is_in_flight_beside_what_is_active(lab: Lab, pin_dir: Path) -> None:
    with attach(lab, pin_dir) as maps:
        first = send(lab, 5)
        Spool(maps).cut()
        second = send(lab, 7)
        [seen] = snapshot.take(pin_dir)
    assert [buffer.state for buffer in seen.buffers] == ["active", "in flight"]
    assert [buffer.totals.seen for buffer in seen.buffers] == [second, first]


def test_a_look_where_nothing_is_pinned_says_so(pin_dir: Path) -> None:
    with pytest.raises(KznError, match="no kzn probe is pinned"):
        snapshot.take(pin_dir)
