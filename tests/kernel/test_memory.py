"""What the kernel says a set of maps takes is what kzn says, empty and with flows in the hash."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from counting import loaded
from test_rows import give, on_cpu

from kzn.agent.maps import buffers
from kzn.agent.maps.memory import maps_bytes
from kzn.libbpf.library import possible_cpus
from kzn.probes.settings import PortsMode, Settings

STRUCTS = 4096
"""Room for the kernel's structs of a map, which are left out: a page of an array that is mapped,
else less than 1 KiB."""
ALLOCATED, ENTRY = 128, 112
"""Of an entry of the hash: what the kernel allocates, and what of it it shows."""


def shown(fds: Mapping[str, int]) -> dict[str, int]:
    """Bytes of each map as the kernel shows them."""
    found = {}
    for name, fd in fds.items():
        lines = Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines()
        [size] = [line.split()[1] for line in lines if line.startswith("memlock:")]
        found[name] = int(size)
    return found


@pytest.mark.parametrize("ports", ["service", "none"])
def test_the_size_of_the_maps_is_what_the_kernel_shows(ports: PortsMode) -> None:
    settings = Settings(ports, max_flows=512)
    with loaded(settings) as bench, on_cpu(0):
        before = shown(bench.maps.fds())
        full = settings.max_flows * ENTRY
        if before["flows_0"] > full:
            pytest.skip("this kernel (before 6.4) shows what a full hash takes, full or not")
        compare(before, maps_bytes(settings, possible_cpus(), 0))
        for number in range(2):
            bench.maps.set_active(number)
            give(bench, 4, range(1700))
        used, other = (len(buffers.read_hash(bench.maps, number)[0]) for number in range(2))
        assert used == other == (0 if ports == "none" else settings.max_flows)
        after = shown(bench.maps.fds())
        for name in ("flows_0", "flows_1"):
            after[name] += used * (ALLOCATED - ENTRY)
        compare(after, maps_bytes(settings, possible_cpus(), used))


def compare(kernel: Mapping[str, int], ours: Mapping[str, int]) -> None:
    assert ours.keys() <= kernel.keys()
    for name, size in kernel.items():
        assert 0 <= size - ours.get(name, 0) <= STRUCTS, name
