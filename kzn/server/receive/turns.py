"""Turns of the event loop: how many frames are processed in one, and their batches as one group.

In: frames that connections want to process, and the batches in them. Out: each batch applied, with
those of other agents that came at the same time. Never: a turn that is longer than its limits allow
(hundreds of frames that arrive at once must not delay other work of the loop, such as topology
events); a batch that waits for others for longer than `GROUP_SECONDS`; a batch applied twice, or
after its connection has ended.

The first frame of a turn schedules the end of the turn, which runs once all connections that are
ready at that moment have run. A batch of an agent that sends alone is applied then. While batches
of several agents come one soon after the other, they wait some milliseconds for more, until each
connection has one: in a group of ten each costs a third, in one of twenty a quarter. A turn applies
one group at most; while one is full, no further frame enters.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from kzn.model.batch import AgentIdentity, Batch
from kzn.wire.decode_batch import decode_batches
from kzn.wire.encode_batch import EncodedBatch
from kzn.wire.limits import Limits
from kzn.wire.messages import Ack
from kzn.wire.session import Apply, ServerSession

TURN_BYTES = 192 << 10
"""Bytes of frames in a turn, unless it is a single frame: some milliseconds."""
FRAME_BYTES = 1 << 10
"""What a frame costs besides its bytes."""
GROUP_FLOWS = 40_000
"""Flows of a group, unless it is a single batch: with half as many a flow costs a fifth more, with
more hardly less, and the loop waits for it, some ten milliseconds."""
GROUP_WORK_SECONDS = 0.016
"""What a group may take at the cost of a flow in the last ones: a slow or busy machine has smaller
groups, so that the loop is held for no longer than on a fast one. A timer may wait for two of them.
"""
LEAST_FLOWS = 5_000
"""Flows that any group may have; a smaller one tells little of what a flow costs."""
GROUP_SECONDS = 0.02
"""For how long a batch waits for those of other agents. Agents send one every few seconds."""
SEVERAL_SECONDS = 0.1
"""Batches of two agents that come within this time are followed by more of them."""

ApplyAll = Callable[[Sequence[tuple[AgentIdentity, Batch]]], Sequence[Exception | None]]
"""Applies batches, each as a whole, or changes nothing for it and returns its error. Must not block
for long."""


class Applied(NamedTuple):
    """The ack of a batch, and its share of the seconds that its group took.

    A ``duplicate`` was applied by another connection in the meantime.
    """

    ack: Ack
    seconds: float
    duplicate: bool = False


class UndecodableError(Exception):
    """A batch cannot be decoded because of ``error``; its share of the seconds of its group."""

    def __init__(self, error: Exception, seconds: float) -> None:
        super().__init__(str(error))
        self.error = error
        self.seconds = seconds


@dataclass(slots=True, eq=False)
class _Pending:
    step: Apply
    session: ServerSession
    done: "asyncio.Future[Applied]"

    @property
    def size(self) -> int:
        """What it takes of a group: its flows, or addresses if these are more."""
        return _size(self.step.batch)


@dataclass(slots=True, eq=False)
class _Waiting:
    size: int
    entered: "asyncio.Future[None]"


@dataclass(slots=True, eq=False)
class Turns:
    """The turns of one receiver."""

    apply_all: ApplyAll
    limits: Limits = field(default_factory=Limits)
    connections: Callable[[], float] = lambda: math.inf
    """How many agents may be sending. Once each has a batch here none can send another one."""
    clock: Callable[[], float] = time.monotonic
    group_seconds: float = GROUP_SECONDS
    _spent: int = 0
    _is_scheduled: bool = False
    _rests: bool = False
    """Whether no group is applied in the next turn."""
    _waiting: deque[_Waiting] = field(default_factory=deque)
    _pending: list[_Pending] = field(default_factory=list)
    _flows: int = 0
    _most_flows: int = GROUP_FLOWS
    _flow_seconds: float = GROUP_WORK_SECONDS / GROUP_FLOWS
    _timer: asyncio.TimerHandle | None = None
    """Of the pending batches, while they wait for others."""
    _last_node: str = ""
    _last_at: float = -math.inf
    _several_until: float = -math.inf

    async def enter(self, size: int) -> None:
        """Return in a turn that has room for a frame of ``size`` bytes, in the order of calls."""
        size += FRAME_BYTES
        if not self._waiting and self._has_room(size):
            self._spent += size
            self._schedule()
            return
        waiting = _Waiting(size, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._schedule()
        await waiting.entered

    def submit(self, step: Apply, session: ServerSession) -> "asyncio.Future[Applied]":
        """Decode and apply a batch soon; the future has the result, or its error.

        The error of one that cannot be decoded is an `UndecodableError`. A batch whose future is
        cancelled before that is not applied. It is decoded with its group: one decoded alone, as it
        arrives, takes twice the time, since nothing it needs is cached.
        """
        if self._others_follow(step.identity.node) and self._timer is None:
            self._start_timer()
        done: asyncio.Future[Applied] = asyncio.get_running_loop().create_future()
        self._pending.append(_Pending(step, session, done))
        self._flows += _size(step.batch)
        self._schedule()
        return done

    def _others_follow(self, node: str) -> bool:
        """Whether batches of several agents come within short times, of which this is one."""
        now = self.clock()
        if node != self._last_node and now - self._last_at <= SEVERAL_SECONDS:
            self._several_until = now + SEVERAL_SECONDS
        self._last_node, self._last_at = node, now
        return now <= self._several_until

    def _start_timer(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self.group_seconds, self._on_time)

    def _is_full(self) -> bool:
        return self._flows >= self._most_flows

    def _is_due(self) -> bool:
        """Whether the pending batches need not wait for others."""
        return bool(self._pending) and (
            self._timer is None or self._is_full() or len(self._pending) >= self.connections()
        )

    def _has_room(self, size: int) -> bool:
        return not self._is_full() and (not self._spent or self._spent + size <= TURN_BYTES)

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._end_turn)

    def _end_turn(self) -> None:
        self._is_scheduled = False
        if self._rests:
            self._rests = False
        elif self._is_due():
            self._apply_some()
        self._spent = 0
        while self._waiting and self._has_room(self._waiting[0].size):
            waiting = self._waiting.popleft()
            if not waiting.entered.done():  # else its connection was cancelled
                self._spent += waiting.size
                waiting.entered.set_result(None)
        if self._spent or self._is_due():
            self._schedule()  # after those that were woken

    def _on_time(self) -> None:
        if self._rests:
            self._timer = None  # due in the next turn
            self._schedule()
        else:
            self._apply_some()

    def _apply_some(self) -> None:
        """Apply the first group of the pending batches.

        If it is large and another one comes at once, the next turn applies none: a wake-up by a
        timer takes three turns.
        """
        others_follow = self._timer is not None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        count = flows = 0
        for one in self._pending:
            if count and flows + one.size > self._most_flows:
                break
            count += 1
            flows += one.size
        some, self._pending = self._pending[:count], self._pending[count:]
        self._flows -= flows
        if self._pending and others_follow:
            self._start_timer()
        self._apply(some)
        if 2 * flows > self._most_flows and (self._waiting or self._is_full()):
            self._rests = True
            self._schedule()

    def _apply(self, pending: list[_Pending]) -> None:
        group: list[_Pending] = []
        keys: set[tuple[str, int]] = set()
        for one in pending:
            if one.done.done():
                continue
            key = one.step.identity.node, one.step.identity.epoch
            if key in keys:  # two connections of one agent, maybe with the same batch
                self._apply_group(group)
                group, keys = [], set()
            repeat = one.session.repeated(one.step.batch.sequence)
            if repeat is not None:
                one.done.set_result(Applied(repeat, 0.0, duplicate=True))
                continue
            group.append(one)
            keys.add(key)
        self._apply_group(group)

    def _apply_group(self, group: list[_Pending]) -> None:
        if not group:
            return
        started = self.clock()
        decoded = self._decoded([one.step.batch for one in group])
        decoding = (self.clock() - started) / sum(1 + one.size for one in group)
        batches = []
        for one, batch in zip(group, decoded, strict=True):
            if isinstance(batch, Exception):
                one.done.set_exception(UndecodableError(batch, decoding * (1 + one.size)))
            else:
                batches.append((one, batch))
        if batches:
            self._apply_decoded(batches, decoding)

    def _decoded(self, encoded: list[EncodedBatch]) -> Sequence[Batch | Exception]:
        try:
            return decode_batches(encoded, self.limits)
        except Exception as failure:  # noqa: BLE001 - as in `_apply_decoded`: memory, perhaps
            return [failure] * len(encoded)

    def _apply_decoded(self, batches: list[tuple[_Pending, Batch]], decoding: float) -> None:
        """``decoding`` is the seconds that a flow took until now."""
        started = self.clock()
        try:
            errors = self.apply_all([(one.step.identity, batch) for one, batch in batches])
        except Exception as failure:  # noqa: BLE001 - a future that never ends blocks its agent
            errors = [failure] * len(batches)
        flows = sum(1 + one.size for one, _ in batches)
        seconds = decoding + (self.clock() - started) / flows
        self._learn(seconds * flows, flows)
        for (one, batch), error in zip(batches, errors, strict=True):
            if error is not None:
                one.done.set_exception(error)
                continue
            ack = one.session.applied(batch.sequence)
            one.done.set_result(Applied(ack, seconds * (1 + one.size)))

    def _learn(self, took: float, flows: int) -> None:
        if flows < LEAST_FLOWS:
            return
        self._flow_seconds += (took / flows - self._flow_seconds) / 8
        allowed = GROUP_WORK_SECONDS / max(self._flow_seconds, GROUP_WORK_SECONDS / GROUP_FLOWS)
        self._most_flows = max(LEAST_FLOWS, round(allowed))


def _size(batch: EncodedBatch) -> int:
    columns = batch.columns
    return max(columns.flows, columns.ipv4 + columns.ipv6)


def one_by_one(apply: Callable[[AgentIdentity, Batch], None]) -> ApplyAll:
    """`ApplyAll` that calls ``apply``, which raises the error of a batch, for each."""

    def apply_all(batches: Sequence[tuple[AgentIdentity, Batch]]) -> list[Exception | None]:
        errors: list[Exception | None] = []
        for identity, batch in batches:
            try:
                apply(identity, batch)
            except Exception as error:  # noqa: BLE001 - reported by the connection
                errors.append(error)
            else:
                errors.append(None)
        return errors

    return apply_all
