"""`kzn demo` as a user runs it: exact counts, and nothing left behind after any end."""

import json
import os
import re
import signal
import subprocess
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import pytest

from kzn.errors import KznError
from kzn.lab.daemons import KZN, Daemon, wait_for
from kzn.lab.lab import Lab
from kzn.lab.namespaces import NAMES

DEMO = [*KZN, "demo"]
ATTACHED = "hooks attached"
INGRESS = "ingress-k7x2p"
POD = "pod_cross_zone_network_traffic_bytes_total"
PAIR = "kzn_workload_pair_bytes_total"
WORKLOAD = "kzn_workload_traffic_bytes_total"


class Machine:
    """The processes, mounts and names that a demo could leave behind on this machine."""

    def __init__(self) -> None:
        self.mark = f"KZN_TEST_MARK={uuid.uuid4()}"
        self._mounts = Path("/proc/self/mounts").read_text()
        self._names = self._namespaces()

    @property
    def environment(self) -> dict[str, str]:
        """The environment of the demo and of its child processes."""
        name, value = self.mark.split("=")
        return os.environ | {name: value}

    def is_clean(self) -> bool:
        """Whether no process of the demo runs, and mounts and names are as before."""
        return (
            not self.processes()
            and Path("/proc/self/mounts").read_text() == self._mounts
            and self._namespaces() == self._names
        )

    def processes(self) -> list[str]:
        """Command lines of the demo's processes."""
        return [
            command
            for folder in Path("/proc").glob("[0-9]*")
            if self.mark.encode() in _read(folder / "environ")
            and (command := _read(folder / "cmdline").decode(errors="replace"))
        ]

    def _namespaces(self) -> set[str]:
        return {entry.name for entry in NAMES.iterdir()}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # the process has ended
        return b""


@pytest.fixture
def machine(lab: Lab) -> Machine:  # noqa: ARG001 - skips where no lab can be made
    """This machine before the demo."""
    return Machine()


def run_json(machine: Machine, *options: str) -> dict[str, Any]:
    done = subprocess.run(
        [*DEMO, "--json", *options],
        env=machine.environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout[:2000]
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("mtu", [1500, 9001])
def test_every_byte_of_the_demo_is_counted(machine: Machine, mtu: int) -> None:
    report = run_json(machine, "--seconds", "3", "--mtu", str(mtu))
    assert report["exact"] is True
    aws, gcp, azure = report["per_month"]
    assert aws["sender"] == aws["receiver"] == gcp["sender"] > azure["sender"] == 0
    pairs = report["pairs"]
    assert {row["protocol"] for row in pairs} == {"tcp", "udp", "icmp", "icmpv6"}
    assert {row["family"] for row in pairs} == {4, 6}
    assert {row["src_zone"] == row["dst_zone"] for row in pairs} == {True, False}
    for row in pairs:
        assert row["counted_bytes"] == row["wire_bytes"] > row["sent_bytes"], row
        assert row["counted_packets"] == row["wire_packets"] > 0, row
    assert {row["dst_zone"] for row in pairs} == {"zone-a", "zone-b", "zone-c", ""}
    crossed: dict[str, int] = {}
    for row in pairs:
        if row["dst_zone"] not in {row["src_zone"], ""}:
            crossed[row["src"]] = crossed.get(row["src"], 0) + row["wire_bytes"]
    text = report["prometheus"]
    assert len(crossed) > 12
    for pod, size in crossed.items():
        assert value_of(text, f'{POD}{{[^}}]*pod="{pod}"') == size
    # Both ends are known to conntrack: the end that asked is the cause.
    opened = dict(re.findall(rf"{PAIR}{{([^}}]*)}} (\d+)", text))
    by = {label(key, "initiator") for key in opened if label(key, "dst_workload") != "kzn-server"}
    assert by == {"source", "destination"}
    sent = sum(
        int(size) for key, size in opened.items() if label(key, "src_workload") == "postgres"
    )
    assert sent == sum(crossed[f"postgres-{n}"] for n in (0, 1))
    outside = sum(
        row["wire_bytes"] for row in pairs if (row["src"], row["dst_zone"]) == (INGRESS, "")
    )
    ingress = 'namespace="edge",workload_kind="DaemonSet",workload="ingress"'
    egress = f'{WORKLOAD}{{{ingress},direction="egress",[^}}]*"external"'
    assert value_of(text, egress) == outside > 0
    assert machine.is_clean(), machine.processes()


def label(labels: str, name: str) -> str:
    return re.findall(rf'\b{name}="([^"]*)"', labels)[0]


def value_of(text: str, series: str) -> float:
    [value] = re.findall(rf"^{series}[^}}]*}} (\S+)", text, re.MULTILINE)
    return float(value)


@contextmanager
def started(machine: Machine, *options: str, until: str) -> Iterator[tuple[Popen[str], str]]:
    """A demo that has printed a line with ``until``, and the line; killed after the block."""
    with Popen(
        [*DEMO, "--json", *options], env=machine.environment, stdout=PIPE, stderr=PIPE, text=True
    ) as demo:
        try:
            assert demo.stderr is not None
            line = next((line for line in demo.stderr if until in line), None)
            assert line is not None, "the demo ended early"
            yield demo, line
        finally:
            demo.kill()


@pytest.mark.parametrize("moment", ["lab:", ATTACHED])
@pytest.mark.parametrize(
    ("how", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_an_interrupted_demo_leaves_nothing_behind(
    machine: Machine, moment: str, how: signal.Signals, status: int
) -> None:
    with started(machine, "--seconds", "600", until=moment) as (demo, _):
        demo.send_signal(how)
        demo.communicate(timeout=300)
        assert demo.returncode == status
    assert wait_for(machine.is_clean, 20), machine.processes()


def test_demo_serve_is_reachable_from_this_machine_until_ctrl_c(machine: Machine) -> None:
    with started(machine, "--serve", until=": ") as (demo, line):
        assert line.startswith("page: http://127.0.0.1:"), "the address is the first line"
        assert demo.stderr is not None
        assert any(ATTACHED in line for line in demo.stderr)
        url, _, place = line.split()[1].partition("#")
        assert place == "/?range=1h"
        assert wait_for(lambda: "kzn_seen_bytes_total{" in get(f"{url}metrics"), 60)
        meta = json.loads(get(f"{url}api/v1/meta"))
        assert [one["list"] for one in meta["prices"]] == ["aws"]
        assert meta["zones"] == ["zone-a", "zone-b", "zone-c"]
        assert "7d" in meta["ranges"], "it keeps a history"
        demo.send_signal(signal.SIGINT)
        report, _ = demo.communicate(timeout=300)
    assert demo.returncode == 0
    assert json.loads(report)["exact"] is True
    assert machine.is_clean(), machine.processes()


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - the demo's own URL
        return str(answer.read().decode())


def test_without_privileges_the_demo_is_an_error_with_a_hint(machine: Machine) -> None:
    done = subprocess.run(
        ["setpriv", "--bounding-set=-all", *DEMO, "--json"],
        env=machine.environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 3
    assert "root" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_the_error_for_a_dead_daemon_has_its_last_log_lines(lab: Lab) -> None:
    daemon = Daemon(
        lab, "kzn server", lab.fabric.namespace, ["server", "--topology", "/no/such"], port=8080
    )
    with pytest.raises(KznError, match="kzn server ended with status 2") as caught:
        daemon.wait_ready("/readyz")
    assert "/no/such" in caught.value.hint
