"""kzn/daemon/accept.py and descriptors.py: a lack of descriptors is one log line and passes."""

import asyncio
import logging
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count, islice
from pathlib import Path

import pytest

from kzn.daemon import accept, descriptors
from kzn.daemon.accept import Acceptor
from kzn.daemon.listen import HostPort, bound_port, listen


@contextmanager
def at_most(number: int) -> Iterator[None]:
    """A soft limit of ``number`` descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (number, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def limit_with(room: int) -> int:
    """The limit of descriptors below which ``room`` are free, wherever others left gaps."""
    folder = Path("/proc/self/fd")
    listed = list(folder.iterdir())  # by a descriptor of its own, which is free again
    taken = {int(one.name) for one in listed if one.is_symlink()}
    return next(islice((number for number in count() if number not in taken), room, None))


def served(reserve: int, room: int, attempts: int) -> tuple[int, int]:
    """Connections that got an answer, and refusals, with ``room`` descriptors to spare."""

    async def run() -> tuple[int, int]:
        sockets = listen(HostPort("127.0.0.1", 0))
        port = bound_port(sockets)
        acceptor = Acceptor("tests", lambda _reader, writer: writer.write(b"x"), reserve=reserve)
        acceptor.start(sockets)
        clients = []
        answered = 0
        try:
            with at_most(limit_with(room)):
                for _ in range(attempts):
                    try:
                        reader, writer = await asyncio.open_connection("127.0.0.1", port)
                    except OSError:
                        break
                    clients.append(writer)
                    async with asyncio.timeout(10):
                        with suppress(ConnectionResetError):
                            answered += await reader.read(1) == b"x"
            return answered, acceptor.refused
        finally:
            acceptor.close()
            for writer in clients:
                writer.close()

    return asyncio.run(run())


def test_the_last_descriptors_are_left_for_others(caplog: pytest.LogCaptureFixture) -> None:
    # Client and server are one process here: each connection takes two descriptors.
    with caplog.at_level(logging.WARNING):
        answered, refused = served(reserve=20, room=40, attempts=15)
    assert (answered, refused) == (10, 5)
    assert len(caplog.records) == 1
    assert "port for tests" in caplog.text


def test_a_listener_without_descriptors_waits_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(accept, "PAUSE_SECONDS", 0.01)

    async def run() -> None:
        sockets = listen(HostPort("127.0.0.1", 0))
        acceptor = Acceptor("tests", lambda _reader, writer: writer.write(b"x"), reserve=0)
        acceptor.start(sockets)
        with at_most(limit_with(1)):  # enough for the client alone
            reader, writer = await asyncio.open_connection("127.0.0.1", bound_port(sockets))
            while acceptor.refused < 5:  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.01)
        async with asyncio.timeout(10):
            assert await reader.read(1) == b"x"
        writer.close()
        acceptor.close()

    with caplog.at_level(logging.WARNING):
        asyncio.run(run())
    assert len(caplog.records) == 1
    assert "Too many open files" in caplog.text


@pytest.mark.parametrize(("hard", "expected"), [(4096, 4096), (256, 256)])
def test_the_soft_limit_becomes_the_hard_limit(hard: int, expected: int) -> None:
    code = (
        "import resource; from kzn.daemon import descriptors;"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, (128, {hard}));"
        "print(descriptors.raise_limit(), *resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == [str(expected)] * 3


def test_the_limit_stays_if_it_cannot_be_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda _: (128, 4096))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert descriptors.raise_limit() == 128
