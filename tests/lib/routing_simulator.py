"""kube-proxy's documented choice of endpoints, connection by connection: the truth for predictions.

In: connections by zone and node of their client, endpoints with their zones, nodes and hints. Out:
connections by zone of client and of endpoint, all of them and those that leave a node, which is
what agents count. It shares no code with kzn.advisor.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

Matrix = dict[tuple[str, str], int]


@dataclass(frozen=True)
class SimulatedEndpoint:
    """A ready endpoint; without a hint its slice names no zone for it."""

    zone: str
    node: str
    has_hint: bool = True


@dataclass
class Chosen:
    """Connections by zone of the client and of the endpoint."""

    all: Matrix = field(default_factory=dict)
    counted: Matrix = field(default_factory=dict)
    """Without those that stay on a node."""

    def add(self, client: str, server: str, number: int, *, is_local: bool) -> None:
        self.all[client, server] = self.all.get((client, server), 0) + number
        if not is_local:
            self.counted[client, server] = self.counted.get((client, server), 0) + number


def choose(
    clients: Mapping[tuple[str, str], int],
    endpoints: Sequence[SimulatedEndpoint],
    *,
    prefers_zone: bool,
    rng: np.random.Generator,
) -> Chosen:
    """Each connection of a (zone, node) goes to one of the eligible endpoints, all alike.

    With a preference those of the client's zone are eligible, if every endpoint has a hint and one
    of them is for that zone; else all are.
    """
    found = Chosen()
    for (zone, node), connections in clients.items():
        eligible = list(endpoints)
        if prefers_zone and all(one.has_hint for one in endpoints):
            eligible = [one for one in endpoints if one.zone == zone] or eligible
        chosen = rng.multinomial(connections, np.full(len(eligible), 1 / len(eligible)))
        for one, number in zip(eligible, chosen.tolist(), strict=True):
            if number:
                found.add(zone, one.zone, number, is_local=one.node == node)
    return found


def crossing(found: Mapping[tuple[str, str], int]) -> int:
    """Connections between two zones."""
    return sum(number for (client, server), number in found.items() if client != server)


def loads(
    found: Mapping[tuple[str, str], int], endpoints: Sequence[SimulatedEndpoint]
) -> dict[str, float]:
    """Connections of an endpoint of each zone as a multiple of the mean."""
    mean = sum(found.values()) / len(endpoints)
    zones = [one.zone for one in endpoints]
    return {
        zone: sum(n for (_, server), n in found.items() if server == zone)
        / zones.count(zone)
        / mean
        for zone in set(zones)
    }
