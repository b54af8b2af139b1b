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
            message = f"{message} (and {counted(suppressed, 'more time')} since the last line)"
        self._logger.log(self._level, message, *args)

    def resolved(self, condition: str) -> bool:
        """The condition has ended; its next line is logged at once. True if it was logged."""
        return self._seen.pop(condition, None) is not None

    def resolved_all(self) -> None:
        """All conditions have ended."""
        self._seen.clear()


def counted(number: int, noun: str, plural: str = "") -> str:
    """A number and its noun, in the plural unless the number is 1."""
    return f"{number} {noun}" if number == 1 else f"{number} {plural or f'{noun}s'}"


class RateLimitedNames:
    """Logs one condition that many things have: at most one line an interval for all of them.

    ``message`` gets the number of those since the last line, and the names of the first three; the
    one for a single thing, ``message_for_one``, gets its name. Beyond ``max_names`` distinct names
    are counted as they come.
    """

    def __init__(
        self,
        logger: logging.Logger,
        message: str,
        message_for_one: str,
        interval: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
        max_names: int = 20_000,
    ) -> None:
        self._logger = logger
        self._message = message
        self._message_for_one = message_for_one
        self._interval = interval
        self._clock = clock
        self._max_names = max_names
        self._names: dict[str, None] = {}
        self._more = 0
        self._logged = -float("inf")

    def warn(self, name: str) -> None:
        """``name`` has the condition."""
        if len(self._names) < self._max_names:
            self._names[name] = None
        elif name not in self._names:
            self._more += 1
        now = self._clock()
        if now - self._logged < self._interval:
            return
        self._logged = now
        names = list(self._names)
        if len(names) + self._more == 1:
            self._logger.warning(self._message_for_one, *names)
        else:
            shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
            self._logger.warning(self._message, len(names) + self._more, shown)
        self._names.clear()
        self._more = 0
