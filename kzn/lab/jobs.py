"""The demo's traffic: which pod talks to which, over what, and the sum of what was sent.

In: the plan of a lab that is up. Out: `Sums`, what sockets took per address pair and protocol.
Never: half a round; a stop waits for the end of the round, so that nothing is under way when the
books are compared.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

from kzn.lab import traffic
from kzn.lab.plan import Plan, Pod
from kzn.lab.traffic import Family, Sent
from kzn.lab.witness import WireKey
from kzn.model.totals import Counts

REST_SECONDS = 0.1
BULK = 1_500_000
FIRST_PORT = 5300
FAMILIES: tuple[Family, Family] = (4, 6)


@dataclass(frozen=True, slots=True)
class Sum:
    """What was sent one way: payload, and what that must weigh where it can be computed."""

    payload: int
    wire: Counts | None


class Sums:
    """What was sent so far; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sums: dict[WireKey, Sum] = {}

    def add(self, sent: Sent) -> None:
        """Count one exchange."""
        key = WireKey(sent.src, sent.dst, sent.protocol)
        with self._lock:
            before = self._sums.get(key, Sum(0, Counts()))
            wire = None
            if before.wire is not None and sent.wire is not None:
                wire = before.wire.plus(sent.wire)
            self._sums[key] = Sum(before.payload + sent.payload, wire)

    def copy(self) -> dict[WireKey, Sum]:
        """The sums at this moment."""
        with self._lock:
            return dict(self._sums)


@dataclass(frozen=True, slots=True)
class Route:
    """Who sends to whom; the port is the route's own on every pod."""

    src: Pod
    dst: Pod
    mtu: int
    port: int


def routes(plan: Plan) -> list[Route]:
    """From zone to zone both ways, and between two nodes of one zone where it has two."""
    here, there = (
        [plan.pods_of(node)[0] for node in plan.nodes if node.zone == zone]
        for zone in plan.spec.zones[:2]
    )
    pairs = [(here[0], there[0]), (there[-1], here[-1])]
    if len(here) > 1:
        pairs.append((here[0], here[-1]))
    return [
        Route(src, dst, plan.spec.mtu, FIRST_PORT + number)
        for number, (src, dst) in enumerate(pairs)
    ]


def round_of(route: Route) -> Iterator[Callable[[], list[Sent]]]:
    """One of everything on a route, with datagrams that fit the MTU and some that do not."""
    mtu, port = route.mtu, route.port
    for family in FAMILIES:
        between = (route.src, route.dst, family)
        for number, size in ((32, 64), (32, mtu - 100), (8, 3 * mtu)):
            yield partial(traffic.udp, *between, datagrams=number, size=size, mtu=mtu, port=port)
        yield partial(traffic.echo, *between, requests=16, size=56, mtu=mtu)
        yield partial(traffic.tcp_bulk, *between, size=BULK, port=port)
        yield partial(traffic.tcp_calls, *between, calls=20, ask=300, answer=9000, port=port)


@contextmanager
def running(plan: Plan, sums: Sums) -> Iterator[Callable[[], None]]:
    """Send rounds on all routes until the body ends.

    Yields a function that raises what a route's thread raised, if one did.
    """
    stop = threading.Event()
    ways = routes(plan)
    with ThreadPoolExecutor(len(ways), thread_name_prefix="traffic") as pool, ExitStack() as last:
        # Before the first thread runs: Ctrl-C may come between two of them, and the pool waits.
        last.callback(stop.set)
        futures = [pool.submit(_repeat, route, sums, stop) for route in ways]
        yield lambda: _raise_failure(futures)
    _raise_failure(futures)


def _repeat(route: Route, sums: Sums, stop: threading.Event) -> None:
    while True:
        for exchange in round_of(route):
            for sent in exchange():
                sums.add(sent)
        if stop.wait(REST_SECONDS):
            return


def _raise_failure(futures: list[Future[None]]) -> None:
    for future in futures:
        if future.done():
            future.result()
