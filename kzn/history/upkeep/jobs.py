"""Work that reads files, in a thread: minutes are written while it goes on.

In: a call. Out: its result or its error, when it is done. Never: a process that cannot end because
of it: DuckDB leaves the interpreter to other threads, and a thread that hangs is left behind.
"""

from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as _TimeoutError
from threading import Thread
from time import monotonic
from typing import Generic, TypeVar

_T = TypeVar("_T")


class Job(Generic[_T]):
    """A call that has begun; ``what`` says in a log line what it does."""

    def __init__(self, what: str, work: Callable[[], _T]) -> None:
        self.what = what
        self._began = monotonic()
        self._future: Future[_T] = Future()
        self._future.set_running_or_notify_cancel()
        Thread(target=self._run, args=(work,), name="history-job", daemon=True).start()

    def is_done(self, seconds: float) -> bool:
        """Whether it is done, at the latest after ``seconds``."""
        try:
            self._future.exception(seconds)
        except _TimeoutError:
            return False
        return True

    def result(self) -> _T:
        """What the call returned; its error is raised."""
        return self._future.result()

    def seconds(self) -> float:
        """How long it has been under way."""
        return monotonic() - self._began

    def _run(self, work: Callable[[], _T]) -> None:
        try:
            self._future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - the caller gets it
            self._future.set_exception(error)
