"""Kernel memory of one set of maps, by what they hold. Pure.

The kernel charges it to the cgroup of the agent that loaded the set. What is the same for every
set, some hundred bytes a map, is left out.
"""

from kzn.agent.maps.structs import (
    DEVICE_PLACES,
    MAX_ADDRESSES,
    MAX_DEVICES,
    MAX_ENDPOINTS,
    MAX_TUNNELS,
    ROW_SIZE,
    TOTALS_SIZE,
)
from kzn.probes.settings import Settings

BUCKET = 16
"""struct bucket of kernel/bpf/hashtab.c; a hash has a power of two of them from the start."""
HASH_ENTRY = 128
"""An entry of the hash behind the rows: htab_elem (48), key (40), value (16) and the allocator's
link (8), in the next larger size that the kernel allocates."""
ENDPOINT_ENTRY = 96
"""An entry of `endpoints`: bpf_lru_node included, all allocated from the start."""


def maps_bytes(settings: Settings, cpus: int, in_hash: int) -> dict[str, int]:
    """Bytes by map with ``in_hash`` flows in each buffer's hash, for a number of possible CPUs.

    Nearly nothing depends on the CPUs: totals take 512 bytes of each. Not included are the entries
    of devices, addresses and tunnels, at most 96 bytes each; a node has few.
    """
    hashes = _buckets(settings.max_flows) + in_hash * HASH_ENTRY
    endpoints = 0 if settings.ports == "none" else MAX_ENDPOINTS
    return {
        "rows": 2 * settings.rows * ROW_SIZE,
        "flows_0": hashes,
        "flows_1": hashes,
        "totals": 2 * TOTALS_SIZE * cpus,
        "endpoints": endpoints * ENDPOINT_ENTRY,
        "devices": _buckets(MAX_DEVICES),
        "device_places": 8 * DEVICE_PLACES,
        "addresses": _buckets(MAX_ADDRESSES),
        "tunnels": _buckets(MAX_TUNNELS),
    }


def _buckets(entries: int) -> int:
    return BUCKET << (entries - 1).bit_length()
