"""Worlds for the rules of advice, from a few words; zones a, b and c of AWS's us-east-1.

In: flows, Services, workloads. Out: a `World` with the shipped prices, the rules of pyproject.toml.
"""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import date
from importlib.metadata import EntryPoint
from typing import Any

from manifests import ROOT

from kzn.advisor.declaration import Rule
from kzn.advisor.evaluate import Advice, advise
from kzn.advisor.facts import Cluster, Endpoint, Flow, Party, Service, Window, Workload
from kzn.advisor.prices import zone_prices
from kzn.advisor.proposal import Proposal
from kzn.advisor.registry import GROUP, installed, usable
from kzn.advisor.world import World
from kzn.pricing.aws import PRICES
from kzn.pricing.book import PriceBook
from kzn.pricing.table import Place

ZONES = ("a", "b", "c")
GIB = 1 << 30
MONTH = 730 * 3600
BOTH = 0.02 / GIB
"""What a byte between zones of a region costs at both ends."""
CLUSTER = Cluster(
    api_version=(1, 34),
    kubelet=(1, 34),
    proxy="kube-proxy",
    zones={"a": 2, "b": 2, "c": 2},
)
HOUR = Window(1_700_000_000, 1_700_003_600, 3600, 3600)


def party(name: str, kind: str = "Deployment") -> Party:
    """``shop/web``, or ``n1`` of kind Node, ``db`` of kind Static."""
    namespace, _, workload = name.rpartition("/")
    if kind in ("Node", "Static", "Service"):
        return Party(kind, namespace, kind, workload)
    return Party("Pod", namespace, kind, workload)


def talk(
    client: Party,
    server: Party,
    sizes: Mapping[tuple[str, str], int | tuple[int, int]],
    port: int = 8080,
    protocol: str = "tcp",
) -> list[Flow]:
    """Flows of a pair by zone of client and server: bytes of requests and of responses.

    A single number is divided in halves.
    """
    found = []
    for (client_zone, server_zone), size in sizes.items():
        out, back = (size // 2, size - size // 2) if isinstance(size, int) else size
        cls = "same_zone" if client_zone == server_zone else "cross_zone"
        ends = (client, client_zone), (server, server_zone)
        for (src, dst), amount, initiator in (
            (ends, out, "source"),
            (ends[::-1], back, "destination"),
        ):
            found.append(
                Flow(0, *src, *dst, port, protocol, cls, "", initiator, amount, ()),
            )
    return found


def service(
    name: str,
    backend: Party,
    endpoints: Mapping[str, int],
    port: int = 8080,
    protocol: str = "tcp",
    *,
    hints: bool = False,
    **routing: Any,
) -> Service:
    """A Service with that many endpoints in each zone, each on a node ``ZONE0``, ``ZONE1``, ..."""
    namespace, _, short = name.partition("/")
    made = tuple(
        Endpoint(backend, f"{zone}{number}", zone, hints, bool(zone))
        for zone, count in endpoints.items()
        for number in range(count)
    )
    return Service(
        namespace,
        short,
        target_ports=frozenset({(port, protocol)}),
        endpoints=made,
        **routing,
    )


def workload(
    one: Party, pods: Mapping[str, int], *, nodes: Iterable[str] = (), **facts: object
) -> Workload:
    """A workload whose controller is known, with as many replicas as pods."""
    replicas = None if one.workload_kind == "DaemonSet" else sum(pods.values())
    selector = (("app", one.workload),)
    known = {"is_known": True, "replicas": replicas, "selector": selector} | facts
    return Workload(one, pods, frozenset(nodes), **known)  # type: ignore[arg-type]


def world(
    flows: Iterable[Flow],
    services: Iterable[Service] = (),
    workloads: Iterable[Workload] = (),
    cluster: Cluster = CLUSTER,
    window: Window = HOUR,
    entries: Iterable[Place] = (),
) -> World:
    """A world of an hour. ``entries`` are static ones with a price class."""
    places = [*(Place("aws", "us-east-1", zone) for zone in ZONES), *entries]
    return World(
        window=window,
        flows=tuple(replace(flow, number=number) for number, flow in enumerate(flows)),
        services=tuple(services),
        workloads={one.party: one for one in workloads},
        cluster=cluster,
        price_of=zone_prices(PriceBook([PRICES]), places, date(2026, 11, 1)),
    )


def rules() -> list[Rule]:
    """All rules that pyproject.toml registers."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"][GROUP]
    return usable(installed(EntryPoint(name, value, GROUP) for name, value in table.items()))


def of_rule(found: World, name: str) -> list[Proposal]:
    """The proposals of one rule."""
    return list(advise(found, [rule for rule in rules() if rule.name == name]).proposals)


def of_all(found: World) -> Advice:
    """The advice of all rules."""
    return advise(found, rules())


def month(size: float) -> float:
    """What bytes of the hour cost in a month, at both ends."""
    return size * 730 * BOTH
