"""kzn/server/fair_loop.py: a bound on the ready sockets of a turn of the loop, each in its turn."""

import asyncio
import gc
import selectors
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner

from kzn.cli.server import server
from kzn.server import app, fair_loop
from kzn.server.fair_loop import TURN_SOCKETS, BoundedSelector

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


@contextmanager
def pairs(count: int) -> Iterator[list[tuple[socket.socket, socket.socket]]]:
    """Connected pairs of sockets."""
    with ExitStack() as stack:
        made = [socket.socketpair() for _ in range(count)]
        for pair in made:
            for one in pair:
                stack.enter_context(one)
        yield made


def test_each_ready_socket_is_reported_before_any_is_reported_again() -> None:
    with pairs(35) as made, BoundedSelector(most=10) as selector:
        for number, (near, far) in enumerate(made):
            selector.register(near, READ, number)
            far.send(b"x")
        calls = [[key.data for key, _ in selector.select(0)] for _ in range(7)]
    found = [number for call in calls for number in call]
    assert [len(call) for call in calls] == [10] * 7
    assert sorted(found[:35]) == sorted(found[35:]) == list(range(35))


def test_events_are_those_that_are_asked_for_and_a_hang_up_is_either() -> None:
    with pairs(3) as made, BoundedSelector() as selector:
        (reader, far), (writer, _), (both, gone) = made
        far.send(b"x")
        gone.close()
        selector.register(reader, READ)
        selector.register(writer, WRITE)
        selector.register(both, READ | WRITE)
        found = {key.fileobj: events for key, events in selector.select(None)}
    assert found == {reader: READ, writer: WRITE, both: READ | WRITE}


def test_nothing_is_reported_of_sockets_that_are_idle_or_unregistered() -> None:
    with pairs(2) as made, BoundedSelector() as selector:
        (idle, _), (left, far) = made
        far.send(b"x")
        selector.register(idle, READ)
        selector.register(left, READ)
        selector.unregister(left)
        assert selector.select(0) == selector.select(-1.0) == selector.select(0.001) == []


def polls() -> int:
    """Open epoll descriptors of this process."""
    found = 0
    for one in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the one of this listing
            found += "eventpoll" in str(one.readlink())
    return found


def test_no_descriptor_is_left_after_the_selector_is_closed() -> None:
    gc.collect()  # loops of earlier tests
    before = polls()
    selector = BoundedSelector()
    assert polls() == before + 2
    selector.close()
    selector.close()
    assert polls() == before


def test_other_work_has_its_turn_between_thousands_of_sockets_that_close_at_once() -> None:
    async def most_in_a_turn() -> int:
        loop, read, turns = asyncio.get_running_loop(), 0, [0]

        def take(near: socket.socket) -> None:
            nonlocal read
            loop.remove_reader(near)
            read += 1

        for near, far in made:
            loop.add_reader(near, take, near)
            far.close()
        while read < len(made):
            await asyncio.sleep(0)
            turns.append(read)
        return max(after - before for before, after in pairwise(turns))

    with pairs(3 * TURN_SOCKETS) as made:
        assert fair_loop.run(most_in_a_turn()) == TURN_SOCKETS


def test_the_server_runs_on_such_a_loop(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found: list[object] = []

    async def run(*_arguments: object, **_options: object) -> None:
        found.append(getattr(asyncio.get_running_loop(), "_selector", None))

    topology = tmp_path / "topology.yaml"
    topology.write_text("{}")
    monkeypatch.setattr(app, "run", run)
    result = CliRunner().invoke(server, ["--topology", str(topology)], catch_exceptions=False)
    assert result.exit_code == 0
    assert [type(one) for one in found] == [BoundedSelector]
