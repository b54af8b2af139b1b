"""The reader of a history as a child process: started when something is asked, ended when idle.

In: queries, one at a time. Out: answers. UsageError for a query that the data cannot answer,
KznError for one that takes too long or needs too much memory.
Never: more than the time given: the process is killed then, which harms nothing.
"""

import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kzn.errors import KznError, UsageError
from kzn.history.processes.framing import end_process, read_message_until, write_message
from kzn.history.query import Answer, TrafficQuery, from_wire

ASK_SECONDS = 30.0


class ReaderProcess:
    """Asks about one directory; every call blocks, and one thread calls at a time."""

    def __init__(self, root: Path, *, seconds: float = ASK_SECONDS) -> None:
        self._root = root
        self._seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id, 0 if none runs."""
        return self._process.pid if self._process is not None else 0

    def ask(self, query: TrafficQuery) -> Answer:
        """The answer."""
        try:
            answer = self._say(asdict(query))
        except (OSError, EOFError):  # it was idle and has ended, or was killed: once more
            self.close()
            try:
                answer = self._say(asdict(query))
            except (OSError, EOFError) as error:
                self.close()
                raise KznError("history: the reader process ended") from error
        if "error" in answer:
            kind = UsageError if answer["usage"] else KznError
            raise kind(answer["error"], hint=answer["hint"])
        return from_wire(answer["answer"])

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            end_process(process)

    def _say(self, question: Any) -> Any:
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "kzn.history.processes.reader_child", str(self._root)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                process_group=0,
            )
        process = self._process
        assert process.stdin is not None  # noqa: S101 - both are pipes
        assert process.stdout is not None  # noqa: S101
        write_message(process.stdin, question)
        try:
            deadline = time.monotonic() + self._seconds
            return read_message_until(process.stdout.fileno(), deadline)[0]
        except TimeoutError as error:
            self.close()
            raise KznError(
                f"history: no answer within {self._seconds:g} s",
                hint="ask for a shorter span or fewer dimensions",
            ) from error
