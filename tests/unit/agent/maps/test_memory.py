"""Kernel memory of a set of maps: within its limit on any number of CPUs."""

import pytest

from kzn.agent.maps.memory import maps_bytes
from kzn.probes.settings import MAX_FLOWS, Settings

MIB = 1 << 20


@pytest.mark.parametrize("cpus", [2, 240])
def test_both_buffers_full_of_65_536_flows_take_at_most_40_mib(cpus: int) -> None:
    found = maps_bytes(Settings(), cpus, MAX_FLOWS)
    assert sum(found.values()) < 40 * MIB
    assert found["rows"] == 16 * MIB
    assert found["flows_0"] == found["flows_1"] == 9 * MIB
    assert found["totals"] == 512 * cpus


def test_an_empty_set_has_rows_buckets_and_endpoints() -> None:
    assert sum(maps_bytes(Settings(), 2, 0).values()) // MIB == 21
    assert sum(maps_bytes(Settings(ports="none"), 2, 0).values()) // MIB == 18


def test_fewer_flows_take_less_and_more_flows_no_more_rows() -> None:
    assert maps_bytes(Settings(max_flows=1024), 2, 0)["rows"] == 2 * 2048 * 64
    assert maps_bytes(Settings(max_flows=131_072), 2, 0)["rows"] == 16 * MIB
