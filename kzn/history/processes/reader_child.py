"""The reader process: queries on stdin, answers on stdout, until stdin ends or nothing is asked.

In: `framing` messages of `reader_process`. Out: answers of a `Reader`, or an error.
Never: memory that is kept longer than a minute after the last query.
"""

import os
import select
import signal
import sys
from pathlib import Path
from typing import Any

from kzn.errors import KznError, UsageError
from kzn.history.processes import answers
from kzn.history.processes.framing import read_message, write_message
from kzn.history.query import query_from_wire
from kzn.history.reader import Reader, TooSlowError

IDLE_SECONDS = 60.0
NICE = 10


def main() -> None:
    """Answer queries about the directory that is the argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(NICE)
    sink = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # nothing else may write into the answers
    source = os.fdopen(os.dup(sys.stdin.fileno()), "rb", buffering=0)
    reader = Reader(Path(sys.argv[1]))
    while select.select([source], [], [], IDLE_SECONDS)[0]:
        message = read_message(source)
        if message is None:
            return
        write_message(sink, *_answer(reader, message[0]))


def _answer(reader: Reader, question: Any) -> tuple[Any, bytes]:
    """A header and an answer."""
    try:
        query, seconds = query_from_wire(question["query"]), float(question["seconds"])
        return {}, answers.encode(reader.ask(query, seconds=seconds))
    except KznError as error:
        kind = "slow" if isinstance(error, TooSlowError) else ""
        kind = "usage" if isinstance(error, UsageError) else kind
        return {"error": error.message, "hint": error.hint, "kind": kind}, b""


if __name__ == "__main__":
    main()
