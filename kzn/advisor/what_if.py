"""Where the bytes of a Service would go, and the load of its endpoints, after a change. Pure.

kube-proxy chooses at random among all ready endpoints, and with trafficDistribution among those of
the client's zone if it has any (Kubernetes: Virtual IPs and Service Proxies, "Traffic
distribution").
"""

from collections.abc import Iterable, Mapping

from kzn.advisor.proposal import SAFE_ENDPOINTS, SAFE_LOAD, Verdict, ZoneLoad
from kzn.advisor.world import Matrix

MOST = 0.5
"""Share of bytes that clients in zones without an endpoint have, from which a preference of zones
is refused."""
Endpoints = Mapping[str, int]
"""Number of ready endpoints by zone."""


def by_client(matrix: Matrix) -> dict[str, float]:
    """Bytes by zone of the client."""
    found: dict[str, float] = {}
    for (client, _), size in matrix.items():
        found[client] = found.get(client, 0) + size
    return found


def completed(matrix: Matrix, endpoints: Endpoints) -> Matrix:
    """The bytes with those that stay on a node, which agents do not count.

    What crosses is counted in full. By random choice a client zone with n of N endpoints sends
    n/(N-n) of that to its own zone; more than that was not chosen at random, and is kept.
    """
    total = sum(endpoints.values())
    found = dict(matrix)
    for client in by_client(matrix):
        here = endpoints.get(client, 0)
        if 0 < here < total:
            expected = crossing(matrix, client) * here / (total - here)
            found[client, client] = max(found.get((client, client), 0), expected)
    return found


def at_random(matrix: Matrix, endpoints: Endpoints) -> Matrix:
    """The bytes if each connection goes to any ready endpoint."""
    total = sum(endpoints.values())
    return {
        (client, zone): size * number / total
        for client, size in by_client(matrix).items()
        for zone, number in endpoints.items()
        if number
    }


def kept_in_zone(matrix: Matrix, endpoints: Endpoints) -> Matrix:
    """The bytes if clients keep to endpoints of their zone, where there are any.

    Clients of other zones go where they went.
    """
    found: dict[tuple[str, str], float] = {}
    for (client, server), size in matrix.items():
        key = (client, client) if endpoints.get(client) else (client, server)
        found[key] = found.get(key, 0) + size
    return found


def crossing(matrix: Matrix, client: str | None = None) -> float:
    """Bytes that leave the zone of their client, of one zone or of all."""
    return sum(size for (src, dst), size in matrix.items() if src != dst and client in (None, src))


def loads(matrix: Matrix, endpoints: Endpoints) -> dict[str, float]:
    """Load of an endpoint of each zone as a multiple of the mean over all endpoints."""
    total, number = sum(matrix.values()), sum(endpoints.values())
    received: dict[str, float] = {}
    for (_, server), size in matrix.items():
        received[server] = received.get(server, 0) + size
    return {
        zone: received.get(zone, 0) * number / (total * here)
        for zone, here in endpoints.items()
        if here and total
    }


def zone_loads(
    matrix: Matrix,
    after: Matrix,
    peak: tuple[Matrix, Matrix],
    endpoints: tuple[Endpoints, Endpoints],
) -> tuple[ZoneLoad, ...]:
    """Each zone before and after: crossing bytes of the window, shares and loads of the ``peak``,
    which is `completed`.
    """
    clients = by_client(peak[0])
    total = sum(clients.values())
    before_load, after_load = (loads(peak[n], endpoints[n]) for n in (0, 1))
    zones = sorted({*clients, *by_client(matrix), *endpoints[0], *endpoints[1]})
    return tuple(
        ZoneLoad(
            zone=zone,
            client_share=clients.get(zone, 0) / total if total else 0.0,
            endpoints_before=endpoints[0].get(zone, 0),
            endpoints_after=endpoints[1].get(zone, 0),
            load_before=before_load.get(zone),
            load_after=after_load.get(zone),
            crossing_before=round(crossing(matrix, zone)),
            crossing_after=round(crossing(after, zone)),
        )
        for zone in zones
    )


def judge(zones: Iterable[ZoneLoad]) -> tuple[Verdict, tuple[str, ...]]:
    """Whether clients may be kept to their zones, and what speaks against it."""
    known = list(zones)
    without = [one for one in known if one.client_share and not one.endpoints_after]
    share = sum(one.client_share for one in without)
    risks = [
        f"{one.zone} has clients ({one.client_share:.0%} of the bytes) and no endpoint: they go on"
        " crossing"
        for one in without
    ]
    thin = [one for one in known if one.client_share and 0 < one.endpoints_after < SAFE_ENDPOINTS]
    risks += [
        f"{one.zone} has {one.endpoints_after} endpoint: while it is not ready, its clients cross"
        " again, and meanwhile it has all their load"
        for one in thin
    ]
    hot = [one for one in known if (one.load_after or 0) > SAFE_LOAD]
    risks += [
        f"each endpoint of {one.zone} gets {one.load_after:.2f} times the mean load (now"
        f" {one.load_before or 0:.2f}); an autoscaler averages over zones and does not see it"
        for one in hot
    ]
    if share > MOST:
        return "refused", (
            f"clients in zones without an endpoint have {share:.0%} of the bytes: spread the"
            " endpoints first",
            *risks,
        )
    return ("warning" if risks else "proposed"), tuple(risks)


def distance(matrix: Matrix, endpoints: Endpoints) -> float:
    """Share of bytes that are elsewhere than random choice would have them: 0 is as at random.

    Too few bytes inside a zone are no sign: those inside a node are not counted.
    """
    matrix = completed(matrix, endpoints)
    expected, total = at_random(matrix, endpoints), sum(matrix.values())
    if not total or not expected:
        return 1.0
    keys = {*expected, *matrix}
    return sum(abs(matrix.get(key, 0) - expected.get(key, 0)) for key in keys) / 2 / total
