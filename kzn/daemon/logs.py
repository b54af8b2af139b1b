"""Log lines on stderr, one form for both daemons, and a brake for conditions that repeat."""

import logging
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TextIO

LEVELS = ("debug", "info", "warning", "error")

_CONTROL = {code: f"\\x{code:02x}" for code in [*range(32), 127, *range(0x80, 0xA0)]}


def set_up(level: str = "info", stream: TextIO | None = None) -> None:
    """Log to ``stream`` (stderr when None): kzn from ``level`` on, libraries their warnings.

    Called once by a command before it starts; called again it replaces what it had set up.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(LineFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("kzn").setLevel(level.upper())


class LineFormatter(logging.Formatter):
    """``2026-01-31T12:00:00.000Z warning agent.ship: text``, always one line of plain text.

    What a peer wrote may be in a message: control characters are shown, not obeyed. A traceback
    follows on lines of its own.
    """

    converter = staticmethod(time.gmtime)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """The line of ``record`` without its traceback."""
        stamp = self.formatTime(record, "%Y-%m-%dT%H:%M:%S")
        area = record.name.removeprefix("kzn.")
        text = record.message.translate(_CONTROL)
        return f"{stamp}.{int(record.msecs):03d}Z {record.levelname.lower()} {area}: {text}"


class RateLimited:
    """Lets one line an interval through for each condition, and says how many it held back.

    Conditions are few and named by the program; should their names come from outside after all,
    only the latest ``max_conditions`` are remembered.
    """

    def __init__(
        self,
        logger: logging.Logger,
        interval: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
        max_conditions: int = 100,
    ) -> None:
        self._logger = logger
        self._interval = interval
        self._clock = clock
        self._max_conditions = max_conditions
        self._seen: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def warn(self, condition: str, message: str, *args: object) -> None:
        """Warn ``message % args`` unless ``condition`` had its line within the interval."""
        now = self._clock()
        since, held = self._seen.get(condition, (-float("inf"), 0))
        if now - since < self._interval:
            self._seen[condition] = (since, held + 1)
            return
        self._seen[condition] = (now, 0)
        self._seen.move_to_end(condition)
        if len(self._seen) > self._max_conditions:
            self._seen.popitem(last=False)
        if held:
            message = f"{message} (and {held} times more since the last line)"
        self._logger.warning(message, *args)

    def resolved(self, condition: str) -> bool:
        """The condition has ended: its next line comes at once. True when it had been logged."""
        return self._seen.pop(condition, None) is not None
