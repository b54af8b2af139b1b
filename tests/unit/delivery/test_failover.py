"""Failover between several servers behind one Service name, in virtual time."""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast

import pytest
from faultnet import NEVER, Fault, connect
from virtual import play

from kzn.agent.deliver.shipper import FAILOVER_SECONDS, Shipper, ShipTimeouts
from kzn.daemon.backoff import Backoff
from kzn.daemon.connect import Streams
from kzn.daemon.listen import HostPort
from kzn.model.batch import AgentIdentity, Batch
from kzn.model.flows import Flows
from kzn.model.totals import Counts, Totals
from kzn.server.receive.limits import ReceiveLimits
from kzn.server.receive.receiver import Receiver
from kzn.wire.codec import encode_to_agent
from kzn.wire.compression import offer
from kzn.wire.frames import frame
from kzn.wire.limits import MAX_NODE_ADDRESSES, Limits
from kzn.wire.messages import Welcome

WELCOME = len(
    frame(
        encode_to_agent(
            Welcome(
                None,
                Limits(),
                instance=1,
                max_node_addresses=MAX_NODE_ADDRESSES,
                compressions=offer(),
            )
        )
    )
)
LOST_ACK = Fault(hole=(NEVER, WELCOME))
"""The agent gets Welcome, and no ack after it."""


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def batch(sequence: int) -> Batch:
    return Batch(sequence, 10_000, 0, Flows.empty(), Totals(seen=Counts(1, 100)))


@dataclass
class First:
    """Stores the server that a batch was first sent to, as the spool does over agent restarts."""

    server: int = 0

    def sending_to(self, server: int) -> None:
        self.server = server


class Server:
    """A receiver with its own ledger."""

    def __init__(self, instance: int) -> None:
        self.applied: list[tuple[str, int]] = []
        self.receiver = Receiver(
            lambda identity, got: self.applied.append((identity.node, got.sequence)),
            limits=ReceiveLimits(connections_per_address=1000),
            instance=instance,
        )

    def accept(self, fault: Fault) -> Streams:
        near, far = connect(fault)
        self.receiver.accept(*cast(Streams, (far, far)))
        return cast(Streams, (near, near))


@dataclass
class ServiceName:
    """A Service name: dials reach ``answers`` in order, then ``default``."""

    answers: list[tuple[Server, Fault]] = field(default_factory=list)
    default: Server | None = None
    dials: Counter[int] = field(default_factory=Counter)

    async def dial(self) -> Streams:
        self.dials[int(now())] += 1
        if self.answers:
            server, fault = self.answers.pop(0)
            return server.accept(fault)
        if self.default is None:
            raise ConnectionRefusedError
        return self.default.accept(Fault())


def now() -> float:
    return asyncio.get_running_loop().time()


def shipper(name: ServiceName, first: First, number: int = 0) -> Shipper:
    rng = random.Random(number)
    return Shipper(
        AgentIdentity(f"n{number}", 7, "postrouting", "0.1.0"),
        HostPort("kzn", 7070),
        first=first,
        dial=name.dial,
        timeouts=ShipTimeouts(),
        backoff=Backoff(rng),
        search=Backoff(rng, longest=8.0),
        clock=now,
    )


def test_a_batch_without_an_ack_is_resent_to_the_same_server() -> None:
    async def act() -> None:
        one, two = Server(1), Server(2)
        name = ServiceName([(one, LOST_ACK), *[(two, Fault())] * 3, (one, Fault())])
        agent = shipper(name, First())
        await agent.deliver(batch(1))
        assert (one.applied, two.applied) == ([("n0", 1)], [])
        assert (agent.stats.duplicates, agent.stats.failovers) == (1, 0)
        assert agent.stats.failures == {"timeout": 1, "other_server": 3}

    play(act())


def test_a_restarted_agent_resends_its_batch_to_the_same_server() -> None:
    async def act() -> None:
        one, two = Server(1), Server(2)
        first = First()
        lost = asyncio.create_task(shipper(ServiceName([(one, LOST_ACK)]), first).deliver(batch(1)))
        await asyncio.sleep(5.0)
        lost.cancel()
        await shipper(ServiceName([(two, Fault()), (one, Fault())]), first).deliver(batch(1))
        assert (one.applied, two.applied) == ([("n0", 1)], [])

    play(act())


def test_an_absent_server_is_given_up_after_the_time_limit_and_the_failover_is_counted() -> None:
    async def act() -> None:
        one, two = Server(1), Server(2)
        agent = shipper(ServiceName([(one, LOST_ACK)], default=two), First())
        await agent.deliver(batch(1))
        assert (one.applied, two.applied) == ([("n0", 1)], [("n0", 1)])
        assert agent.stats.failovers == 1
        assert FAILOVER_SECONDS <= now() <= FAILOVER_SECONDS + 30.0 + 9.0 + 1.0

    play(act())


def test_the_time_limit_starts_when_another_server_answers() -> None:
    async def act() -> None:
        one, two = Server(1), Server(2)
        name = ServiceName([(one, LOST_ACK)])
        delivery = asyncio.create_task((agent := shipper(name, First())).deliver(batch(1)))
        await asyncio.sleep(10 * FAILOVER_SECONDS)
        name.answers = [(two, Fault())]
        name.default = one
        await delivery
        assert two.applied == []
        assert agent.stats.failovers == 0

    play(act())


def test_a_server_that_already_applied_the_batch_acks_it() -> None:
    async def act() -> None:
        one, two = Server(1), Server(2)
        await shipper(ServiceName(default=two), First()).deliver(batch(1))
        agent = shipper(ServiceName(default=two), First(server=1))
        await agent.deliver(batch(1))
        assert (one.applied, two.applied) == ([], [("n0", 1)])
        assert agent.stats.duplicates == 1

    play(act())


def test_a_new_batch_goes_to_any_server() -> None:
    async def act() -> None:
        one, two = Server(1), Server(2)
        first = First()
        name = ServiceName([(one, Fault())], default=two)
        agent = shipper(name, first)
        await agent.deliver(batch(1))
        await agent.close()
        first.server = 0  # as the spool does when it cuts the next one
        await agent.deliver(batch(2))
        assert (one.applied, two.applied) == ([("n0", 1)], [("n0", 2)])
        assert two.receiver.stats.gaps == 0

    play(act())


@pytest.mark.slow
@pytest.mark.parametrize("away", [20.0, 600.0])
def test_reconnects_of_five_hundred_agents_are_spread_out(
    away: float,
) -> None:
    agents = 500

    async def act() -> None:
        name, server = ServiceName(), Server(1)
        deliveries = [
            asyncio.create_task(shipper(name, First(), number).deliver(batch(1)))
            for number in range(agents)
        ]
        await asyncio.sleep(away)
        name.default = server
        await asyncio.gather(*deliveries)
        assert len(set(server.applied)) == len(server.applied) == agents
        assert now() - away <= 31.0
        after = [number for second, number in name.dials.items() if second >= away]
        assert max(after) <= agents * 0.12
        before = [number for second, number in name.dials.items() if 10 <= second < away]
        assert max(before) <= agents * 0.2

    play(act())
