"""The writer of a history as a child process, as its server sees it.

In: folded minutes, names of ends, the time. Out: what became durable. `WriterGoneError` if the
process ended, gave no answer in time, or cannot be started: the caller tries again or counts a
loss. Never: more than the time given, or an import of DuckDB into the server.
"""

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from typing import Any, Protocol

from kzn.errors import KznError, UsageError
from kzn.history.books import Books, Gap, from_document
from kzn.history.directory import Directory
from kzn.history.processes.framing import (
    Payload,
    end_process,
    read_message_until,
    write_message,
)
from kzn.history.retention import Keep
from kzn.model.settled import ByClass, End, Sum

OPEN_SECONDS = 60.0
WRITE_SECONDS = 120.0
ENDS_AT_ONCE = 2_000
"""A message of them takes the interpreter from the event loop for two milliseconds."""
"""Merges of files go on in a thread of the child: a disk that is slower than this hangs."""


class WriterGoneError(KznError):
    """The writer process did not answer."""


class RefusedSegmentError(KznError):
    """Nothing of a segment was written; ``reason`` is a metric label."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class SegmentWriter(Protocol):
    """What the recorder needs of a writer; every call blocks."""

    def open(self) -> Books:
        """Start, or start again; the books on disk. All ends must be added anew then."""
        ...

    def open_books(self, instance: int, ledger: Mapping[str, Sum]) -> Books:
        """The books of this ledger from now on."""
        ...

    def add_ends(self, ends: Sequence[End], *, anew: bool) -> None:
        """Names for the next numbers."""
        ...

    def describe(self, cluster: str, provider_ids: Mapping[str, str]) -> None:
        """The name of the cluster from now on, and further spec.providerID by node."""
        ...

    def write(self, number: int, rows: Payload, dropped: Mapping[str, ByClass], until: int) -> None:
        """Make a segment of rows (of SETTLED, of one hour) durable."""
        ...

    def note(self, dropped: Mapping[str, ByClass], gaps: Sequence[Gap], until: int) -> Books:
        """Make drops and gaps durable."""
        ...

    def maintain(self, now: float) -> bool:
        """One step of merging and removing; whether there may be more."""
        ...

    def close(self) -> None:
        """End the process; what it has begun is completed."""
        ...


def check_installed() -> None:
    """UsageError if DuckDB is not there."""
    if find_spec("duckdb") is None:
        raise UsageError("--history needs DuckDB", hint="pip install 'kzn[history]'")


class WriterProcess:
    """A `SegmentWriter` in a child process, which holds the directory's lock as well."""

    def __init__(
        self, directory: Directory, verdicts: Sequence[tuple[str, str]], keep: Keep
    ) -> None:
        self._directory = directory
        self._verdicts = verdicts
        self._keep = keep
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id, 0 if it does not run."""
        return self._process.pid if self._process is not None else 0

    def open(self) -> Books:
        """See `SegmentWriter`."""
        self._kill()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "kzn.history.processes.writer_child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=(self._directory.lock,),
                process_group=0,  # a Ctrl-C is for the server, which closes it in its turn
            )
        except OSError as error:
            raise WriterGoneError(f"history: the writer cannot be started: {error}") from error
        answer = self._ask(
            {
                "op": "open",
                "root": str(self._directory.root),
                "server": self._directory.server,
                "verdicts": list(self._verdicts),
                "keep": asdict(self._keep),
            },
            seconds=OPEN_SECONDS,
        )
        return from_document(answer["books"])

    def open_books(self, instance: int, ledger: Mapping[str, Sum]) -> Books:
        """See `SegmentWriter`."""
        answer = self._ask({"op": "books", "instance": instance, "ledger": dict(ledger)})
        return from_document(answer["books"])

    def add_ends(self, ends: Sequence[End], *, anew: bool) -> None:
        """See `SegmentWriter`."""
        for at in range(0, max(len(ends), 1), ENDS_AT_ONCE):
            some = list(ends[at : at + ENDS_AT_ONCE])
            self._ask({"op": "ends", "ends": some, "anew": anew and not at})

    def describe(self, cluster: str, provider_ids: Mapping[str, str]) -> None:
        """See `SegmentWriter`."""
        ids = dict(provider_ids)
        self._ask({"op": "describe", "cluster": cluster, "provider_ids": ids})

    def write(self, number: int, rows: Payload, dropped: Mapping[str, ByClass], until: int) -> None:
        """See `SegmentWriter`."""
        header = {"op": "write", "number": number, "dropped": dict(dropped), "until": until}
        self._ask(header, rows)

    def note(self, dropped: Mapping[str, ByClass], gaps: Sequence[Gap], until: int) -> Books:
        """See `SegmentWriter`."""
        header = {
            "op": "note",
            "dropped": dict(dropped),
            "gaps": [asdict(gap) for gap in gaps],
            "until": until,
        }
        return from_document(self._ask(header)["books"])

    def maintain(self, now: float) -> bool:
        """See `SegmentWriter`."""
        return bool(self._ask({"op": "maintain", "now": now})["more"])

    def close(self) -> None:
        """See `SegmentWriter`."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None  # noqa: S101 - a pipe
        try:
            process.stdin.close()
            process.wait(WRITE_SECONDS)
        except (OSError, subprocess.TimeoutExpired):
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()

    def _ask(self, header: Any, payload: Payload = b"", *, seconds: float = WRITE_SECONDS) -> Any:
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise WriterGoneError("history: the writer does not run")
        try:
            write_message(process.stdin, header, payload)
            answer, _ = read_message_until(process.stdout.fileno(), time.monotonic() + seconds)
        except (OSError, EOFError, ValueError) as error:
            what = (
                f"gave no answer within {seconds:.0f} s"
                if isinstance(error, TimeoutError)
                else "ended"
            )
            self._kill()
            raise WriterGoneError(f"history: the writer {what}") from error
        if "error" in answer:
            raise RefusedSegmentError(f"history: {answer['error']}", reason=answer["reason"])
        return answer

    def _kill(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            end_process(process)
