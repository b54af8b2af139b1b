"""Pinned map sets are adopted, completed, replaced and removed without losing a byte."""

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
from kzn.agent.pins.attachments import PinnedAttachments, attach_again
from kzn.agent.select.takeover import install_or_replace
from kzn.errors import KznError, UnsupportedError
from kzn.lab import namespaces, traffic
from kzn.lab.lab import Lab
from kzn.libbpf.links import detach, netfilter_link_info
from kzn.libbpf.pins import open_pin, opened
from kzn.model.totals import Counts
from kzn.probes.postrouting import PROBE
from kzn.probes.settings import Settings


@pytest.fixture
def pin_dir(lab: Lab, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A pin directory for each test on the lab's bpffs."""
    folder = lab.pin_dir(lab.node("a1")).parent / request.node.name.replace(".", "-")[:60]
    yield folder
    install.detach_all(folder)


def attach(lab: Lab, pin_dir: Path, settings: Settings | None = None) -> MapSet:
    """Install the probe in the namespace of node a1, as a starting agent does."""
    with namespaces.inside(lab.node("a1").namespace), directory.locked(pin_dir):
        maps, _ = install_or_replace(PROBE, settings or Settings(), pin_dir)
        return maps


def send(lab: Lab, datagrams: int) -> Counts:
    """Send datagrams of 100 bytes across zones; their packets and bytes on the wire."""
    a, b = lab.pod("a1-p1"), lab.pod("b1-p1")
    [sent] = traffic.udp(a, b, 4, datagrams=datagrams, size=100, mtu=1500)
    assert sent.wire is not None
    return sent.wire


def test_pinned_programs_count_without_a_process_and_a_restart_adopts_them(
    lab: Lab, pin_dir: Path
) -> None:
    with attach(lab, pin_dir) as maps:
        epoch = maps.state().epoch
    sent = send(lab, 30)
    with attach(lab, pin_dir) as maps:
        counted = Counted(Spool(maps)).drain()
        assert maps.state().epoch == epoch
    assert counted.seen_off_loopback == counted.accounted == sent


def test_a_batch_cut_by_a_killed_agent_is_cut_again_unchanged(lab: Lab, pin_dir: Path) -> None:
    with attach(lab, pin_dir) as maps:
        before = send(lab, 5)
        first = Spool(maps).cut()
    after = send(lab, 7)
    with attach(lab, pin_dir) as maps:
        again, rest = Counted(Spool(maps)).drain(), Counted(Spool(maps)).drain()
    assert again.batches[0].sequence == first.sequence
    assert (again.seen, rest.seen_off_loopback) == (before, after)


@pytest.mark.parametrize("flipped", [False, True])
def test_an_agent_killed_between_state_write_and_switch_loses_nothing(
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
    assert counted.seen_off_loopback == counted.accounted == before.plus(after)


def test_an_agent_killed_while_clearing_does_not_send_the_batch_again(
    lab: Lab, pin_dir: Path
) -> None:
    with attach(lab, pin_dir) as maps:
        send(lab, 5)
        Spool(maps).cut()
        maps.write_state(replace(maps.state(), phase=Phase.ACKNOWLEDGED))
    after = send(lab, 7)
    with attach(lab, pin_dir) as maps:
        counted = Counted(Spool(maps)).drain()
    assert counted.seen_off_loopback == after
    assert counted.batches[0].sequence == 2


def test_with_other_settings_the_set_is_replaced_and_the_old_counts_kept(
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


def test_a_missing_link_is_attached_again_to_the_same_maps(lab: Lab, pin_dir: Path) -> None:
    with attach(lab, pin_dir):
        before = send(lab, 5)
    link = pin_dir / "postrouting" / "link_ipv4"
    detach(open_pin(link), "link_ipv4")
    link.unlink()
    send(lab, 100)  # not counted
    with attach(lab, pin_dir) as maps:
        after = send(lab, 7)
        counted = Counted(Spool(maps)).drain()
    assert counted.seen_off_loopback == before.plus(after)


def test_a_detached_link_is_replaced_at_its_priority_and_a_living_one_is_kept(
    lab: Lab, pin_dir: Path
) -> None:
    folder = pin_dir / "postrouting"
    with attach(lab, pin_dir) as maps:
        with opened(folder / "link_ipv4") as link:
            before = netfilter_link_info(link, "before")
        with namespaces.inside(lab.node("a1").namespace):
            store = PinnedAttachments(folder)
            hook = PROBE.netfilter_hooks()[0]
            assert not attach_again(PROBE, hook, store)
            detach(open_pin(folder / "link_ipv4"), "link_ipv4")
            assert attach_again(PROBE, hook, store)
            assert not attach_again(PROBE, hook, store)
        with opened(folder / "link_ipv4") as link:
            after = netfilter_link_info(link, "after")
        assert before is not None
        assert after is not None
        assert (before.priority, before.program_id) == (after.priority, after.program_id)
        assert before.link_id != after.link_id
        sent = send(lab, 7)
        assert Counted(Spool(maps)).drain().seen == sent


def test_an_incomplete_set_is_created_anew(lab: Lab, pin_dir: Path) -> None:
    pin_dir.mkdir()
    (pin_dir / "postrouting+new").mkdir()
    with attach(lab, pin_dir) as maps:
        sent = send(lab, 5)
        assert Counted(Spool(maps)).drain().seen == sent
    assert [path.name for path in pin_dir.iterdir()] == ["postrouting"]


def test_detach_removes_all_pins_and_stops_counting(lab: Lab, pin_dir: Path) -> None:
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


def test_a_snapshot_does_not_disturb_the_agent(lab: Lab, pin_dir: Path) -> None:
    with attach(lab, pin_dir) as maps:
        sent = send(lab, 5)
        for _ in range(3):
            [seen] = snapshot.take(pin_dir)
            assert seen.buffers[0].totals.seen == sent
            assert seen.buffers[0].flows.bytes.sum() == sent.bytes
        assert [(link.family, link.priority) for link in seen.links] == [("ipv4", 50), ("ipv6", 50)]
        assert Counted(Spool(maps)).drain().seen == sent


def test_a_snapshot_has_the_buffer_in_flight_and_the_active_one(lab: Lab, pin_dir: Path) -> None:
    with attach(lab, pin_dir) as maps:
        first = send(lab, 5)
        Spool(maps).cut()
        second = send(lab, 7)
        [seen] = snapshot.take(pin_dir)
    assert [buffer.state for buffer in seen.buffers] == ["active", "in flight"]
    assert [buffer.totals.seen for buffer in seen.buffers] == [second, first]


def test_a_snapshot_without_pins_is_an_error(pin_dir: Path) -> None:
    with pytest.raises(KznError, match="no kzn probe is pinned"):
        snapshot.take(pin_dir)
