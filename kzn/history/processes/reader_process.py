"""The reader of a history as a child process: started when needed, ended when idle.

In: queries, one at a time. Out: answers. UsageError for a query that the data cannot answer,
KznError for one that comes when it is stopped or whose files cannot be read,
`LateError` for one that takes too long, the time included that it waits for others.
Never: more than the time given: the process ends the query then, or else is killed.
"""

import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kzn.errors import KznError, UsageError
from kzn.history.processes import answers
from kzn.history.processes.framing import end_process, read_message_until, write_message
from kzn.history.query import Answer, TrafficQuery

ASK_SECONDS = 25.0
"""Less than the HTTP server's limit, so that its client is told why."""
END_SECONDS = 2.0
"""For the process to end a query whose time is over, before it is killed."""


class LateError(KznError):
    """There was no answer in time, with what to ask instead if it was asked at all."""


class ReaderProcess:
    """Asks about one directory; every call blocks, and one thread asks at a time."""

    def __init__(self, root: Path, *, seconds: float = ASK_SECONDS) -> None:
        self._root = root
        self._seconds = seconds
        self.ends_within = END_SECONDS
        self._process: subprocess.Popen[bytes] | None = None
        self._is_stopped = False
        self._starting = threading.Lock()
        self._asking = threading.Lock()

    @property
    def pid(self) -> int:
        """The process id, 0 if none runs."""
        return self._process.pid if self._process is not None else 0

    @property
    def is_running(self) -> bool:
        """Whether there is a process that has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the process, if none runs, before it is asked; KznError, OSError."""
        self._started()

    def deadline(self) -> float:
        """Until when (time.monotonic) a query that is asked now must be answered."""
        return time.monotonic() + self._seconds

    def ask(self, query: TrafficQuery, deadline: float | None = None) -> Answer:
        """The answer; ``deadline`` is that of now without one."""
        until = self.deadline() if deadline is None else deadline
        with self._asking:
            try:
                header, answer = self._say(query, until)
            except (OSError, EOFError):  # it was idle and has ended, or was killed: once more
                self.close()
                try:
                    header, answer = self._say(query, until)
                except (OSError, EOFError) as error:
                    self.close()
                    raise KznError("history: the reader process ended") from error
        if "error" in header:
            if header["kind"] == "slow":
                raise self._too_slow()
            kind = UsageError if header["kind"] == "usage" else KznError
            raise kind(header["error"], hint=header["hint"])
        return answers.decode(answer)

    def close(self) -> None:
        """End the process; the thread that asks calls it."""
        process, self._process = self._process, None
        if process is not None:
            end_process(process)

    def stop(self) -> None:
        """End the process and its query, from any thread; later queries fail."""
        with self._starting:
            self._is_stopped = True
            if self._process is not None:
                self._process.kill()  # the thread that asks reads the end of the pipe
        with self._asking:
            self.close()

    def _say(self, query: TrafficQuery, until: float) -> tuple[Any, bytes]:
        left = until - time.monotonic()
        if left <= 0:
            raise LateError(
                f"history: no turn within {self._seconds:g} s, because of other questions",
                hint="try again",
            )
        process = self._started()
        assert process.stdin is not None  # noqa: S101 - both are pipes
        assert process.stdout is not None  # noqa: S101
        write_message(process.stdin, {"query": asdict(query), "seconds": left})
        try:
            return read_message_until(process.stdout.fileno(), until + self.ends_within)
        except TimeoutError as error:
            self.close()
            raise self._too_slow() from error

    def _too_slow(self) -> LateError:
        return LateError(
            f"history: no answer within {self._seconds:g} s",
            hint="ask for a shorter span or fewer dimensions",
        )

    def _started(self) -> "subprocess.Popen[bytes]":
        with self._starting:
            if self._is_stopped:
                raise KznError("history: the server is stopping")
            if self._process is None or self._process.poll() is not None:
                self.close()
                self._process = subprocess.Popen(
                    [
                        sys.executable,
                        "-P",
                        "-m",
                        "kzn.history.processes.reader_child",
                        str(self._root),
                    ],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    process_group=0,
                )
            return self._process
