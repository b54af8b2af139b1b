"""One set replaces another: every packet is in the batches of one of them, also after a kill -9.

A child process replaces the set and kills itself before one of its steps; then the next agent
starts, as agents do. Between the steps there is traffic, and a batch of the old set may be
unacknowledged.
"""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from counting import Counted, device

from kzn.agent.devices.table import Device
from kzn.agent.maps.mapset import MapSet
from kzn.agent.maps.spool import Spool
from kzn.agent.maps.structs import STATE_SIZE, Phase
from kzn.agent.pins import attachments, directory, install
from kzn.agent.pins.attachments import TrialAttachments
from kzn.agent.select import takeover
from kzn.agent.select.takeover import MAX_RETIRED, drop_excess, install_or_replace
from kzn.errors import UnsupportedError
from kzn.lab import namespaces, traffic
from kzn.lab.lab import Lab
from kzn.libbpf.links import netfilter_link_info, tcx_link_info
from kzn.libbpf.maps import Map
from kzn.libbpf.pins import opened
from kzn.model.totals import Counts
from kzn.probes import clsact, postrouting, support, tcx
from kzn.probes.declaration import Probe
from kzn.probes.settings import Settings

OLD, NEW = Settings(max_flows=1024), Settings(max_flows=1024, ports="none")
PROBES = {"postrouting": postrouting.PROBE, "tcx": tcx.PROBE, "clsact": clsact.PROBE}
STEPS = {"postrouting": (3, 4, 6), "tcx": range(1, 11), "clsact": (3, 5)}
ALL_STEPS = range(1, 16)
NO_STEP = 1000
"""The replacement that nothing interrupts."""


@dataclass(slots=True)
class Node:
    """A pin directory of node a1, whose agents start and are killed."""

    lab: Lab
    pin_dir: Path
    probe: Probe
    sent: Counts = Counts()

    @property
    def devices(self) -> Sequence[Device]:
        if not self.probe.kind.is_on_devices:
            return ()
        return [device(self.lab.node("a1").uplink)]

    def start(self, settings: Settings) -> tuple[MapSet, int]:
        """As an agent does; the maps, and the bytes that it reports as not counted."""
        with namespaces.inside(self.lab.node("a1").namespace), directory.locked(self.pin_dir):
            before = takeover.finish_or_remove(self.pin_dir)
            takeover.retire_others(self.pin_dir, takeover.current_probe(self.pin_dir))
            maps, now = install_or_replace(self.probe, settings, self.pin_dir, self.devices)
        return maps, before + now

    def send(self, datagrams: int) -> None:
        a, b = self.lab.pod("a1-p1"), self.lab.pod("b1-p1")
        [sent] = traffic.udp(a, b, 4, datagrams=datagrams, size=100, mtu=1500)
        assert sent.wire is not None
        self.sent = self.sent.plus(sent.wire)

    def replace_until(self, step: int) -> bool:
        """Start an agent with other options in a child, killed before a step; whether it was."""
        child = os.fork()
        if child == 0:
            try:
                kill_before(step)
                self.start(NEW)
            except BaseException:  # noqa: BLE001 - a child must not run on as pytest
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert not os.WIFEXITED(status) or os.WEXITSTATUS(status) == 0
        return os.WIFSIGNALED(status)

    def drained(self) -> Counts:
        """The sum of all batches of all sets, each number once."""
        numbers: set[tuple[int, int]] = set()
        found = Counts()
        for folder in [*directory.retired(None, self.pin_dir), self.pin_dir / self.probe.name]:
            maps = install.open_set(folder)
            assert maps is not None
            with maps:
                counted = Counted(Spool(maps)).drain().drain().drain()
                for batch in counted.batches:
                    assert (maps.state().epoch, batch.sequence) not in numbers
                    numbers.add((maps.state().epoch, batch.sequence))
                of_lab = [row.counts for row in counted.rows if row.key.protocol == 17]
                for counts in of_lab:
                    found = found.plus(counts)
        return found


def kill_before(step: int) -> None:
    """Have this process kill itself before the given step, counted from the end of the trial."""
    left = [step]
    counts = [False]

    def stepping(work: Callable[..., Any]) -> Callable[..., Any]:
        def stepped(*args: Any, **kwargs: Any) -> Any:
            left[0] -= counts[0]
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return work(*args, **kwargs)

        return stepped

    def keep(trial: TrialAttachments) -> None:
        counts[0] = True
        kept(trial)

    kept = TrialAttachments.keep
    TrialAttachments.keep = keep  # type: ignore[method-assign]
    Map.write = stepping(Map.write)  # type: ignore[method-assign]
    Map.write_fd = stepping(Map.write_fd)  # type: ignore[method-assign]
    Path.rename = stepping(Path.rename)  # type: ignore[method-assign]
    Path.unlink = stepping(Path.unlink)  # type: ignore[method-assign]
    attachments.pin = stepping(attachments.pin)
    attachments.tc_filters.remove = stepping(attachments.tc_filters.remove)


@pytest.fixture(params=PROBES)
def node(lab: Lab, request: pytest.FixtureRequest) -> Iterator[Node]:
    """A node without a pinned set."""
    probe = PROBES[request.param]
    try:
        support.require(probe)
    except UnsupportedError as error:
        pytest.skip(f"{error}: {error.hint}")
    made = Node(lab, lab.pin_dir(lab.node("a1")).parent / f"takeover-{request.param}", probe)
    yield made
    detach(made)


def detach(node: Node) -> None:
    with namespaces.inside(node.lab.node("a1").namespace):
        install.detach_all(node.pin_dir)


@pytest.mark.parametrize("is_under_way", [False, True])
def test_a_replacement_killed_at_any_step_loses_nothing_and_counts_nothing_twice(
    node: Node, is_under_way: bool
) -> None:
    killed = []
    all_steps = is_under_way and node.probe.name == "postrouting"
    for step in (*(ALL_STEPS if all_steps else STEPS[node.probe.name]), NO_STEP):
        node.sent = Counts()
        maps, _ = node.start(OLD)
        node.send(5)
        with maps:
            first = Spool(maps).cut() if is_under_way else None
            epoch = maps.state().epoch
        node.send(7)
        killed.append(node.replace_until(step))
        node.send(11)
        maps, reported = node.start(NEW)
        node.send(13)
        with maps:
            assert maps.state().epoch != epoch
            assert maps.state().phase is not Phase.CUT
        [retired] = directory.retired(None, node.pin_dir)
        old = install.open_set(retired)
        assert old is not None
        with old:
            assert old.state().epoch == epoch
            if first is not None:
                assert Spool(old).cut().sequence == first.sequence
                assert Spool(old).cut().totals == first.totals
        lost = node.sent.bytes - node.drained().bytes
        assert 0 <= lost <= reported, (step, lost, reported)
        # Only between the two writes that divide the traffic is there a moment without a set.
        assert lost == 0 or killed[-1]
        detach(node)
    assert killed == [*[True] * (len(killed) - 1), False]


def test_a_trial_ends_with_its_process(node: Node) -> None:
    maps, _ = node.start(OLD)
    maps.close()
    child = os.fork()
    if child == 0:
        with namespaces.inside(node.lab.node("a1").namespace):
            trial = install.on_trial(node.probe, NEW, node.pin_dir, node.devices)
        os._exit(len(trial.maps.fds()) == 0)
    assert os.waitpid(child, 0)[1] == 0
    folder = directory.new(node.pin_dir / node.probe.name)
    assert list(folder.glob("link_*")) == []
    trial_maps = install.open_set(folder)
    assert trial_maps is not None
    with trial_maps:
        node.send(20)
        # A filter has no descriptor: it stays until the next start, which finds its mark.
        stays = node.probe.kind.attachment == "tc filter"
        assert (trial_maps.seen(0).packets >= 20) == stays
    maps, _ = node.start(OLD)
    with maps:
        assert not folder.exists()
        assert Counted(Spool(maps)).drain().seen.packets >= 20
        assert maps.state().sequence == 1


def test_kzn_detach_removes_what_a_killed_trial_left(node: Node) -> None:
    child = os.fork()
    if child == 0:
        with namespaces.inside(node.lab.node("a1").namespace):
            install.on_trial(node.probe, NEW, node.pin_dir, node.devices)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    detach(node)
    assert list(node.pin_dir.iterdir()) == []
    command = ["tc", "filter", "show", "dev", node.lab.node("a1").uplink, "egress"]
    assert node.lab.run(node.lab.node("a1").namespace, command).stdout == ""


def test_a_trial_that_ends_leaves_nothing(node: Node) -> None:
    node.pin_dir.mkdir(parents=True, exist_ok=True)
    with namespaces.inside(node.lab.node("a1").namespace):
        install.on_trial(node.probe, NEW, node.pin_dir, node.devices).end()
    assert list(node.pin_dir.iterdir()) == []


def test_the_links_of_a_set_that_counts_are_pinned(node: Node) -> None:
    for settings in (OLD, NEW):
        maps, _ = node.start(settings)
        maps.close()
    for path in (node.pin_dir / node.probe.name).glob("link_*"):
        with opened(path) as fd:
            assert netfilter_link_info(fd, path.name) or tcx_link_info(fd, path.name)


@pytest.mark.parametrize("node", ["tcx"], indirect=True)
def test_more_retired_sets_than_the_limit_are_a_number_of_sets_and_bytes(node: Node) -> None:
    sizes = []
    for number in range(MAX_RETIRED + 3):
        node.sent = Counts()
        maps, _ = node.start((OLD, NEW)[number % 2])
        maps.close()
        node.send(number + 1)
        sizes.append(node.sent.bytes)
    lost = drop_excess(node.pin_dir)
    assert (lost.sets, lost.bytes) == (2, sum(sizes[:2]))
    assert len(directory.retired(None, node.pin_dir)) == MAX_RETIRED
    assert drop_excess(node.pin_dir) == takeover.Lost()


def test_the_bytes_of_a_damaged_set_are_known_from_its_totals(node: Node) -> None:
    maps, _ = node.start(OLD)
    node.send(9)
    with maps:
        seen = maps.seen(0).bytes
    assert seen >= node.sent.bytes
    folder = node.pin_dir / node.probe.name
    with opened(folder / "spool") as fd:
        Map(fd, "spool").write(0, b"\xff" * STATE_SIZE)
    assert install.open_set(folder) is None
    assert install.held_bytes(folder) == seen
    (folder / "totals").unlink()
    assert install.held_bytes(folder) == 0


@pytest.mark.parametrize("node", ["postrouting"], indirect=True)
def test_programs_of_another_build_get_maps_of_their_own(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the same layout and options: only their hash of rows, say, is another one."""
    built = tmp_path / "otherbuild"
    built.mkdir()
    (built / "__init__.py").touch()
    (built / node.probe.resource).parent.mkdir()
    (built / node.probe.resource).write_bytes(node.probe.image() + bytes(8))
    monkeypatch.syspath_prepend(tmp_path)
    other = replace(node, probe=replace(node.probe, package=built.name))
    epochs, maps = [], other.start(OLD)[0]
    node.send(3)
    for started in (other, other, node, node, other):  # an agent ends, the next one starts
        epochs.append(maps.state().epoch)
        maps.close()
        maps, uncounted = started.start(OLD)
        assert uncounted == 0
        node.send(4)
    epochs.append(maps.state().epoch)
    maps.close()
    assert [epochs.index(epoch) for epoch in epochs] == [0, 0, 0, 3, 3, 5]
    assert node.drained() == node.sent


def test_a_set_that_stopped_for_one_that_is_gone_counts_again(node: Node) -> None:
    maps, _ = node.start(OLD)
    with maps:
        maps.stop()
        node.send(3)
        assert maps.seen(0) == Counts()
    maps, _ = node.start(OLD)
    node.sent = Counts()
    node.send(5)
    with maps:
        assert not maps.is_stopped
    assert node.drained() == node.sent
