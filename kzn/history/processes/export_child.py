"""The export process: one question on stdin; on stdout an answer (`framing`), then the rows.

In: the directory as argument, an `Export`. Out: ``rows`` or an error, and after ``rows`` the bytes
of the file. The exit code is 0 only if they are complete.
"""

import os
import resource
import signal
import sys
from pathlib import Path

from kzn.errors import KznError, UsageError
from kzn.history.export import Exporter
from kzn.history.export_query import Export
from kzn.history.processes.framing import read_message, write_message
from kzn.history.query import query_from_wire
from kzn.history.reader import Reader

NICE = 10


def main() -> int:
    """Write one export; the exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(NICE)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)  # its reader holds files open
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    descriptor = os.dup(sys.stdout.fileno())
    sink, path = os.fdopen(descriptor, "wb"), f"/dev/fd/{descriptor}"
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # nothing else may write into the rows
    message = read_message(sys.stdin.buffer)
    if message is None:
        return 1
    asked = message[0]
    try:
        export = Export(query_from_wire(asked["query"]), asked["format"], asked["rows"])
        exporter = Exporter(Reader(Path(sys.argv[1]), output=path), export)
        about, rows = exporter.prepare()
        query, source = about.query, about.source
    except KznError as error:
        is_usage = isinstance(error, UsageError)
        write_message(sink, {"error": error.message, "hint": error.hint, "usage": is_usage})
        return 0
    write_message(sink, {"begin": query.begin, "end": query.end, "source": source, "rows": rows})
    try:
        exporter.write(path)
    except KznError as error:
        print(f"history: an export was cut short: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
