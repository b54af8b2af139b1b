"""The sink ``dir``: copies of the segments in another folder, such as a volume that is shared.

In: segments of one or several servers. Out: raw/YYYY-MM-DD/NAME below the folder, which
`kzn flows --history` and any reader of Parquet can read. Never: a file that is not whole.
"""

import asyncio
import os
import secrets
import shutil
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from threading import Thread

from kzn.errors import UsageError
from kzn.history.books import sync_directory
from kzn.history.segments import TEMPORARY, Segment
from kzn.sinks.declaration import FinishedSegment, LaterError, RefusedError, SinkPlugin
from kzn.sinks.target import Target


class DirectorySink:
    """Copies into ``root``, one file at a time.

    A file system over the network may hang for hours, also when the call was cancelled: nothing
    else waits for its thread, and no other copy begins meanwhile.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._last: Future[None] | None = None

    async def put(self, segment: FinishedSegment) -> None:
        """See `Sink`."""
        if self._last is not None and not self._last.done():
            raise LaterError(f"{self._root}: the copy before has not ended")
        self._last = _in_thread(lambda: self._copy(segment))
        await asyncio.wrap_future(self._last)

    async def close(self) -> None:
        """See `Sink`."""

    def _copy(self, segment: FinishedSegment) -> None:
        named = Segment.of_name(segment.name)
        if named is None:
            raise RefusedError(f"{segment.name} is not the name of a segment")
        path = named.path(self._root)
        temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}{TEMPORARY}")
        try:
            if path.exists() and path.stat().st_size == segment.size:
                return
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with segment.path.open("rb") as source, temporary.open("wb") as copy:
                    shutil.copyfileobj(source, copy, 1 << 20)
                    copy.flush()
                    os.fsync(copy.fileno())
                temporary.replace(path)
                for left in path.parent.glob(f"{path.name}*{TEMPORARY}"):  # by a killed server
                    left.unlink(missing_ok=True)
            except OSError:
                with suppress(OSError):
                    temporary.unlink()
                raise
            for folder in (path.parent, path.parent.parent, self._root):
                sync_directory(folder)
        except OSError as error:
            raise LaterError(f"{path}: {error.strerror}") from error


def _in_thread(call: Callable[[], None]) -> Future[None]:
    """Call in a thread of its own, which the end of the process does not wait for."""
    future: Future[None] = Future()
    future.set_running_or_notify_cancel()

    def run() -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - the caller gets it
            future.set_exception(error)
        else:
            future.set_result(None)

    Thread(target=run, name="sink-dir", daemon=True).start()
    return future


def open_sink(target: Target) -> DirectorySink:
    """The sink of ``dir:///PATH``."""
    target.only()
    if target.host or not target.path.strip("/"):
        raise UsageError(f"{target.shown} has no absolute path", hint=f"write {SINK.form}")
    return DirectorySink(Path(target.path))


SINK = SinkPlugin(name="dir", open=open_sink, form="dir:///PATH")
