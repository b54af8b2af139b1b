"""Time in which packets are not counted while an agent replaces the programs of a previous agent.

The kernel cannot update a netfilter link in place: the agent detaches the old one and then attaches
the new one. It loads the new programs before, so the gap is only the time between. Measured with a
stream of datagrams; the baseline is the gap of an agent without pins, the time to load.
"""

import statistics
import threading
import time
from pathlib import Path

from lib.report import finish

from kzn.agent.maps import buffers
from kzn.agent.pins import directory, install
from kzn.lab import namespaces, traffic
from kzn.lab.lab import Lab
from kzn.probes.attach import load
from kzn.probes.postrouting import PROBE
from kzn.probes.settings import Settings

TURNS = 10
SIZE = 200


def stream(lab: Lab, stop: threading.Event, sent: list[int]) -> None:
    """Send datagrams across zones until ``stop``; their number is added to ``sent``."""
    a, b = lab.pod("a1-p1"), lab.pod("b1-p1")
    while not stop.is_set():
        traffic.udp(a, b, 4, datagrams=200, size=SIZE, mtu=1500)
        sent[0] += 200


def counted(folder: Path) -> int:
    """Packets in both buffers of a pinned set."""
    maps = install.open_set(folder)
    if maps is None:
        return 0
    with maps:
        return sum(buffers.read_totals(maps, number).seen.packets for number in (0, 1))


def replace(lab: Lab, pin_dir: Path, settings: Settings) -> None:
    """Replace the programs, as an agent does when it starts with other settings."""
    with (
        namespaces.inside(lab.node("a1").namespace),
        directory.locked(pin_dir),
        install.install(PROBE, settings, pin_dir),
    ):
        pass


def turn(lab: Lab, pin_dir: Path) -> tuple[float, int]:
    """Milliseconds without a hook, computed from the packets not counted, and their number."""
    replace(lab, pin_dir, Settings(ports="service"))
    stop, sent = threading.Event(), [0]
    sender = threading.Thread(target=stream, args=(lab, stop, sent))
    began = time.monotonic()
    sender.start()
    replace(lab, pin_dir, Settings(ports="none"))
    stop.set()
    sender.join()
    seconds = time.monotonic() - began
    found = sum(counted(path) for path in pin_dir.iterdir())
    install.detach_all(pin_dir)
    lost = sent[0] - found
    return 1000 * seconds * lost / sent[0], lost


def loading() -> float:
    """Milliseconds to load the programs."""
    began = time.monotonic()
    with load(PROBE, Settings()):
        return 1000 * (time.monotonic() - began)


def main() -> None:
    """Measure and report."""
    with Lab("kznbench") as lab:
        pin_dir = lab.pin_dir(lab.node("a1"))
        turns = [turn(lab, pin_dir) for _ in range(TURNS)]
    gap = statistics.median(milliseconds for milliseconds, _ in turns)
    baseline = statistics.median(loading() for _ in range(TURNS))
    more = {"turns": TURNS, "packets_not_counted": [lost for _, lost in turns]}
    finish("upgrade", gap, baseline, "ms without a hook", more)


if __name__ == "__main__":
    main()
