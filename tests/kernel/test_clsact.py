"""The probe `clsact`: beside other filters, on devices that are added and removed, and pinned."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from chain import PASS, program
from counting import Counted, counting, device

from kzn.agent.devices import tc_filters
from kzn.agent.devices.table import Device
from kzn.agent.maps.spool import Spool
from kzn.agent.pins import directory, install
from kzn.agent.pins.attachments import (
    FILTER,
    QDISC,
    PinnedAttachments,
    ProcessAttachments,
    follow,
    indices,
)
from kzn.agent.select.takeover import install_or_replace
from kzn.errors import KernelError
from kzn.lab import namespaces, traffic
from kzn.lab.lab import Lab
from kzn.libbpf.pins import pin
from kzn.model.totals import Counts
from kzn.probes.clsact import PROBE
from kzn.probes.settings import Settings

OTHERS = ["prio", "7", "bpf", "bytecode", "1,6 0 0 0", "classid", "1:1"]
"""A filter of another owner: classic BPF that matches nothing."""


@pytest.fixture
def pin_dir(lab: Lab, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A pin directory for each test on the lab's bpffs."""
    folder = lab.pin_dir(lab.node("a1")).parent / request.node.name.replace(".", "-")[:60]
    yield folder
    with namespaces.inside(lab.node("a1").namespace):
        install.detach_all(folder)


def tc(lab: Lab, *arguments: str) -> str:
    """The output of tc on node a1."""
    done = lab.run(lab.node("a1").namespace, ["tc", *arguments])
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def no_qdisc(lab: Lab) -> Iterator[None]:
    """No clsact qdisc before the test, and none after it."""
    uplink = lab.node("a1").uplink
    assert "clsact" not in tc(lab, "qdisc", "show", "dev", uplink)
    yield
    lab.run(lab.node("a1").namespace, ["tc", "qdisc", "del", "dev", uplink, "clsact"])


def send(lab: Lab, datagrams: int) -> Counts:
    """Send datagrams of 100 bytes across zones; their packets and bytes on the wire."""
    [sent] = traffic.udp(
        lab.pod("a1-p1"), lab.pod("b1-p1"), 4, datagrams=datagrams, size=100, mtu=1500
    )
    assert sent.wire is not None
    return sent.wire


@pytest.mark.usefixtures("no_qdisc")
def test_a_qdisc_that_kzn_created_is_removed_with_the_filter(lab: Lab) -> None:
    uplink = lab.node("a1").uplink
    with counting(lab.node("a1"), probe=PROBE):
        assert "clsact/egress" in tc(lab, "filter", "show", "dev", uplink, "egress")
    assert "clsact" not in tc(lab, "qdisc", "show", "dev", uplink)


@pytest.mark.usefixtures("no_qdisc")
def test_other_filters_and_their_qdisc_stay_unchanged(lab: Lab) -> None:
    uplink = lab.node("a1").uplink
    tc(lab, "qdisc", "add", "dev", uplink, "clsact")
    for where in ("egress", "ingress"):
        tc(lab, "filter", "add", "dev", uplink, where, *OTHERS)
    before = [tc(lab, "filter", "show", "dev", uplink, where) for where in ("egress", "ingress")]
    with counting(lab.node("a1"), probe=PROBE) as counted:
        sent = send(lab, 10)
        assert counted.drain().accounted == sent
    after = [tc(lab, "filter", "show", "dev", uplink, where) for where in ("egress", "ingress")]
    assert after == before


@pytest.mark.usefixtures("no_qdisc")
def test_a_qdisc_with_another_filter_is_not_removed(lab: Lab) -> None:
    uplink = lab.node("a1").uplink
    with counting(lab.node("a1"), probe=PROBE):
        tc(lab, "filter", "add", "dev", uplink, "ingress", *OTHERS)
    assert "pref 7 bpf" in tc(lab, "filter", "show", "dev", uplink, "ingress")
    assert "bpf" not in tc(lab, "filter", "show", "dev", uplink, "egress")


@pytest.mark.usefixtures("no_qdisc")
@pytest.mark.parametrize("priority", [1, 2])
def test_a_cni_program_that_ends_the_chain_hides_no_packet(lab: Lab, priority: int) -> None:
    """A filter added later runs first, so kzn's is before an existing one of priority 1."""
    node = lab.node("a1")
    with namespaces.inside(node.namespace), program(PASS) as cni:
        name = lab.directory / "bpf" / f"cni{priority}"
        pin(cni, name)
        tc(lab, "qdisc", "add", "dev", node.uplink, "clsact")
        words = ["filter", "add", "dev", node.uplink, "egress", "prio", str(priority), "handle"]
        tc(lab, *words, "1", "bpf", "da", "pinned", str(name))
        with counting(node, probe=PROBE) as counted:
            sent = send(lab, 10)
            assert counted.drain().accounted == sent
        assert "cni" in tc(lab, "filter", "show", "dev", node.uplink, "egress")
        name.unlink()


@pytest.mark.usefixtures("no_qdisc")
def test_the_next_priority_is_used_when_a_filter_of_another_kind_has_the_first(lab: Lab) -> None:
    uplink = lab.node("a1").uplink
    tc(lab, "qdisc", "add", "dev", uplink, "clsact")
    rule = [
        "prio",
        "1",
        "protocol",
        "ip",
        "u32",
        "match",
        "ip",
        "dst",
        "192.0.2.1",
        "flowid",
        "1:1",
    ]
    tc(lab, "filter", "add", "dev", uplink, "egress", *rule)
    with counting(lab.node("a1"), probe=PROBE) as counted:
        assert "pref 2 bpf" in tc(lab, "filter", "show", "dev", uplink, "egress")
        sent = send(lab, 10)
        assert counted.drain().accounted == sent


@pytest.mark.usefixtures("no_qdisc")
def test_a_filter_that_another_tool_removed_is_added_again(lab: Lab) -> None:
    node = lab.node("a1")
    with namespaces.inside(node.namespace):
        uplink, held = device(node.uplink), ProcessAttachments()
        with install.unpinned(PROBE, Settings(), [uplink], held) as maps:
            counted = Counted(Spool(maps))
            tc(lab, "filter", "del", "dev", node.uplink, "egress")
            send(lab, 5)
            follow(PROBE, held, [uplink])
            sent = send(lab, 7)
            assert counted.drain().accounted == sent
            follow(PROBE, held, [])
            send(lab, 5)
            assert counted.drain().accounted == sent
            assert indices(held, FILTER, QDISC) == set()


@pytest.mark.usefixtures("no_qdisc")
def test_a_removed_device_does_not_prevent_the_others_from_being_attached(lab: Lab) -> None:
    node = lab.node("a1")
    gone = Device(4711, "gone0")
    with namespaces.inside(node.namespace):
        uplink, held = device(node.uplink), ProcessAttachments()
        with install.unpinned(PROBE, Settings(), (), held) as maps:
            with pytest.raises(KernelError, match="attach clsact/egress to gone0: ENODEV"):
                follow(PROBE, held, [gone, uplink])
            sent = send(lab, 5)
            assert Counted(Spool(maps)).drain().accounted == sent
            assert indices(held, FILTER) == {uplink.index}


@pytest.mark.usefixtures("no_qdisc")
def test_a_pinned_clsact_filter_counts_without_a_process_until_detach(
    lab: Lab, pin_dir: Path
) -> None:
    node = lab.node("a1")
    with namespaces.inside(node.namespace):
        uplink = device(node.uplink)
        with directory.locked(pin_dir):
            install.install(PROBE, Settings(), pin_dir, [uplink]).close()
            sent = send(lab, 30)
            with install.install(PROBE, Settings(), pin_dir, [uplink]) as maps:
                assert Counted(Spool(maps)).drain().accounted == sent
            assert PinnedAttachments(pin_dir / "clsact").missing(PROBE) == []
            with install_or_replace(PROBE, Settings(ports="none"), pin_dir, [uplink])[0] as maps:
                sent = send(lab, 5)
                assert Counted(Spool(maps)).drain().accounted == sent
            shown = tc(lab, "filter", "show", "dev", node.uplink, "egress")
            assert shown.count("clsact/egress") == 1
        install.detach_all(pin_dir)
        assert list(pin_dir.iterdir()) == []
    assert "clsact" not in tc(lab, "qdisc", "show", "dev", node.uplink)


def test_a_filter_with_another_program_is_never_removed(lab: Lab) -> None:
    node = lab.node("a1")
    with namespaces.inside(node.namespace), program(PASS) as one, program(PASS) as other:
        index = socket.if_nametoindex(node.uplink)
        made = tc_filters.place(one, "theirs", [index]).made
        tc_filters.remove(other, [index], made)
        assert "theirs" in tc(lab, "filter", "show", "dev", node.uplink, "egress")
        tc_filters.remove(one, [index], made)
    assert "clsact" not in tc(lab, "qdisc", "show", "dev", node.uplink)
