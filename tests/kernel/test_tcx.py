"""The probe `tcx`: beside other programs, on devices that are added and removed, and pinned."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from chain import DROP, NEXT, PASS, tcx_program
from counting import Counted, counting, device

from kzn.agent.devices.table import Device
from kzn.agent.maps.spool import Spool
from kzn.agent.pins import directory, install
from kzn.agent.pins.attachments import LINK, PinnedAttachments, ProcessAttachments, follow, indices
from kzn.agent.select.takeover import install_or_replace
from kzn.errors import KernelError
from kzn.lab import namespaces, traffic
from kzn.lab.lab import Lab
from kzn.lab.plan import Node
from kzn.libbpf.links import tcx_link_info
from kzn.libbpf.pins import opened
from kzn.model.totals import Counts
from kzn.probes.settings import Settings
from kzn.probes.tcx import PROBE


@pytest.fixture
def pin_dir(lab: Lab, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A folder of its own for each test, on the lab's bpffs."""
    folder = lab.pin_dir(lab.node("a1")).parent / request.node.name.replace(".", "-")[:60]
    yield folder
    install.detach_all(folder)


@pytest.fixture
def late(lab: Lab) -> Iterator[Device]:
    """A second uplink: a veth with an unused peer, and a route to an address behind it."""
    node = lab.node("a1").namespace
    lab.ip(["-n", node, "link", "add", "late0", "type", "veth", "peer", "name", "late1"])
    for name in ("late0", "late1"):
        lab.ip(["-n", node, "link", "set", name, "up"])
    lab.ip(["-n", node, "addr", "add", "10.99.0.1/24", "dev", "late0"])
    lab.ip(["-n", node, "neigh", "add", "10.99.0.2", "lladdr", "02:00:00:00:00:09", "dev", "late0"])
    with namespaces.inside(node):
        yield device("late0")
    remove(lab, "late0")


def remove(lab: Lab, name: str) -> None:
    """Delete a device of node a1, if it is there."""
    lab.run(lab.node("a1").namespace, ["ip", "link", "del", name])


def send(lab: Lab, datagrams: int) -> Counts:
    """Datagrams of 100 bytes across the zones; what they weigh."""
    [sent] = traffic.udp(
        lab.pod("a1-p1"), lab.pod("b1-p1"), 4, datagrams=datagrams, size=100, mtu=1500
    )
    assert sent.wire is not None
    return sent.wire


def send_late(node: Node, datagrams: int) -> Counts:
    """Datagrams of 100 bytes out of the second uplink."""
    with (
        namespaces.inside(node.namespace),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        for _ in range(datagrams):
            sender.sendto(bytes(100), ("10.99.0.2", 9))
    return Counts(datagrams, datagrams * 128)


@pytest.mark.parametrize("verdict", [NEXT, PASS])
@pytest.mark.parametrize("order", ["before kzn", "after kzn"])
def test_a_cni_program_that_ends_the_chain_hides_no_packet(
    lab: Lab, verdict: int, order: str
) -> None:
    node = lab.node("a1")
    with namespaces.inside(node.namespace):
        index = socket.if_nametoindex(node.uplink)
        if order == "before kzn":
            with tcx_program(index, verdict), counting(node, probe=PROBE) as counted:
                sent = send(lab, 10)
                counted.drain()
        else:
            with counting(node, probe=PROBE) as counted, tcx_program(index, verdict):
                sent = send(lab, 10)
                counted.drain()
    assert counted.accounted == sent


def test_a_cni_program_after_kzn_still_decides(lab: Lab) -> None:
    node = lab.node("a1")
    a, b = lab.pod("a1-p1"), lab.pod("b1-p1")
    with namespaces.inside(node.namespace):
        index = socket.if_nametoindex(node.uplink)
    with namespaces.inside(a.namespace):
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    before = lab.uplink_counters(node)
    with sender, counting(node, probe=PROBE) as counted:
        with tcx_program(index, DROP):
            sender.sendto(bytes(100), (b.ipv4, 9))
        counted.drain()
    assert counted.seen == Counts(1, 128)
    assert lab.uplink_counters(node).since(before).tx_packets == 0


def test_a_new_uplink_is_attached_and_a_removed_one_forgotten(lab: Lab, late: Device) -> None:
    node = lab.node("a1")
    with namespaces.inside(node.namespace):
        uplink, held = device(node.uplink), ProcessAttachments()
        with install.unpinned(PROBE, Settings(), [uplink], held) as maps:
            counted = Counted(Spool(maps))
            send_late(node, 100)  # not attached yet
            follow(PROBE, held, [uplink, late])
            sent = send(lab, 5).plus(send_late(node, 7))
            assert counted.drain().accounted == sent
            follow(PROBE, held, [late])
            send(lab, 5)
            assert counted.drain().accounted == sent
            remove(lab, late.name)
            follow(PROBE, held, [uplink])
            assert indices(held, LINK) == {uplink.index}


def test_a_removed_device_does_not_prevent_the_others_from_being_attached(lab: Lab) -> None:
    node = lab.node("a1")
    gone = Device(4711, "gone0")
    with namespaces.inside(node.namespace):
        uplink, held = device(node.uplink), ProcessAttachments()
        with install.unpinned(PROBE, Settings(), (), held) as maps:
            with pytest.raises(KernelError, match=r"attach tcx/egress to gone0: E"):
                follow(PROBE, held, [gone, uplink])
            sent = send(lab, 5)
            assert Counted(Spool(maps)).drain().accounted == sent


def test_a_pinned_tcx_link_counts_without_a_process_and_is_adopted(
    lab: Lab, pin_dir: Path, late: Device
) -> None:
    node = lab.node("a1")
    with namespaces.inside(node.namespace), directory.locked(pin_dir):
        uplink = device(node.uplink)
        with install.install(PROBE, Settings(), pin_dir, [uplink]) as maps:
            epoch = maps.state().epoch
        sent = send(lab, 30)
        with install.install(PROBE, Settings(), pin_dir, [uplink, late]) as maps:
            assert maps.state().epoch == epoch
            sent = sent.plus(send_late(node, 7))
            assert Counted(Spool(maps)).drain().accounted == sent
        pinned = PinnedAttachments(pin_dir / "tcx")
        assert pinned.missing(PROBE) == []
        assert indices(pinned, LINK) == {uplink.index, late.index}
        with opened(pin_dir / "tcx" / f"link_{late.index}") as fd:
            info = tcx_link_info(fd, "late")
        assert info is not None
        assert info.index == late.index
        remove(lab, late.name)
        with install.install(PROBE, Settings(), pin_dir, [uplink]):
            assert indices(pinned, LINK) == {uplink.index}


def test_with_other_settings_the_programs_are_replaced_and_the_old_counts_kept(
    lab: Lab, pin_dir: Path
) -> None:
    with namespaces.inside(lab.node("a1").namespace), directory.locked(pin_dir):
        uplink = device(lab.node("a1").uplink)
        install.install(PROBE, Settings(), pin_dir, [uplink]).close()
        before = send(lab, 5)
        with install_or_replace(PROBE, Settings(ports="none"), pin_dir, [uplink])[0] as maps:
            after = send(lab, 7)
            assert Counted(Spool(maps)).drain().seen == after
        [old] = directory.retired(PROBE, pin_dir)
        found = install.open_set(old)
        assert found is not None
        with found as maps:
            assert Counted(Spool(maps)).drain().seen == before


def test_detach_removes_the_hook_from_every_device(lab: Lab, pin_dir: Path, late: Device) -> None:
    with namespaces.inside(lab.node("a1").namespace):
        with directory.locked(pin_dir):
            maps = install.install(
                PROBE, Settings(), pin_dir, [device(lab.node("a1").uplink), late]
            )
        with maps:
            assert install.detach_all(pin_dir) == [pin_dir / "tcx"]
            send(lab, 7)
            send_late(lab.node("a1"), 3)
            assert Counted(Spool(maps)).drain().seen == Counts()
    assert list(pin_dir.iterdir()) == []
