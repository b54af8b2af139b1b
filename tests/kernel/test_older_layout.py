"""A set of the layout before rows is shipped by today's agent, then replaced; nothing is lost.

objects/postrouting-layout-3.o is kzn's own object as it was last built with KZN_LAYOUT 3: a hash
for each CPU, `seen` not packed. An agent of that time is imitated: it pins the maps and the links.
"""

import struct
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from counting import Counted, Row, rows
from test_takeover import Node, detach

from kzn.agent.maps.mapset import MAPS_OF_ROWS, MapSet
from kzn.agent.maps.spool import Spool
from kzn.agent.maps.structs import Phase, SpoolState, boottime_ns
from kzn.agent.pins import directory, install
from kzn.agent.pins.attachments import PinnedAttachments, attach_all
from kzn.lab import namespaces, traffic
from kzn.lab.lab import Lab
from kzn.libbpf.objects import BpfObject
from kzn.libbpf.pins import open_pin, pin
from kzn.model.totals import Counts
from kzn.probes.attach import MAPS, PROGRAM_TYPES
from kzn.probes.postrouting import PROBE
from kzn.probes.settings import Settings

OBJECT = Path(__file__).parent / "objects" / "postrouting-layout-3.o"
LAYOUT, EPOCH = 3, 77
OLD_MAPS = tuple(name for name in MAPS if name not in MAPS_OF_ROWS)
PORTS = range(5300, 5340)


@pytest.fixture
def node(lab: Lab) -> Iterator[Node]:
    """Node a1 without a pinned set."""
    made = Node(lab, lab.pin_dir(lab.node("a1")).parent / "older", PROBE)
    yield made
    detach(made)


def start_old(node: Node) -> None:
    """Pin and attach the old object, as its agent did."""
    folder = node.pin_dir / PROBE.name
    with ExitStack() as stack:
        stack.enter_context(namespaces.inside(node.lab.node("a1").namespace))
        stack.enter_context(directory.locked(node.pin_dir))
        old = stack.enter_context(BpfObject(OBJECT.read_bytes(), PROBE.name))
        old.set_program_type(*PROGRAM_TYPES[PROBE.kind.program_type])
        old.set_constant("settings", struct.pack("<QII", 0, 1, LAYOUT))
        for name in ("flows_0", "flows_1"):
            old.size(name, 1024)
        old.load()
        folder.mkdir(mode=0o700)
        for name in OLD_MAPS:
            pin(old.map_fd(name), folder / name)
        maps = open_old(folder, has_state=False)
        with maps:
            now = boottime_ns()
            maps.set_active(0)
            maps.write_state(
                SpoolState(Phase.IDLE, 1, EPOCH, 0, (now, now), (0, 0), bytes(32), layout=LAYOUT)
            )
        attach_all(PROBE, old, PinnedAttachments(folder))


def open_old(folder: Path, *, has_state: bool = True) -> MapSet:
    """The pinned maps of the old layout."""
    if has_state:
        found = install.open_set(folder)
        assert found is not None
        return found
    return MapSet({name: open_pin(folder / name) for name in OLD_MAPS})


def send(node: Node, datagrams: int) -> None:
    """Datagrams of both families to each of the ports."""
    a, b = node.lab.pod("a1-p1"), node.lab.pod("b1-p1")
    for port in PORTS:
        family = 4 if port % 2 else 6
        [sent] = traffic.udp(a, b, family, datagrams=datagrams, size=100, mtu=1500, port=port)
        assert sent.wire is not None
        node.sent = node.sent.plus(sent.wire)


def of_lab(found: list[Row]) -> Counts:
    """The sum of the test's own datagrams."""
    total = Counts()
    for row in found:
        total = total.plus(row.counts if row.key.protocol == 17 else Counts())
    return total


@pytest.mark.parametrize("is_under_way", [False, True])
def test_a_set_of_the_layout_before_rows_is_shipped_and_replaced(
    node: Node, is_under_way: bool
) -> None:
    start_old(node)
    send(node, 3)
    with open_old(node.pin_dir / PROBE.name) as old:
        assert not old.has_rows
        seen = old.seen(0)
        if is_under_way:  # its agent was killed before the batch was acknowledged
            first = Spool(old).cut()
            assert first.totals.seen == seen
            assert of_lab(rows(first)) == node.sent
    assert seen.bytes >= node.sent.bytes
    assert install.held_bytes(node.pin_dir / PROBE.name) == seen.bytes
    send(node, 4)
    maps, uncounted = node.start(Settings(max_flows=1024))
    send(node, 5)
    with maps:
        assert maps.has_rows
        assert maps.state().epoch != EPOCH
    [retired] = directory.retired(None, node.pin_dir)
    with open_old(retired) as old:
        assert (old.state().epoch, old.state().layout) == (EPOCH, LAYOUT)
        if is_under_way:
            again = Spool(old).cut()
            assert (again.sequence, again.totals) == (first.sequence, first.totals)
            assert of_lab(rows(again)) == of_lab(rows(first))
    assert uncounted == 0
    assert node.drained() == node.sent
    with open_old(retired) as old:  # and it is empty
        assert Counted(Spool(old)).drain().drain().seen == Counts()


def test_the_bytes_of_an_older_set_that_cannot_be_read_are_known_from_its_totals(
    node: Node,
) -> None:
    start_old(node)
    send(node, 2)
    folder = node.pin_dir / PROBE.name
    with open_old(folder) as old:
        seen = old.seen(0).bytes
    (folder / "endpoints").unlink()  # as in layout 2
    assert install.open_set(folder) is None
    assert install.held_bytes(folder) == seen >= node.sent.bytes
