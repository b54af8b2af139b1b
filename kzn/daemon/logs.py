"""The format of log lines on stderr, and rate limiting of warnings that repeat."""

import logging
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TextIO

LEVELS = ("debug", "info", "warning", "error")

_CONTROL = {code: f"\\x{code:02x}" for code in [*range(32), 127, *range(0x80, 0xA0)]}


def set_up(level: str = "info", stream: TextIO | None = None) -> None:
    """Log to ``stream`` (None: stderr): kzn from ``level`` on, libraries from warning on.

    A command calls it once before it starts; another call replaces the first.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(LineFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("kzn").setLevel(level.upper())


class LineFormatter(logging.Formatter):
    """``2026-01-31T12:00:00.000Z warning agent.deliver.shipper: text``, one line of plain text.

    Control characters are escaped, since a message may quote a peer. A traceback follows on
    separate lines.
    """

    converter = staticmethod(time.gmtime)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """The line of ``record`` without its traceback."""
        stamp = self.formatTime(record, "%Y-%m-%dT%H:%M:%S")
        area = record.name.removeprefix("kzn.")
        text = record.message.translate(_CONTROL)
        return f"{stamp}.{int(record.msecs):03d}Z {record.levelname.lower()} {area}: {text}"


class RateLimited:
    """Logs at most one line an interval for each condition, with the number of those suppressed.

    The program names its conditions. In case a name comes from outside, only the latest
    ``max_conditions`` are kept.
    """

    def __init__(
        self,
        logger: logging.Logger,
        interval: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
        max_conditions: int = 100,
        level: int = logging.WARNING,
    ) -> None:
        self._logger = logger
        self._interval = interval
        self._clock = clock
        self._max_conditions = max_conditions
        self._level = level
        self._seen: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def warn(self, condition: str, message: str, *args: object) -> None:
        """Log ``message % args`` unless ``condition`` was logged within the interval."""
        now = self._clock()
        since, suppressed = self._seen.get(condition, (-float("inf"), 0))
        if now - since < self._interval:
            self._seen[condition] = (since, suppressed + 1)
            return
        self._seen[condition] = (now, 0)
        self._seen.move_to_end(condition)
        if len(self._seen) > self._max_conditions:
            self._seen.popitem(last=False)
        if suppressed:
            message = f"{message} (and {suppressed} more times since the last line)"
        self._logger.log(self._level, message, *args)

    def resolved(self, condition: str) -> bool:
        """The condition has ended; its next line is logged at once. True if it was logged."""
        return self._seen.pop(condition, None) is not None

    def resolved_all(self) -> None:
        """All conditions have ended."""
        self._seen.clear()
