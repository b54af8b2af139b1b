"""The writer process: requests on stdin, answers on stdout, until stdin ends.

In: `framing` messages of `writer_process`. Out: the answers of a `Writer`. Never: a request left
half done because the server is gone: it is completed, then the process ends. Only a merge of files
is given up, which the next start repeats.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np

from kzn.history.books import Gap, by_class, document
from kzn.history.processes.framing import read_message, write_message
from kzn.history.retention import Keep
from kzn.history.writer import WriteError, Writer
from kzn.model.settled import SETTLED, End

NICE = 10
"""Below the server, which acknowledges batches meanwhile."""


def main() -> None:
    """Serve requests until the server closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(NICE)
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # nothing else may write into the answers
    serve(source, sink)


def serve(source: IO[bytes], sink: IO[bytes]) -> None:
    """Answer each request; the first must be ``open``."""
    writer: Writer | None = None
    while (message := read_message(source)) is not None:
        header, payload = message
        try:
            if header["op"] == "open":
                writer = _open(header)
                answer: Any = {"books": document(writer.books)}
            else:
                assert writer is not None  # noqa: S101 - the server opens first
                answer = _OPERATIONS[header["op"]](writer, header, payload)
        except WriteError as error:
            answer = {"error": error.message, "reason": error.reason}
        try:
            write_message(sink, answer)
        except BrokenPipeError:
            break
    if writer is not None:
        writer.close()


def _open(header: Any) -> Writer:
    verdicts = [(name, reason) for name, reason in header["verdicts"]]
    return Writer(Path(header["root"]), header["server"], verdicts, Keep(**header["keep"]))


def _books(writer: Writer, header: Any, _payload: bytes) -> Any:
    return {"books": document(writer.open_books(header["instance"], by_class(header["ledger"])))}


def _ends(writer: Writer, header: Any, _payload: bytes) -> Any:
    writer.add_ends([End(*end) for end in header["ends"]], anew=header["anew"])
    return {}


def _describe(writer: Writer, header: Any, _payload: bytes) -> Any:
    writer.describe(header["cluster"], header["provider_ids"])
    return {}


def _write(writer: Writer, header: Any, payload: bytes) -> Any:
    rows = np.frombuffer(payload, SETTLED)
    dropped = {reason: by_class(sums) for reason, sums in header["dropped"].items()}
    return {"sums": writer.write(header["number"], rows, dropped, header["until"])}


def _note(writer: Writer, header: Any, _payload: bytes) -> Any:
    dropped = {reason: by_class(sums) for reason, sums in header["dropped"].items()}
    gaps = [Gap(**gap) for gap in header["gaps"]]
    return {"books": document(writer.note(dropped, gaps, header["until"]))}


def _maintain(writer: Writer, header: Any, _payload: bytes) -> Any:
    return {"more": writer.maintain(header["now"])}


_OPERATIONS: dict[str, Callable[[Writer, Any, bytes], Any]] = {
    "books": _books,
    "ends": _ends,
    "describe": _describe,
    "write": _write,
    "note": _note,
    "maintain": _maintain,
}


if __name__ == "__main__":
    main()
