"""Asks the history and the topology for what the rules of advice read, and keeps their answer.

In: a store of past traffic, the topology, prices, the installed rules. Out: `Advice`, at most
`FRESH_SECONDS` old, less where there is little data. Never: rules on the event loop; more than one
question at a time.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np

from kzn.advisor.declaration import Rule
from kzn.advisor.evaluate import SAVES, Advice, advise
from kzn.advisor.gather import DIMENSIONS, Reporting, Topology, world_of
from kzn.advisor.prices import zone_prices
from kzn.advisor.proposal import Proposal
from kzn.advisor.registry import installed, usable
from kzn.daemon.logs import RateLimited
from kzn.errors import KznError
from kzn.history.query import MAX_LIMIT, Answer, TrafficQuery
from kzn.model.endpoint import Endpoint
from kzn.pricing.book import PriceBook
from kzn.server.prices import places_of
from kzn.topology.facts import PodFacts, Workload
from kzn.topology.index import AddressIndex
from kzn.topology.routing import Routing
from kzn.topology.routing_facts import SliceFacts

FRESH_SECONDS = 300.0
"""How old an answer may be: a question reads days of the history."""
LEAST_FRESH_SECONDS = 10.0
"""How old an answer of little or no data may be: the next minute may double what it is made of."""
FRESH_PART = 0.1
"""How old an answer may be, as a part of the seconds that it has data of."""
PERIOD_SECONDS = 600.0
"""How often the metric's numbers are made anew."""
FIRST_SECONDS = 120.0
"""When they are first made: agents have sent some batches by then."""
USUAL_SECONDS = 7 * 86_400
"""The window without a parameter, or as much of it as is kept."""
MAX_GROUPS = 5_000
"""Groups of flows that are looked at, the largest."""
MAX_POINTS = 168
_CELLS = 800_000
_STEP_OF_LONG = 3600
PIECE = 2_000
"""Addresses, or pods, between two turns of the event loop: about 2 ms."""
MAX_REMEMBERED = 1_000
"""Proposals that are remembered after they are no longer made: `kzn diff --advice` asks for them.
Some kilobytes each."""
_KEPT = 4
"""Windows of which answers are kept."""

_LOG = logging.getLogger(__name__)

Ask = Callable[[TrafficQuery], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class AdviceSums:
    """The counted saving a month by rule and currency; None before the first answer.

    ``proposals`` is their number without those that are refused or left.
    """

    by_rule: Mapping[tuple[str, str], float] | None = None
    proposals: int = 0

    @property
    def by_currency(self) -> Mapping[str, float]:
        """The total."""
        found: dict[str, float] = {}
        for (_, currency), amount in (self.by_rule or {}).items():
            found[currency] = found.get(currency, 0.0) + amount
        return found


@dataclass(slots=True)
class _Kept:
    taken: float
    advice: Advice


@dataclass(frozen=True, slots=True)
class Sources:
    """What the answers are made of. ``longest`` is for how many seconds the store keeps anything.

    ``wall`` is Unix time, ``clock`` monotonic seconds (that of the index). ``reporting`` is of a
    store that has what is reported here alone.
    """

    ask: Ask
    longest: Callable[[], int]
    index: AddressIndex
    routing: Routing
    book: Callable[[], PriceBook | None]
    wall: Callable[[], float]
    clock: Callable[[], float]
    reporting: Callable[[], Reporting] = Reporting
    rules: Sequence[Rule] = field(default_factory=lambda: usable(installed()))


class Adviser:
    """Answers by length of the window; `run` keeps the sums of the usual one fresh."""

    def __init__(
        self, sources: Sources, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._sources = sources
        self._sleep = sleep
        self._kept: dict[int, _Kept] = {}
        self._one_at_a_time = asyncio.Lock()
        self._warnings = RateLimited(_LOG, clock=sources.clock)
        self._sums = AdviceSums()
        self._made_last: dict[str, Proposal] = {}

    @property
    def rules(self) -> Sequence[Rule]:
        """The rules that are asked."""
        return self._sources.rules

    @property
    def usual(self) -> int:
        """The seconds of the window without a parameter."""
        return min(USUAL_SECONDS, self._sources.longest())

    def sums(self) -> AdviceSums:
        """The sums of the last answer for the usual window."""
        return self._sums

    def made_last(self, identity: str) -> Proposal | None:
        """A proposal as an answer for the usual window had it last."""
        return self._made_last.get(identity)

    async def run(self) -> None:
        """Make the sums anew every `PERIOD_SECONDS` until cancelled."""
        await self._sleep(FIRST_SECONDS)
        while True:
            try:
                await self.advice()
            except KznError as error:
                self._warnings.warn("advice", "advice: no answer, trying again: %s", error)
            except Exception as error:  # noqa: BLE001 - without advice the server still counts
                name = type(error).__name__
                self._warnings.warn("failed", "advice: failed, trying again: %s: %s", name, error)
            await self._sleep(PERIOD_SECONDS)

    async def advice(self, seconds: int | None = None) -> Advice:
        """The advice for the last ``seconds``; raises what the store's ``ask`` raises."""
        length = self.usual if seconds is None else min(seconds, self._sources.longest())
        async with self._one_at_a_time:
            now = self._sources.clock()
            kept = self._kept.get(length)
            if kept is not None and now - kept.taken < _fresh_seconds(kept.advice):
                return kept.advice
            advice = await self._made(length)
            if length == self.usual:
                saving = [one for one in advice.proposals if one.draft.verdict in SAVES]
                self._sums = AdviceSums(advice.by_rule, len(saving))
                self._remember(advice)
            self._kept.pop(length, None)
            self._kept[length] = _Kept(now, advice)
            while len(self._kept) > _KEPT:
                del self._kept[next(iter(self._kept))]
            return advice

    def _remember(self, advice: Advice) -> None:
        known = self._made_last
        for one in reversed(advice.proposals):  # the largest saving is forgotten last
            known.pop(one.id, None)
            known[one.id] = one
        while len(known) > MAX_REMEMBERED:
            del known[next(iter(known))]

    async def _made(self, length: int) -> Advice:
        sources = self._sources
        end = int(sources.wall())
        points = max(1, min(MAX_POINTS, length // (_STEP_OF_LONG if length > 7200 else 60)))
        query = TrafficQuery(
            begin=end - length,
            end=end,
            by=DIMENSIONS,
            limit=min(MAX_GROUPS, MAX_LIMIT, _CELLS // points),
            points=points,
        )
        answer = await sources.ask(query)
        topology_of_copies, reporting = await self._copy(), sources.reporting()
        networks = tuple(sources.index.networks.networks())
        at, book = datetime.fromtimestamp(sources.wall(), UTC), sources.book()

        def work() -> Advice:
            topology = topology_of_copies()
            places = places_of(topology.nodes, networks)
            price_of = zone_prices(book, places, at)
            return advise(world_of(answer, topology, price_of, reporting), sources.rules)

        return await asyncio.to_thread(work)

    async def _copy(self) -> Callable[[], Topology]:
        """Copies of what the event loop may change while the rules read it.

        They are made in pieces: a pod that changes meanwhile is as it was or as it is. What makes a
        topology of them takes longer, and needs no event loop.
        """
        index, routing = self._sources.index, self._sources.routing.view()
        nodes = list(index.nodes())
        pods: list[tuple[PodFacts, Workload | None]] = []
        pause_at = PIECE
        for node in index.nodes_of_pods():
            pods += index.pods_of(node)
            if len(pods) >= pause_at:
                pause_at = len(pods) + PIECE
                await asyncio.sleep(0)
        found: list[tuple[bytes, Sequence[Endpoint | int]]] = []
        for joined in _pieces(routing.slices):
            await asyncio.sleep(0)
            rows, now = np.frombuffer(joined, np.uint8).reshape(-1, 16), self._sources.clock()
            found.append((joined, index.endpoints(index.lookup(rows, now, now).tolist())))
        return lambda: Topology(routing, nodes, pods, _owners(found))


def _fresh_seconds(advice: Advice) -> float:
    return min(FRESH_SECONDS, max(LEAST_FRESH_SECONDS, advice.window.seconds * FRESH_PART))


def _pieces(slices: Iterable[SliceFacts]) -> Iterator[bytes]:
    """The addresses of all endpoints, `PIECE` of them at a time."""
    found = bytearray()
    for one in slices:
        found += one.addresses
        while len(found) >= 16 * PIECE:
            yield bytes(found[: 16 * PIECE])
            del found[: 16 * PIECE]
    if found:
        yield bytes(found)


def _owners(found: Iterable[tuple[bytes, Sequence[Endpoint | int]]]) -> dict[bytes, Endpoint]:
    """The owners by address (of 16 bytes), as far as they are known."""
    return {
        joined[16 * number : 16 * number + 16]: owner
        for joined, owners in found
        for number, owner in enumerate(owners)
        if isinstance(owner, Endpoint)
    }
