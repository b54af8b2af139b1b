"""Time in which packets are not counted while an agent replaces the programs of a previous agent.

With each of kzn's probes. The agent attaches the new programs beside the old ones and switches from
one set to the other by two writes. Measured with a stream of datagrams; the baseline is the gap of
an agent without pins, the time to load.
"""

import statistics
import threading
import time
from itertools import cycle
from pathlib import Path

from lib.report import finish

from kzn.agent.devices.table import read_devices
from kzn.agent.maps import buffers
from kzn.agent.pins import directory, install
from kzn.agent.select.takeover import install_or_replace
from kzn.lab import namespaces, traffic
from kzn.lab.lab import Lab
from kzn.probes import clsact, postrouting, tcx
from kzn.probes.attach import load
from kzn.probes.declaration import Probe
from kzn.probes.settings import Settings

PROBES = (postrouting.PROBE, tcx.PROBE, clsact.PROBE)
TURNS = 5
"""For each probe."""
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
    """Packets in both buffers of a pinned set."""
    maps = install.open_set(folder)
    if maps is None:
        return 0
    with maps:
        return sum(buffers.read_totals(maps, number).seen.packets for number in (0, 1))


def replace(lab: Lab, probe: Probe, pin_dir: Path, settings: Settings) -> None:
    """Replace the programs, as an agent does when it starts with other settings."""
    with namespaces.inside(lab.node("a1").namespace), directory.locked(pin_dir):
        devices = read_devices().outermost() if probe.kind.is_on_devices else ()
        maps, _ = install_or_replace(probe, settings, pin_dir, devices)
        maps.close()


def turn(lab: Lab, probe: Probe, pin_dir: Path) -> tuple[float, int]:
    """Milliseconds without a hook, computed from the packets not counted, and their number."""
    replace(lab, probe, pin_dir, Settings(ports="service"))
    stop, sent = threading.Event(), [0]
    sender = threading.Thread(target=stream, args=(lab, stop, sent))
    began = time.monotonic()
    sender.start()
    replace(lab, probe, pin_dir, Settings(ports="none"))
    stop.set()
    sender.join()
    seconds = time.monotonic() - began
    found = sum(counted(path) for path in pin_dir.iterdir())
    with namespaces.inside(lab.node("a1").namespace):
        install.detach_all(pin_dir)
    lost = sent[0] - found
    return 1000 * seconds * lost / sent[0], lost


def loading() -> float:
    """Milliseconds to load the programs."""
    began = time.monotonic()
    with load(postrouting.PROBE, Settings()):
        return 1000 * (time.monotonic() - began)


def main() -> None:
    """Measure and report."""
    with Lab("kznbench") as lab:
        pin_dir = lab.pin_dir(lab.node("a1"))
        turns = {p.name: [turn(lab, p, pin_dir) for _ in range(TURNS)] for p in PROBES}
    gap = max(statistics.median(ms for ms, _ in rows) for rows in turns.values())
    baseline = statistics.median(loading() for _ in range(TURNS))
    lost = {name: [packets for _, packets in rows] for name, rows in turns.items()}
    finish(
        "upgrade", gap, baseline, "ms not counted", {"turns": TURNS, "packets_not_counted": lost}
    )


if __name__ == "__main__":
    main()
