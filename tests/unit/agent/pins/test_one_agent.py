"""One agent for each network namespace: who holds the name, and what others are told."""

import logging
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from kzn.agent.pins.one_agent import only_agent
from kzn.errors import KznError

NAME = f"\0kzn-test-{os.getpid()}"


@contextmanager
def refused() -> Iterator[None]:
    with pytest.raises(KznError, match="another kzn agent") as raised, only_agent(NAME):
        pass
    assert "--print" in raised.value.hint
    yield


def test_a_second_agent_is_refused_until_the_first_has_ended() -> None:
    with only_agent(NAME):
        for _ in range(300):  # more than wait to be accepted
            with refused():
                pass
        with pytest.raises(KznError, match=rf"process {os.getpid()}\b|another kzn agent counts"):
            only_agent(NAME).__enter__()
    with only_agent(NAME):
        pass


def test_a_name_that_is_bound_but_not_listening_yet_is_held_by_an_agent_that_starts() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as starting:
        starting.bind(NAME)
        with refused():
            pass


HOLD = """
import socket, sys
held = socket.socket(socket.AF_UNIX)
held.bind(sys.argv[1].replace("@", chr(0)))
held.listen()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="starts a process of another user")
def test_the_name_in_the_hands_of_an_ordinary_user_does_not_stop_an_agent(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    with subprocess.Popen(
        ["/usr/bin/python3", "-c", HOLD, NAME.replace("\0", "@")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        user=65534,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with only_agent(NAME):
            pass
        holder.kill()
    assert f"process {holder.pid} of user 65534" in caplog.text
    assert "@kzn-test" in caplog.text
