"""Turns of the event loop: which batches are applied together, and how much at a time."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from kzn.errors import WireError
from kzn.model.batch import AgentIdentity, Batch
from kzn.model.flows import Flows
from kzn.model.totals import Totals
from kzn.server.receive import turns
from kzn.server.receive.turns import (
    FRAME_BYTES,
    GROUP_FLOWS,
    GROUP_WORK_SECONDS,
    LEAST_FLOWS,
    TURN_BYTES,
    Applied,
    Turns,
    UndecodableError,
)
from kzn.wire.decode_batch import decode_batches
from kzn.wire.encode_batch import EncodedBatch, encode_batch
from kzn.wire.limits import Limits
from kzn.wire.messages import Ack
from kzn.wire.sequences import AppliedSequences
from kzn.wire.session import Apply, ServerSession


@dataclass
class Groups:
    """Records groups in place of the pipeline; fails for the node ``broken``."""

    found: list[list[tuple[str, int]]] = field(default_factory=list)
    broken: str = ""
    after: Callable[[int], None] = lambda _: None
    """Called with the flows of each group."""

    def __call__(self, batches: Sequence[tuple[AgentIdentity, Batch]]) -> list[Exception | None]:
        self.after(sum(len(batch.flows) for _, batch in batches))
        self.found.append([(identity.node, batch.sequence) for identity, batch in batches])
        return [
            ZeroDivisionError() if identity.node == self.broken else None for identity, _ in batches
        ]


class Scene:
    """Turns, and the sessions of agents."""

    def __init__(self) -> None:
        self.groups = Groups()
        self.now = 0.0
        self.turns = Turns(self.groups, clock=lambda: self.now)
        self.sequences = AppliedSequences()

    def pass_(self, seconds: float) -> None:
        self.now += seconds

    async def connect(self, connections: int) -> None:
        """From now on batches of so many agents wait for each other, not for a time."""
        self.turns.connections = lambda: connections
        self.turns.group_seconds = 3600.0
        await self.submit("n0")

    def session(self, node: str) -> ServerSession:
        session = ServerSession(self.sequences, Limits())
        session.authenticated(identity(node))
        return session

    def submit(
        self, node: str, sequence: int = 1, flows: int = 0, session: ServerSession | None = None
    ) -> "asyncio.Future[Applied]":
        made = Batch(sequence, 0, 0, flows_of(flows), Totals())
        step = Apply(identity(node), encode_batch(made), gap=False)
        return self.turns.submit(step, session or self.session(node))


def identity(node: str) -> AgentIdentity:
    return AgentIdentity(node, 7, "p", "0")


def flows_of(count: int) -> Flows:
    narrow, wide = np.zeros(count, np.uint32), np.zeros(count, np.uint64)
    ports, bytes_ = np.zeros(count, np.uint16), np.zeros(count, np.uint8)
    rows = np.zeros((1, 16), np.uint8)
    return Flows(rows, narrow, narrow, ports, ports, bytes_, bytes_, wide, wide)


def play(act: Callable[[Scene], Awaitable[None]]) -> None:
    async def run() -> None:
        async with asyncio.timeout(20):
            await act(Scene())

    asyncio.run(run())


def test_batches_of_one_turn_are_applied_together_and_acked() -> None:
    async def act(scene: Scene) -> None:
        waiting = [scene.submit(f"n{number}", 5) for number in range(3)]
        assert scene.groups.found == []
        acks = [(await one).ack for one in waiting]
        assert scene.groups.found == [[("n0", 5), ("n1", 5), ("n2", 5)]]
        assert acks == [Ack(5)] * 3
        assert (await scene.submit("n0", 6)).ack == Ack(6)
        assert scene.groups.found[1:] == [[("n0", 6)]]

    play(act)


def test_the_same_batch_on_two_connections_is_applied_once() -> None:
    async def act(scene: Scene) -> None:
        first, again = scene.submit("n0", 1), scene.submit("n0", 1)
        assert await first == Applied(Ack(1), 0.0)
        assert await again == Applied(Ack(1, duplicate=True), 0.0, duplicate=True)
        assert scene.groups.found == [[("n0", 1)]]

    play(act)


def test_two_batches_of_one_agent_are_applied_in_order_in_two_groups() -> None:
    async def act(scene: Scene) -> None:
        waiting = [scene.submit("n0", 1), scene.submit("n1", 1), scene.submit("n0", 2)]
        await asyncio.gather(*waiting)
        assert scene.groups.found == [[("n0", 1), ("n1", 1)], [("n0", 2)]]

    play(act)


def test_a_batch_whose_connection_has_ended_is_not_applied() -> None:
    async def act(scene: Scene) -> None:
        gone, stays = scene.submit("n0"), scene.submit("n1")
        gone.cancel()
        await stays
        assert scene.groups.found == [[("n1", 1)]]

    play(act)


def test_the_error_of_a_batch_is_that_of_its_connection_alone() -> None:
    async def act(scene: Scene) -> None:
        scene.groups.broken = "n0"
        bad, good = scene.submit("n0"), scene.submit("n1")
        assert (await good).ack == Ack(1)
        with pytest.raises(ZeroDivisionError):
            await bad
        assert scene.sequences.last(("n0", 7)) is None

    play(act)


def test_a_batch_that_cannot_be_decoded_has_its_error_and_the_others_are_applied() -> None:
    async def act(scene: Scene) -> None:
        good = [scene.submit("n0"), scene.submit("n2")]
        made = encode_batch(Batch(1, 0, 0, flows_of(3), Totals()))
        cut = replace(made, columns=replace(made.columns, data=made.columns.data[:-1]))
        bad = scene.turns.submit(Apply(identity("n1"), cut, gap=False), scene.session("n1"))
        assert [(await one).ack for one in good] == [Ack(1), Ack(1)]
        with pytest.raises(UndecodableError) as failed:
            await bad
        assert isinstance(failed.value.error, WireError)
        assert scene.groups.found == [[("n0", 1), ("n2", 1)]]
        assert scene.sequences.last(("n1", 7)) is None

    play(act)


def test_each_batch_has_its_share_of_decoding_also_one_that_is_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def act(scene: Scene) -> None:
        def takes_time(batches: Sequence[EncodedBatch], limits: Limits) -> list[Any]:
            scene.pass_(10.0)
            return decode_batches(batches, limits)

        monkeypatch.setattr(turns, "decode_batches", takes_time)
        scene.groups.after = lambda _: scene.pass_(1.0)
        good = scene.submit("n0", flows=1)
        wrong = encode_batch(Batch(1, 9, 10, flows_of(7), Totals()))  # it ended before it began
        bad = scene.turns.submit(Apply(identity("n1"), wrong, gap=False), scene.session("n1"))
        assert (await good).seconds == 2.0 + 1.0
        with pytest.raises(UndecodableError) as failed:
            await bad
        assert failed.value.seconds == 8.0

    play(act)


def test_decoding_that_fails_blocks_no_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    async def act(scene: Scene) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(turns, "decode_batches", fail)
            waiting = [scene.submit("n0"), scene.submit("n1")]
            for one in waiting:
                with pytest.raises(UndecodableError) as failed:
                    await one
                assert isinstance(failed.value.error, MemoryError)
        assert (await scene.submit("n0")).ack == Ack(1)

    play(act)


def test_a_group_of_all_connections_does_not_wait() -> None:
    async def act(scene: Scene) -> None:
        await scene.connect(3)
        for sequence in (2, 3):
            waiting = [scene.submit(f"n{number}", sequence) for number in range(3)]
            assert [(await one).ack for one in waiting] == [Ack(sequence)] * 3

    play(act)


def test_a_batch_waits_for_those_of_other_connections() -> None:
    async def act(scene: Scene) -> None:
        await scene.connect(4)
        waiting = [scene.submit(f"n{number}", 2) for number in range(3)]
        for _ in range(5):
            await asyncio.sleep(0)
        assert not any(one.done() for one in waiting)
        last = scene.submit("n3", 2)
        assert (await last).ack == Ack(2)
        assert all(one.done() for one in waiting)

    play(act)


def test_a_group_has_a_bounded_number_of_addresses() -> None:
    async def act(scene: Scene) -> None:
        rows = np.zeros((GROUP_FLOWS // 3, 16), np.uint8)
        made = encode_batch(Batch(1, 0, 0, replace(flows_of(0), addresses=rows), Totals()))
        waiting = [
            scene.turns.submit(Apply(identity(node), made, gap=False), scene.session(node))
            for node in ("n0", "n1", "n2", "n3")
        ]
        await asyncio.gather(*waiting)
        assert [len(group) for group in scene.groups.found] == [3, 1]

    play(act)


def test_a_group_has_a_bounded_number_of_flows() -> None:
    async def act(scene: Scene) -> None:
        each = GROUP_FLOWS // 3
        waiting = [scene.submit(f"n{number}", flows=each) for number in range(7)]
        large = scene.submit("large", flows=2 * GROUP_FLOWS)
        await asyncio.gather(*waiting, large)
        assert [len(group) for group in scene.groups.found] == [3, 3, 1, 1]

    play(act)


def test_a_large_group_is_the_only_one_of_two_turns() -> None:
    async def act(scene: Scene) -> None:
        turn = 0
        applied: list[int] = []
        scene.groups.after = lambda _: applied.append(turn)
        waiting = [scene.submit(f"n{number}", flows=GROUP_FLOWS // 4) for number in range(12)]
        while not all(one.done() for one in waiting):
            turn += 1
            await asyncio.sleep(0)
        assert [len(group) for group in scene.groups.found] == [4, 4, 4]
        assert [after - before for before, after in pairwise(applied)] == [2, 2]

    play(act)


def test_no_frame_enters_while_a_group_is_full() -> None:
    async def act(scene: Scene) -> None:
        for number in range(3):
            scene.submit(f"n{number}", flows=GROUP_FLOWS)
        await scene.turns.enter(100)
        assert len(scene.groups.found) == 3

    play(act)


def test_a_machine_on_which_flows_take_long_has_smaller_groups() -> None:
    async def act(scene: Scene) -> None:
        async def sent(seconds_a_flow: float) -> list[int]:
            """How many flows each group of the last 40,000 has."""
            for again in range(30):
                scene.groups.found.clear()
                scene.groups.after = lambda flows: scene.pass_(flows * seconds_a_flow)
                nodes = [f"n{seconds_a_flow}-{again}-{number}" for number in range(40)]
                await asyncio.gather(*[scene.submit(node, flows=1_000) for node in nodes])
            return [len(group) * 1_000 for group in scene.groups.found]

        assert await sent(0.0) == [GROUP_FLOWS]
        slow = await sent(2 * GROUP_WORK_SECONDS / GROUP_FLOWS)
        assert max(slow) == GROUP_FLOWS // 2
        assert max(await sent(1.0)) == LEAST_FLOWS
        assert await sent(GROUP_WORK_SECONDS / GROUP_FLOWS / 2) == [GROUP_FLOWS]

    play(act)


def test_a_turn_has_room_for_so_many_bytes_and_the_rest_follows_in_order() -> None:
    async def act(scene: Scene) -> None:
        fits = TURN_BYTES // (FRAME_BYTES + 5_000)
        entered: list[tuple[int, int]] = []
        turn = 0

        async def frame(number: int) -> None:
            await scene.turns.enter(5_000)
            entered.append((number, turn))

        frames = [asyncio.create_task(frame(number)) for number in range(3 * fits + 1)]
        while not all(one.done() for one in frames):
            turn += 1
            await asyncio.sleep(0)
        assert [number for number, _ in entered] == list(range(3 * fits + 1))
        turns = [at for _, at in entered]
        assert max(map(turns.count, turns)) == fits

    play(act)


def test_a_frame_larger_than_a_turn_has_one_of_its_own() -> None:
    async def act(scene: Scene) -> None:
        await scene.turns.enter(100)
        large = asyncio.create_task(scene.turns.enter(10 * TURN_BYTES))
        small = asyncio.create_task(scene.turns.enter(100))
        await large
        assert not small.done()
        await small

    play(act)


def test_a_connection_that_ends_while_it_waits_leaves_its_place() -> None:
    async def act(scene: Scene) -> None:
        await scene.turns.enter(TURN_BYTES)
        following = asyncio.create_task(scene.turns.enter(TURN_BYTES))
        gone = asyncio.create_task(scene.turns.enter(TURN_BYTES))
        stays = asyncio.create_task(scene.turns.enter(TURN_BYTES))
        await asyncio.sleep(0)
        gone.cancel()
        await stays
        assert following.done()
        assert gone.cancelled()

    play(act)


def test_an_agent_that_sends_alone_waits_for_no_others() -> None:
    async def act(scene: Scene) -> None:
        for sequence in (1, 2, 3):
            waiting = scene.submit("n0", sequence)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert waiting.done()

    play(act)


def test_batches_of_several_agents_in_several_turns_are_one_group() -> None:
    async def act(scene: Scene) -> None:
        scene.turns.group_seconds = 0.5  # four turns of a busy machine take less
        scene.submit("n0")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        waiting = []
        for number in range(1, 5):
            waiting.append(scene.submit(f"n{number}"))
            await asyncio.sleep(0)
        assert scene.groups.found == [[("n0", 1)]]
        await asyncio.gather(*waiting)
        assert scene.groups.found[1:] == [[(f"n{number}", 1) for number in range(1, 5)]]

    play(act)


def test_a_full_group_waits_for_no_others() -> None:
    async def act(scene: Scene) -> None:
        scene.submit("n0")
        waiting = scene.submit("n1", flows=GROUP_FLOWS)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert waiting.done()

    play(act)


def test_batches_that_come_long_after_each_other_do_not_wait() -> None:
    async def act(scene: Scene) -> None:
        for number in range(3):
            waiting = scene.submit(f"n{number}")
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert waiting.done()
            scene.now += 1.0

    play(act)
