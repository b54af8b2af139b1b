"""Findings about capabilities, pins and memory, from files that stand for /proc and /sys."""

from contextlib import nullcontext
from pathlib import Path

import pytest

from kzn.agent.doctor import process
from kzn.agent.doctor.finding import Host, State
from kzn.errors import KernelError
from kzn.probes.postrouting import PROBE
from kzn.probes.settings import MAX_FLOWS

MIB = 1 << 20


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path / "proc", tmp_path / "sys")


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def status(host: Host, effective: int) -> None:
    put(host.proc / "self/status", f"Name:\tx\nCapEff:\t{effective:016x}\n")


def test_missing_capabilities_are_named_and_nothing_is_loaded(host: Host) -> None:
    status(host, 1 << 12)
    [finding] = process.capabilities(host, PROBE)
    assert finding.state == "fail"
    assert "lacks CAP_PERFMON, CAP_BPF" in finding.message
    [load] = process.trial_load(host, PROBE)
    assert (load.state, load.hint) == ("unknown", "run as root")


def test_a_process_with_all_capabilities_is_ok(host: Host) -> None:
    status(host, (1 << 41) - 1)
    [finding] = process.capabilities(host, PROBE)
    assert finding.state == "ok"


def test_another_file_system_cannot_take_pins(tmp_path: Path) -> None:
    [finding] = process.bpffs(tmp_path)
    assert finding.state == "fail"
    assert "is not on a bpf file system" in finding.message
    assert "mount -t bpf" in finding.hint


def test_the_lowest_limit_of_all_ancestors_applies(host: Host) -> None:
    put(host.proc / "self/cgroup", "0::/kubepods/pod1/agent\n")
    root = host.sys / "fs/cgroup"
    put(root / "kubepods/pod1/agent/memory.max", "max\n")
    put(root / "kubepods/pod1/memory.max", f"{64 * MIB}\n")
    put(root / "kubepods/memory.max", f"{900 * MIB}\n")
    assert process.memory_limit(host) == 64 * MIB


def test_the_limit_of_cgroup_v1_is_found(host: Host) -> None:
    put(host.proc / "self/cgroup", "9:cpu,cpuacct:/x\n4:memory:/agent\n0::/\n")
    put(host.sys / "fs/cgroup/memory/agent/memory.limit_in_bytes", f"{100 * MIB}\n")
    put(host.sys / "fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
    assert process.memory_limit(host) == 100 * MIB


def test_in_a_cgroup_namespace_the_root_has_the_limit(host: Host) -> None:
    put(host.proc / "self/cgroup", "0::/../../elsewhere\n")
    put(host.sys / "fs/cgroup/memory.max", f"{70 * MIB}\n")
    assert process.memory_limit(host) == 70 * MIB


@pytest.mark.parametrize(("limit", "state"), [(None, "ok"), (100, "warn"), (256, "ok")])
def test_a_limit_below_what_full_maps_need_is_a_warning(
    host: Host, limit: int | None, state: State
) -> None:
    put(host.proc / "self/cgroup", "0::/\n")
    if limit:
        put(host.sys / "fs/cgroup/memory.max", str(limit * MIB))
    [finding] = process.memory(host)
    assert finding.state == state


@pytest.mark.parametrize(
    ("ranges", "cpus"), [("0-1", 2), ("0", 1), ("0-239", 240), ("0-3,8-11", 8), (None, 1)]
)
def test_possible_cpus_are_read_from_the_kernel(host: Host, ranges: str | None, cpus: int) -> None:
    if ranges:
        put(host.sys / "devices/system/cpu/possible", f"{ranges}\n")
    assert process.possible_cpus(host) == cpus


def test_what_is_needed_is_by_the_cpus_that_are_possible(host: Host) -> None:
    put(host.proc / "self/cgroup", "0::/\n")
    put(host.sys / "devices/system/cpu/possible", "0-4095\n")
    [finding] = process.memory(host)
    assert "needs 119 MiB" in finding.message


class PinnedSet(nullcontext[None]):
    """Stands for the maps of a set that holds ``flows``."""

    def __init__(self, flows: int) -> None:
        super().__init__()
        self._flows = flows

    def capacity(self) -> int:
        return self._flows


def test_what_is_needed_is_by_the_largest_set_that_is_pinned(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1 << 20, 4096):
        (tmp_path / "pins" / f"probe+{number}").mkdir(parents=True)
    monkeypatch.setattr(
        process, "open_set", lambda folder: PinnedSet(int(folder.name.partition("+")[2]))
    )
    flows = process.pinned_flows(tmp_path / "pins")
    assert flows == 1 << 20
    put(host.proc / "self/cgroup", "0::/\n")
    put(host.sys / "fs/cgroup/memory.max", str(256 * MIB))
    [finding] = process.memory(host, flows)
    assert finding.state == "warn"


def test_without_a_set_that_can_be_read_it_is_by_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(_folder: Path) -> None:
        raise KernelError("open pin: EPERM", errno=1)

    assert process.pinned_flows(tmp_path / "none") == MAX_FLOWS
    (tmp_path / "probe").mkdir()
    monkeypatch.setattr(process, "open_set", denied)
    assert process.pinned_flows(tmp_path) == MAX_FLOWS
