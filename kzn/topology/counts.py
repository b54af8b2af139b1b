"""How much an index knows, as plain numbers for metrics."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class IndexCounts:
    """How much is known, for metrics. ``addresses`` counts those of history too."""

    nodes: int
    pods: int
    addresses: int
    networks: int
    services: int
    endpoints: int
    ended_ownerships: int
    evicted_ownerships: int
