"""The live view on a terminal: it draws, reads keys and restores the terminal."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time

import pytest
from smallserver import real, serving

KZN = [sys.executable, "-m", "kzn.cli.main"]
SECONDS = 30.0


def read_until(master: int, wanted: str, deadline: float) -> str:
    text = ""
    while wanted not in text:
        ready, _, _ = select.select([master], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, text
        text += os.read(master, 65536).decode(errors="replace")
    return text


@pytest.mark.slow
def test_the_view_draws_sorts_and_ends_on_a_key() -> None:
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    before = termios.tcgetattr(slave)
    with serving(real) as url:
        command = [*KZN, "top", "--url", url, "--interval", "200ms"]
        environment = os.environ | {"TERM": "xterm"}
        with subprocess.Popen(command, stdin=slave, stdout=slave, env=environment) as process:
            try:
                deadline = time.monotonic() + SECONDS
                assert "by rate" in read_until(master, "shop/db", deadline)
                os.write(master, b"t")
                read_until(master, "by total", deadline)
                os.write(master, b"q")
                assert process.wait(SECONDS) == 0
            finally:
                process.kill()
    assert termios.tcgetattr(slave) == before
    os.close(master)
    os.close(slave)
