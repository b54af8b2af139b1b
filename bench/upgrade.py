"""Time in which packets are not counted while an agent replaces the programs of a previous agent.

With each of kzn's probes, also while a batch is unacknowledged. The agent attaches the new programs
beside the old ones and switches from one set to the other by two writes. Measured with a stream of
datagrams; the baseline is the gap of an agent without pins, the time to load.
"""

import socket
import statistics
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

from lib.report import finish

from kzn.agent.devices.netlink_messages import RTM_DELQDISC
from kzn.agent.devices.table import read_devices
from kzn.agent.maps import buffers
from kzn.agent.maps.spool import Spool
from kzn.agent.pins import directory, install
from kzn.agent.select.takeover import install_or_replace
from kzn.lab import namespaces, traffic
from kzn.lab.lab import Lab
from kzn.lab.witness import WireKey
from kzn.model.totals import Counts
from kzn.probes import clsact, postrouting, tcx
from kzn.probes.attach import load
from kzn.probes.declaration import Probe
from kzn.probes.settings import Settings

PROBES = (postrouting.PROBE, tcx.PROBE, clsact.PROBE)
TURNS = 20
"""For each probe; every second one while a batch of the old programs is unacknowledged."""
RTMGRP_TC = 0x8
SIZE = 200


def stream(lab: Lab, stop: threading.Event, sent: list[int]) -> None:
    """Send datagrams across zones until ``stop``; their number is added to ``sent``."""
    a, b = lab.pod("a1-p1"), lab.pod("b1-p1")
    # A process that is just being forked holds a copy of our sockets, and so their port.
    for port in cycle(range(5301, 5401)):
        if stop.is_set():
            return
        traffic.udp(a, b, 4, datagrams=200, size=SIZE, mtu=1500, port=port)
        sent[0] += 200


def counted(folder: Path) -> int:
    """Datagrams in the flows of both buffers of a pinned set."""
    maps = install.open_set(folder)
    if maps is None:
        return 0
    with maps:
        flows = [buffers.read_flows(maps, number) for number in (0, 1)]
        return sum(
            int(found.packets[found.protocol == socket.IPPROTO_UDP].sum()) for found in flows
        )


def carried(lab: Lab) -> int:
    """Datagrams of the stream that have reached the wire."""
    key = WireKey(lab.pod("a1-p1").ipv4, lab.pod("b1-p1").ipv4, socket.IPPROTO_UDP)
    return lab.carried().get(key, Counts()).packets


def replace(lab: Lab, probe: Probe, pin_dir: Path, settings: Settings) -> None:
    """Replace the programs, as an agent does when it starts with other settings."""
    with namespaces.inside(lab.node("a1").namespace), directory.locked(pin_dir):
        devices = read_devices().outermost() if probe.kind.is_on_devices else ()
        maps, _ = install_or_replace(probe, settings, pin_dir, devices)
        maps.close()


@dataclass(frozen=True, slots=True)
class Turn:
    """One replacement: ``ms`` without a hook, computed from the datagrams not counted."""

    ms: float
    not_counted: int
    not_carried: int
    qdiscs_removed: int


def turn(lab: Lab, probe: Probe, pin_dir: Path, *, is_under_way: bool) -> Turn:
    """Replace programs under a stream; a batch of the old ones may be unacknowledged."""
    replace(lab, probe, pin_dir, Settings(ports="service"))
    stop, sent, before = threading.Event(), [0], carried(lab)
    sender = threading.Thread(target=stream, args=(lab, stop, sent))
    began = time.monotonic()
    sender.start()
    if is_under_way:
        maps = install.open_set(pin_dir / probe.name)
        if maps is not None:
            with maps:
                Spool(maps).cut()
    with removed_qdiscs(lab) as removed:
        replace(lab, probe, pin_dir, Settings(ports="none"))
        qdiscs = removed()
    stop.set()
    sender.join()
    seconds = time.monotonic() - began
    lost = sent[0] - sum(counted(path) for path in pin_dir.iterdir())
    not_carried = sent[0] - (carried(lab) - before)
    with namespaces.inside(lab.node("a1").namespace):
        install.detach_all(pin_dir)
    return Turn(1000 * seconds * lost / sent[0], lost, not_carried, qdiscs)


@contextmanager
def removed_qdiscs(lab: Lab) -> Iterator[Callable[[], int]]:
    """A function that returns how many qdiscs of node a1 were removed within the block."""
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


def loading() -> float:
    """Milliseconds to load the programs."""
    began = time.monotonic()
    with load(postrouting.PROBE, Settings()):
        return 1000 * (time.monotonic() - began)


def main() -> None:
    """Measure and report."""
    with Lab("kznbench") as lab:
        pin_dir = lab.pin_dir(lab.node("a1"))
        turns = {
            probe.name: [
                turn(lab, probe, pin_dir, is_under_way=bool(number % 2)) for number in range(TURNS)
            ]
            for probe in PROBES
        }
    gap = max(statistics.median(one.ms for one in rows) for rows in turns.values())
    baseline = statistics.median(loading() for _ in range(5))
    details = {
        "turns": TURNS,
        "packets_not_counted": {
            name: [t.not_counted for t in rows] for name, rows in turns.items()
        },
        "packets_not_carried": {
            name: sum(t.not_carried for t in rows) for name, rows in turns.items()
        },
        "qdiscs_removed": {
            name: sum(t.qdiscs_removed for t in rows) for name, rows in turns.items()
        },
    }
    finish("upgrade", gap, baseline, "ms not counted", details)


if __name__ == "__main__":
    main()
