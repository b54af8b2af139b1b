"""The live view on a terminal: it draws, reads keys and restores the terminal."""

import fcntl
import os
import pty
import select
import signal
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
def test_the_view_follows_keys_and_the_size_of_the_terminal() -> None:
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    before = termios.tcgetattr(slave)
    with serving(real) as url:
        command = [*KZN, "top", "--url", url, "--interval", "60s"]
        environment = os.environ | {"TERM": "xterm"}
        with subprocess.Popen(command, stdin=slave, stdout=slave, env=environment) as process:
            try:
                deadline = time.monotonic() + SECONDS
                assert "by rate" in read_until(master, "shop/db", deadline)
                os.write(master, b"t")
                read_until(master, "by total", deadline)
                os.write(master, b"\r")
                read_until(master, "Escape back", deadline)
                os.write(master, b"\x1b")
                read_until(master, "q quit", deadline)
                os.write(master, b"/nothing")
                assert "match 'nothing'" in read_until(master, "filter: nothing", deadline)
                os.write(master, b"\x1b?")
                read_until(master, "Keys of kzn top", deadline)
                os.write(master, b"\x1b")
                read_until(master, "up/down select", deadline)
                # Another size is drawn at once, without a key.
                fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
                os.kill(process.pid, signal.SIGWINCH)
                read_until(master, "Enter open  / filter  r t c n sort", deadline)
                os.write(master, b"q")
                assert process.wait(SECONDS) == 0
            finally:
                process.kill()
    assert termios.tcgetattr(slave) == before
    os.close(master)
    os.close(slave)
