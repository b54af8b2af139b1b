"""Throughput of iperf3 between two namespaces, with and without the hook, in windows of one stream.

The hook is attached and detached during the stream, four times a second, in the order with,
without, without, with, so that a drift of the machine's speed cancels out. ``loss_percent`` is of
the median pair of windows, with a 95 % confidence interval (sign test).
"""

import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from lib.report import finish

from kzn.agent.pins.attachments import ProcessAttachments, attach_all, release
from kzn.agent.pins.install import unpinned
from kzn.lab import namespaces
from kzn.lab.lab import require_tools
from kzn.lab.witness import run
from kzn.probes.attach import load
from kzn.probes.postrouting import PROBE
from kzn.probes.settings import Settings

PAIRS = 100
WINDOW = 0.25
SENDER, RECEIVER, DEVICE = "kznbench-a", "kznbench-b", "eth0"
ADDRESS = "10.9.0.2"


class Toggle(Protocol):
    """Attaches or detaches the hook."""

    def __call__(self, *, on: bool) -> None:
        """Attach the hook if ``on``, else detach it."""


@contextmanager
def stream() -> Iterator[int]:
    """An iperf3 stream from one namespace to another; the process id of the receiver."""
    with namespaces.private_names():
        for name in (SENDER, RECEIVER):
            run(["ip", "netns", "add", name])
        ends = ["netns", SENDER, "type", "veth", "peer", "name", DEVICE, "netns", RECEIVER]
        run(["ip", "link", "add", "name", DEVICE, *ends])
        for name, address in ((SENDER, "10.9.0.1/24"), (RECEIVER, f"{ADDRESS}/24")):
            run(["ip", "-n", name, "address", "add", address, "dev", DEVICE])
            run(["ip", "-n", name, "link", "set", DEVICE, "up"])
        with _iperf(RECEIVER, "-s", "-1") as server:
            _listens(server)
            with _iperf(SENDER, "-c", ADDRESS, "-t", "0"):
                yield server.pid
        for name in (SENDER, RECEIVER):
            run(["ip", "netns", "delete", name])


@contextmanager
def _iperf(namespace: str, *options: str) -> Iterator["subprocess.Popen[bytes]"]:
    command = ["ip", "netns", "exec", namespace, "iperf3", *options]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def _listens(server: "subprocess.Popen[bytes]") -> None:
    table = Path(f"/proc/{server.pid}/net/tcp6")
    while server.poll() is None and ":1451 " not in table.read_text():  # port 5201
        time.sleep(0.01)


def received(pid: int) -> int:
    """Bytes received by the receiver's device."""
    lines = Path(f"/proc/{pid}/net/dev").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.strip().startswith(f"{DEVICE}:"))


@contextmanager
def hook() -> Iterator[Toggle]:
    """A function that attaches the hook in the sender's namespace, or detaches it."""
    first, links = ProcessAttachments(), ProcessAttachments()
    with (
        unpinned(PROBE, Settings(), attachments=first) as maps,
        load(PROBE, Settings(), reuse=maps.fds()) as loaded,
    ):
        release(first)  # loading takes long, so the programs are loaded once

        def toggle(*, on: bool) -> None:
            release(links)
            if on:
                with namespaces.inside(SENDER):
                    attach_all(PROBE, loaded, links)
            maps.mark_drained()

        yield toggle
        release(links)


def gigabits(pid: int) -> float:
    """Gbit/s of one window."""
    first, began = received(pid), time.monotonic()
    time.sleep(WINDOW)
    return 8e-9 * (received(pid) - first) / (time.monotonic() - began)


def measure() -> tuple[list[float], list[float]]:
    """Gbit/s of all pairs of windows: with the hook, and without."""
    found: dict[bool, list[float]] = {True: [], False: []}
    with hook() as toggle, stream() as pid:
        gigabits(pid)
        for pair in range(PAIRS):
            for on in (True, False) if pair % 2 else (False, True):
                toggle(on=on)
                found[on].append(gigabits(pid))
    return found[True], found[False]


def losses(found: tuple[list[float], list[float]]) -> list[float]:
    """Loss of throughput with the hook in per cent, by pair, ascending."""
    return sorted(100 * (1 - a / b) for a, b in zip(*found, strict=True))


def interval(values: list[float]) -> tuple[float, float]:
    """The 95 % confidence interval of the median of sorted values, by the sign test."""
    reach = round(0.98 * len(values) ** 0.5)
    middle = len(values) // 2
    return values[max(0, middle - reach)], values[min(len(values) - 1, middle + reach)]


def main() -> None:
    """Measure and report."""
    require_tools({"iperf3": "iperf3", "ip": "iproute2"})
    found = measure()
    lost = losses(found)
    more = {
        "pairs": PAIRS,
        "loss_percent": round(statistics.median(lost), 2),
        "loss_interval": [round(value, 2) for value in interval(lost)],
    }
    with_hook, without = (statistics.median(values) for values in found)
    finish("throughput", with_hook, without, "Gbit/s", more)


if __name__ == "__main__":
    main()
