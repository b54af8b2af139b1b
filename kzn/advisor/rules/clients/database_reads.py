"""Reads from a database of another zone: a replica in the zone of its readers.

Signature: TCP to the port of a database that the clients name by no zone, at least four times as
many bytes from it as to it, at a StatefulSet or an entry of the static file. A client that serves
the same port, or is a StatefulSet with volumes, is a replica.
Arithmetic: the crossing bytes from the database; what is written goes on crossing.
"""

from collections.abc import Iterator, Set

from kzn.advisor.declaration import Rule
from kzn.advisor.facts import Party
from kzn.advisor.proposal import Change, Draft, Move
from kzn.advisor.world import Pair, World

PORTS = {
    1433: "SQL Server",
    1521: "Oracle",
    3306: "MySQL",
    5432: "PostgreSQL",
    6379: "Redis",
    9042: "Cassandra",
    9200: "Elasticsearch",
    11211: "memcached",
    27017: "MongoDB",
}
READS = 4.0


def propose(world: World) -> Iterator[Draft]:
    """See the module."""
    serving = {(pair.server, pair.port) for pair in world.pairs}
    for pair in world.pairs:
        name = PORTS.get(pair.port, "")
        is_database = pair.server.workload_kind == "StatefulSet" or pair.server.kind == "Static"
        if not name or pair.protocol != "tcp" or not is_database:
            continue
        if pair.responses < READS * pair.requests or _is_replica(world, pair, serving):
            continue
        moves = tuple(
            Move(flow.number, flow.bytes)
            for flow in pair.flows
            if flow.crosses and not flow.is_request
        )
        if not moves:
            continue
        zones = sorted({flow.client_zone for flow in pair.flows if flow.crosses})
        yield Draft(
            subject=pair.subject,
            title=f"{pair.client}: read from a replica of {pair.server} in the own zone",
            change=Change(
                f"a read replica in {', '.join(zones)}, and its name for reads in {pair.client}"
            ),
            flows=tuple(flow.number for flow in pair.flows),
            moves=moves,
            workloads=(pair.client, pair.server),
            effort=4,
            risks=(
                "a replica lags: reads may not see what was written just before",
                "what the replica receives crosses once, and is not reckoned here; nor is what it"
                " costs to run",
            ),
            confidence="low",
            why=(
                f"port {pair.port} is {name}'s",
                f"{pair.responses / max(1, pair.requests):.1f} bytes come back for each one sent",
            ),
            unknown=("whether the client may read old data", "how much is written in all"),
        )


def _is_replica(world: World, pair: Pair, serving: Set[tuple[Party, int]]) -> bool:
    """Whether the client has a copy of the data: what it receives is replication."""
    client = pair.client
    has_data = client.workload_kind == "StatefulSet" and world.workload(client).has_claims
    is_endpoint = any(
        (pair.port, pair.protocol) in service.target_ports
        for service in world.services_of.get(client, ())
    )
    return has_data or is_endpoint or (client, pair.port) in serving


RULE = Rule("database-reads", "reads from a database of another zone", propose)
