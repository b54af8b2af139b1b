"""Continuous traffic between pods of a lab, in rounds, and the sums of what was sent.

In: the plan of a running lab. Out: `Sums`, what sockets accepted by address pair and protocol.
Never: half a round; a stop waits for the end of the round, so that no packet is in flight when
counts are compared.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count

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
    """Bytes sent in one direction: payload, and its L3 counts; None if they cannot be computed."""

    payload: int
    wire: Counts | None


class Sums:
    """Sums of the traffic sent so far; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sums: dict[WireKey, Sum] = {}

    def add(self, sent: Sent) -> None:
        """Add one exchange."""
        key = WireKey(sent.src, sent.dst, sent.protocol)
        with self._lock:
            before = self._sums.get(key, Sum(0, Counts()))
            wire = None
            if before.wire is not None and sent.wire is not None:
                wire = before.wire.plus(sent.wire)
            self._sums[key] = Sum(before.payload + sent.payload, wire)

    def copy(self) -> dict[WireKey, Sum]:
        """The sums so far."""
        with self._lock:
            return dict(self._sums)


@dataclass(frozen=True, slots=True)
class Route:
    """A sender and a receiver; no other route uses the port."""

    src: Pod
    dst: Pod
    mtu: int
    port: int


def routes(plan: Plan) -> list[Route]:
    """Both ways between two zones, and between two nodes of one zone if it has two."""
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
    """One exchange of each kind, with datagrams below and above the MTU."""
    mtu, port = route.mtu, route.port
    for family in FAMILIES:
        between = (route.src, route.dst, family)
        for number, size in ((32, 64), (32, mtu - 100), (8, 3 * mtu)):
            yield partial(traffic.udp, *between, datagrams=number, size=size, mtu=mtu, port=port)
        yield partial(traffic.echo, *between, requests=16, size=56, mtu=mtu)
        yield partial(traffic.tcp_bulk, *between, size=BULK, port=port)
        yield partial(traffic.tcp_calls, *between, calls=20, ask=300, answer=9000, port=port)


@dataclass(frozen=True, slots=True)
class Worker:
    """A thread of its own: ``round_of`` has the exchanges of the round of that number.

    It rests ``rest`` seconds between two rounds.
    """

    name: str
    round_of: Callable[[int], Iterable[Callable[[], list[Sent]]]]
    rest: float = REST_SECONDS


@contextmanager
def running(workers: Sequence[Worker], sums: Sums) -> Iterator[Callable[[], None]]:
    """Send rounds of all workers until the block ends.

    Yields a function that raises the error of a worker's thread, if there is one.
    """
    stop = threading.Event()
    with ThreadPoolExecutor(len(workers), thread_name_prefix="traffic") as pool, ExitStack() as end:
        # Before the first thread starts: on Ctrl-C between two, the pool waits for its threads.
        end.callback(stop.set)
        futures = [pool.submit(_repeat, worker, sums, stop) for worker in workers]
        yield lambda: _raise_failure(futures)
    _raise_failure(futures)


def _repeat(worker: Worker, sums: Sums, stop: threading.Event) -> None:
    for number in count():
        for exchange in worker.round_of(number):
            for sent in exchange():
                sums.add(sent)
        if stop.wait(worker.rest):
            return


def _raise_failure(futures: list[Future[None]]) -> None:
    for future in futures:
        if future.done():
            future.result()
