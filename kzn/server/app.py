"""Runs the server: topology, receiver, HTTP and the retry timer in one TaskGroup.

In: one frozen config, and signals. Out: a running server, and a shutdown within a deadline.
Never: a task that fails without ending the server.
"""

import asyncio
import logging
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from socket import socket
from typing import TYPE_CHECKING

from kzn.advisor.gather import Reporting
from kzn.daemon import descriptors
from kzn.daemon.allocator import keep_freed_memory
from kzn.daemon.garbage import FrozenHeap, limit_collections
from kzn.daemon.http.hosts import AllowedHosts
from kzn.daemon.listen import bound_port, listen
from kzn.daemon.signals import Shutdown, shutdown_on_signals
from kzn.daemon.stop_flag import StopFlag
from kzn.pricing.book import PriceBook
from kzn.reports.budget import BudgetState
from kzn.server.advice import Adviser
from kzn.server.advice import Sources as AdviceSources
from kzn.server.auth.authenticator import Authenticator, SecurityState
from kzn.server.auth.open import HttpSecurity, open_authenticator, open_http_security
from kzn.server.config import ServerConfig
from kzn.server.cost.meter import CostMeter
from kzn.server.cost.opencost import OpenCostCounters
from kzn.server.flows.costs import FlowPrices
from kzn.server.flows.queue import FlowLog, LogCounts, verdicts_of
from kzn.server.http import addresses, explain
from kzn.server.http import prices as price_page
from kzn.server.http.advice import AdvicePage
from kzn.server.http.budgets import budget_route
from kzn.server.http.rollouts import RolloutsPage
from kzn.server.http.server import HttpApi
from kzn.server.http.traffic import TrafficPages
from kzn.server.ledger.family import FAMILIES, FamilyName
from kzn.server.ledger.first_scrape import FirstScrape
from kzn.server.ledger.ledger import Ledger
from kzn.server.ledger.node_totals import TotalsByNode
from kzn.server.pipeline import Clocks, Pipeline
from kzn.server.placement import PlacementSampler
from kzn.server.prices import Prices, PriceSources
from kzn.server.receive.context import at_once
from kzn.server.receive.limits import ReceiveLimits
from kzn.server.receive.receiver import Receiver
from kzn.server.recording.open import (
    EngineStore,
    HistoryStore,
    MemoryStore,
    open_recorder,
    ring_recorder,
)
from kzn.server.recording.recorder import Recorder
from kzn.server.resolve.retry import RetryQueue
from kzn.server.snapshot import ServerSnapshot, Sources
from kzn.server.state.aside import open_state
from kzn.server.state.durability import Durability
from kzn.server.state.sqlite_store import StateFile
from kzn.server.topology import Topology, open_topology
from kzn.sinks.deliver import Deliveries

if TYPE_CHECKING:
    from kzn.server.budgets import Budgets

_LOG = logging.getLogger(__name__)

TICK_SECONDS = 0.5
OTHER_DESCRIPTORS = 36
"""For files, the API server and listening sockets; with those for HTTP 100."""
RESERVED_DESCRIPTORS = 8
"""The last ones: agents are limited by their number, so that HTTP has its own."""
SWITCH_SECONDS = 0.001
"""Seconds that a rendering thread can hold the GIL while the event loop waits for it."""

Announce = Callable[[int, int], None]
"""Called once the server serves, with the port for agents and the HTTP port."""


async def run(
    config: ServerConfig, announce: Announce | None = None, stop: StopFlag | None = None
) -> None:
    """Serve until SIGTERM or SIGINT; KznError if it cannot start.

    A second signal, or the end of ``shutdown_seconds``, stops waiting for a clean shutdown.
    ``stop`` has caught signals until now.
    """
    descriptors.raise_limit()
    keep_freed_memory()
    topology = open_topology(config)
    authenticator = open_authenticator(config, topology)
    http_security = open_http_security(config)
    agents, http = listen(config.listen_agents), listen(config.listen_http)
    prices = Prices(config.prices)
    flow_log = None
    if config.flow_log != "off":
        flow_log = FlowLog(
            sys.stdout.buffer,
            config.flow_log,
            epoch_of=_epoch_of,
            logged=verdicts_of(config.flow_log_classes),
            prices=FlowPrices(lambda: prices.book) if config.flow_log_cost else None,
        )
    state = None
    if config.state is not None:
        state = open_state(config.state, begin_anew=config.state_on_mismatch == "begin-anew")
    recorder, deliveries = None, Deliveries()
    if config.history is not None:
        recorder, deliveries = open_recorder(config.history, _epoch_of, topology.cluster_facts)
    server = Server(
        config,
        topology,
        flow_log,
        authenticator,
        state,
        http_security,
        prices,
        recorder,
        deliveries,
    )
    sys.setswitchinterval(SWITCH_SECONDS)
    limit_collections()
    with shutdown_on_signals(stop) as shutdown:
        await server.serve(agents, http, shutdown, announce)


class Server:
    """The rooms of one server, connected."""

    def __init__(
        self,
        config: ServerConfig,
        topology: Topology,
        flow_log: FlowLog | None,
        authenticator: Authenticator | None = None,
        state: StateFile | None = None,
        http_security: HttpSecurity | None = None,
        prices: Prices | None = None,
        recorder: Recorder | None = None,
        deliveries: Deliveries | None = None,
    ) -> None:
        self._config = config
        self._heap = FrozenHeap()
        self._deliveries = deliveries or Deliveries()
        self._prices = prices or Prices(PriceSources(shipped=False))
        self._authenticator = authenticator or Authenticator("none", topology.why_not_ready)
        self._http_security = http_security or HttpSecurity()
        self._topology = topology
        self._flow_log = flow_log
        self._recorder, self._store = _recording(config, recorder, topology.cluster)
        first_scrape, epoch = FirstScrape(config.first_scrape_wait), _epoch_of(0.0)
        limits = replace(config.ledger, priced=self._prices.book is not None)
        ledger = Ledger(limits, holds=first_scrape.holds, epoch=epoch)
        if flow_log is not None and flow_log.prices is not None:
            flow_log.prices.provider_of = ledger.label_codes.provider_of
        meter = None
        if limits.has_costs:
            meter = CostMeter(ledger, self._book, time.time)
        opencost = None
        if config.opencost:
            own_first_scrape = FirstScrape(config.first_scrape_wait)
            opencost = OpenCostCounters(time.monotonic, epoch=epoch, first_scrape=own_first_scrape)
        self._pipeline = Pipeline(
            topology.index,
            ledger,
            TotalsByNode(config.max_nodes, holds=first_scrape.holds, epoch=epoch),
            RetryQueue(config.max_held_flows),
            clocks=Clocks(time.monotonic, time.perf_counter),
            flow_log=flow_log,
            recorder=self._recorder,
            opencost=opencost,
            first_scrape=first_scrape,
            stand_in=config.stand_in,
            meter=meter,
        )
        self._durability = Durability(
            self._pipeline,
            state,
            now=time.monotonic(),
            epoch=epoch,
            settled=recorder.totals if recorder is not None else None,
            rollouts=topology.routing.rollouts,
        )
        if recorder is not None:
            recorder.durable = self._durability.durable
        if meter is not None:
            meter.begin(time.monotonic())
        self._receiver = Receiver(
            self._pipeline.apply,
            apply_all=self._pipeline.apply_all,
            limits=_receive_limits(config),
            authenticate=self._authenticator.authenticate,
            tls=self._authenticator.tls,
            sequences=self._durability.sequences,
            durable=self._durability.durable if state is not None else at_once,
            take_addresses=topology.take_addresses,
            instance=self._durability.instance,
            verifies=self._authenticator.verifies,
        )
        store = self._store
        self._adviser = Adviser(
            AdviceSources(
                ask=store.ask,
                longest=lambda: max(store.kept.values()),
                index=topology.index,
                routing=topology.routing,
                book=lambda: self._prices.book,
                wall=time.time,
                clock=time.monotonic,
                reporting=Reporting if isinstance(store, EngineStore) else self._reporting,
            )
        )
        self._pages = TrafficPages(
            self._store,
            topology.index,
            self._any_snapshot,
            time.time,
            lambda: self._prices.book,
        )
        self._budgets = _budgets(config, self._pages)
        self._http = HttpApi(
            self._snapshot,
            topology.why_not_ready,
            config.http_limits,
            owners=self._owners,
            explain=self._explain,
            prices=self._price_table,
            scraped=self._pipeline.scraped,
            hosts=AllowedHosts(config.http_hosts),
            tls=self._http_security.tls,
            authorize=self._http_security.authorize,
            opencost=opencost.scraped if opencost is not None else None,
            opened=self._store.wake,
            pages=self._pages.routes()
            | budget_route(self._budget_states)
            | AdvicePage(self._adviser).routes()
            | RolloutsPage(topology.routing, time.time).routes(),
        )
        self._sources = Sources(
            pipeline=self._pipeline,
            receiver=self._receiver.stats.copy,
            topology=topology.states,
            flow_log=self._log_counts,
            security=self._security,
            state=self._durability.stats,
            created_lines=config.created_lines,
            instance=self._durability.instance,
            opencost=opencost,
            http=self._http.stats.copy,
            prices=self._prices.reads,
            budgets=self._budget_states,
            cluster=topology.cluster,
            groups=topology.index.groups,
            sinks=self._deliveries.counts,
            advice=self._adviser.sums,
            waiting=self._receiver.waiting,
        )

    async def serve(
        self,
        agents: list[socket],
        http: list[socket],
        shutdown: Shutdown,
        announce: Announce | None = None,
    ) -> None:
        """Serve on listening sockets until ``shutdown`` is requested."""
        ports = bound_port(agents), bound_port(http)
        async with (
            self._durability.running(),  # pending acks need it until the last connection is closed
            AsyncExitStack() as stack,
            asyncio.TaskGroup() as tasks,
        ):
            await stack.enter_async_context(self._authenticator.api_client)
            await stack.enter_async_context(self._http_security.api_client)
            await stack.enter_async_context(self._deliveries.running())
            stack.push_async_callback(self._stop, shutdown)
            background = [
                tasks.create_task(self._topology.run(), name="topology"),
                tasks.create_task(self._tick_forever(), name="retry timer"),
                tasks.create_task(self._prices.run(), name="prices"),
                tasks.create_task(self._adviser.run(), name="advice"),
            ]
            if (rollouts := self._topology.routing.rollouts) is not None:
                sampler = PlacementSampler(
                    self._topology.index, rollouts, self._topology.why_not_ready
                )
                background.append(tasks.create_task(sampler.run(), name="placement"))
            await self._recorder.start(self._durability.instance)
            background.append(tasks.create_task(self._recorder.run(), name="history"))
            if self._budgets is not None:
                background.append(tasks.create_task(self._budgets.run(), name="budgets"))
            await self._http.start(http)
            await self._receiver.start(agents)
            _LOG.info("listening for agents on port %d, for HTTP on port %d", *ports)
            if announce is not None:
                announce(*ports)
            await shutdown.asked.wait()
            self._http.stop_scrapes()
            for task in background:
                task.cancel()

    async def _stop(self, shutdown: Shutdown) -> None:
        closing = asyncio.create_task(self._close(), name="close")
        hurry = asyncio.create_task(shutdown.hurry.wait(), name="hurry")
        both = {closing, hurry}
        seconds = self._config.shutdown_seconds
        await asyncio.wait(both, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if not closing.done():
            _LOG.warning("shutdown incomplete: it took too long or a second signal came")
        for task in both:
            task.cancel()
        await asyncio.gather(*both, return_exceptions=True)

    async def _close(self) -> None:
        """Close the receiver, the state file, the history, its sinks, the flow log, then HTTP."""
        seconds = self._config.shutdown_seconds / 2
        await self._receiver.close(seconds)
        await self._durability.close()
        await self._recorder.close()
        await self._deliveries.close(seconds / 2)
        await self._store.close()
        if self._flow_log is not None and not await asyncio.to_thread(
            self._flow_log.close, seconds / 2
        ):
            _LOG.warning("flow log: the last lines could not be written in time")
        await self._http.close()

    async def _snapshot(self, families: frozenset[FamilyName]) -> ServerSnapshot:
        counted = await self._durability.committed_snapshot(families)
        return self._sources.snapshot(counted, time.monotonic())

    async def _any_snapshot(self) -> ServerSnapshot:
        return await self._snapshot(frozenset(FAMILIES))

    def _reporting(self) -> Reporting:
        """Nodes whose agents report here; those that cannot have an agent do not count."""
        counts = self._pipeline.reporting.counts(time.monotonic())
        return Reporting(counts.reporting, counts.known - counts.agentless)

    def _owners(self, asked: list[str]) -> bytes:
        return addresses.answer(self._topology.index, asked, time.monotonic())

    def _explain(self, query: Mapping[str, str]) -> bytes:
        now = explain.Moment(time.monotonic(), time.time())
        return explain.answer(query, self._topology.index, self._pipeline.reporting, now)

    def _price_table(self) -> bytes:
        index = self._topology.index
        return price_page.answer(
            self._prices.book,
            index.nodes(),
            index.networks.networks(),
            time.time(),
            index.static_pods(),
        )

    async def _tick_forever(self) -> None:
        while True:
            self._heap.tick()
            self._topology.report()
            if not self._topology.why_not_ready():
                self._topology.index.prepare()
            more = self._topology.index.describe_some()
            more = self._pipeline.tick() or more
            await asyncio.sleep(0 if more else TICK_SECONDS)

    def _budget_states(self) -> tuple[BudgetState, ...]:
        return self._budgets.states() if self._budgets is not None else ()

    def _book(self) -> PriceBook:
        return self._prices.book or PriceBook(())

    def _security(self) -> SecurityState:
        return self._http_security.added_to(self._authenticator.state())

    def _log_counts(self) -> LogCounts:
        return self._flow_log.counts if self._flow_log is not None else LogCounts()


def _recording(
    config: ServerConfig, recorder: Recorder | None, cluster: Callable[[], str]
) -> tuple[Recorder, HistoryStore | MemoryStore | EngineStore]:
    """The recorder and what answers queries: an engine, the files, or an hour in memory."""
    files = HistoryStore(config.history) if recorder is not None and config.history else None
    engine = None
    if config.history_store is not None:
        engine = EngineStore(config.history_store, files)
    if recorder is None or files is None:
        ring, memory = ring_recorder(_epoch_of, cluster=cluster)
        return ring, engine or memory
    return recorder, engine or files


def _budgets(config: ServerConfig, pages: TrafficPages) -> "Budgets | None":
    if config.budgets is None:
        return None
    from kzn.server.budgets import Budgets  # noqa: PLC0415 - yaml only for who has files

    return Budgets(config.budgets, pages.ask, time.time)


def _receive_limits(config: ServerConfig) -> ReceiveLimits:
    """The limits for agents, with no more connections than this process can have descriptors."""
    most = descriptors.limit()
    others = config.http_limits.connections + OTHER_DESCRIPTORS
    agents = max(1, min(config.max_agents, most - others))
    if agents < config.max_agents:
        _LOG.warning(
            "this process may have %d descriptors (RLIMIT_NOFILE): at most %d agents can connect,"
            " not %d (--max-agents)",
            most,
            agents,
            config.max_agents,
        )
    return ReceiveLimits(
        connections=agents,
        connections_per_address=config.max_agents_per_address,
        share=config.address_share,
        reserved_descriptors=RESERVED_DESCRIPTORS,
    )


def _epoch_of(monotonic: float) -> float:
    return time.time() - (time.monotonic() - monotonic)
