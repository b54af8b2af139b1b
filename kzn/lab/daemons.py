"""`kzn server` and `kzn agent` as processes in namespaces of a lab.

In: a lab and a command line. Out: a running process that has answered its health page.
Never: waits without a deadline, or ignores a daemon that ended (the error has its last lines).
"""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import IO, cast

from kzn.errors import KznError
from kzn.lab.lab import Lab
from kzn.lab.namespaces import inside

READY_SECONDS = 120.0
STOP_SECONDS = 20.0
POLL_SECONDS = 0.02
LAST_LINES = 8
KZN = [sys.executable, "-m", "kzn.cli.main"]


def fetch(namespace: str, host: str, port: int, path: str) -> tuple[int, str]:
    """HTTP GET from inside a namespace: status and text; OSError without an answer."""
    connection = HTTPConnection(host, port, timeout=10)
    try:
        with inside(namespace):
            connection.connect()
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except HTTPException as error:
        raise ConnectionError(f"http://{host}:{port}{path}: {error!r}") from error
    finally:
        connection.close()


class Daemon:
    """A process of kzn in a namespace, with its HTTP port on the namespace's loopback."""

    def __init__(
        self, lab: Lab, name: str, namespace: str, arguments: Sequence[str], *, port: int
    ) -> None:
        self.name = name
        self._namespace = namespace
        self._port = port
        self._errors = Path(lab.directory, f"{name.replace(' ', '-')}.stderr")
        with self._errors.open("wb") as errors:
            self.process = lab.popen(
                namespace, [*KZN, *arguments], stdout=subprocess.PIPE, stderr=errors
            )

    @property
    def stdout(self) -> IO[bytes]:
        """The daemon's stdout; the caller must read it."""
        return cast(IO[bytes], self.process.stdout)

    def wait_ready(self, path: str) -> None:
        """Wait until the page answers 200; KznError if the daemon ends or takes too long."""
        answer = "no answer"

        def ready() -> bool:
            nonlocal answer
            self.check()
            try:
                status, answer = fetch(self._namespace, "127.0.0.1", self._port, path)
            except OSError:
                return False
            return status == 200

        if not wait_for(ready, READY_SECONDS):
            raise KznError(
                f"{self.name} was not ready after {READY_SECONDS:.0f} s: {answer.strip()}",
                hint=self._last_lines(),
            )

    def page(self, path: str) -> str:
        """The text of a page; KznError for another status than 200."""
        self.check()
        try:
            status, text = fetch(self._namespace, "127.0.0.1", self._port, path)
        except OSError as error:
            raise KznError(f"{self.name}: {path}: {error}", hint=self._last_lines()) from error
        if status != 200:
            raise KznError(f"{self.name}: {path} answered {status}: {text.strip()}")
        return text

    def check(self) -> None:
        """KznError with its last log lines if it has ended."""
        status = self.process.poll()
        if status is not None:
            raise KznError(f"{self.name} ended with status {status}", hint=self._last_lines())

    def ask_to_stop(self) -> None:
        """Send SIGTERM and return at once."""
        self.check()
        self.process.send_signal(signal.SIGTERM)

    def wait_stopped(self) -> None:
        """Wait for the end after `ask_to_stop`; KznError if it fails or takes too long."""
        try:
            status = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise KznError(
                f"{self.name} did not stop within {STOP_SECONDS:.0f} s", hint=self._last_lines()
            ) from error
        if status != 0:
            raise KznError(f"{self.name} ended with status {status}", hint=self._last_lines())

    def _last_lines(self) -> str:
        lines = self._errors.read_text(errors="replace").splitlines()[-LAST_LINES:]
        return "\n".join(lines) or "it printed nothing on stderr"


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether ``condition`` becomes true within ``seconds``; polled every POLL_SECONDS."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True
