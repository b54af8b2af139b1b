"""The two windows of a comparison. Pure.

In: text of options. Out: two `Window` of the same length unless both were given. Never: windows
that overlap.
"""

from dataclasses import dataclass

from kzn.client.traffic import parse_since, parse_span_time
from kzn.errors import UsageError

DAY, WEEK = 86_400, 7 * 86_400
_HINT = "write FROM..TO, FROM.. or a duration such as 7d; times as 10m, 7d or RFC 3339"


@dataclass(frozen=True, slots=True)
class Window:
    """A span in Unix seconds."""

    begin: int
    end: int

    @property
    def seconds(self) -> int:
        """Its length."""
        return self.end - self.begin

    def earlier(self, seconds: int) -> "Window":
        """The window moved back."""
        return Window(self.begin - seconds, self.end - seconds)


def windows(before: str | None, after: str | None, now: float) -> tuple[Window, Window]:
    """The windows of ``--before`` and ``--after``; UsageError.

    Without ``after`` it is the last day, with an end of ``before`` as long as that one and until
    now. Without ``before`` it is the same span whole weeks earlier, so that both have the same
    weekdays; one with a begin alone (``7d..``) is as long as ``after``.
    """
    minute = int(now) // 60 * 60
    if before is not None and (begin := _open(before)) is not None:
        second = _window(after, minute) if after is not None else Window(minute - DAY, minute)
        return _checked(_from(begin, second, minute), second)
    first = _window(before, minute) if before is not None else None
    if after is not None:
        second = _window(after, minute)
    else:
        length = first.seconds if first is not None else DAY
        second = Window(minute - length, minute)
        if first is not None and second.begin < first.end:
            second = Window(first.end, minute)
    if first is None:
        first = second.earlier(-(-second.seconds // WEEK) * WEEK)
    return _checked(first, second)


def _open(text: str) -> str | None:
    """The begin of a window without an end: ``7d..``, or ``7d``; None for another one."""
    begin, dots, end = text.partition("..")
    return None if end or (dots and not begin) else begin


def _from(begin: str, second: Window, now: int) -> Window:
    """The window from a time on, as long as the second one, and no longer than until it."""
    first = _time(begin, now)
    return Window(first, min(first + second.seconds, second.begin))


def _checked(first: Window, second: Window) -> tuple[Window, Window]:
    if first.end > second.begin or first.seconds <= 0:
        raise UsageError("the windows overlap: --before must end where --after begins or earlier")
    if second.seconds <= 0:
        raise UsageError("there is nothing after the window of --before yet")
    return first, second


def _window(text: str, now: int) -> Window:
    """``FROM..TO``, ``FROM..`` (until now), or a duration until now."""
    begin, dots, end = text.partition("..")
    if not dots:
        return Window(now - parse_since(text), now)
    if not begin:
        raise UsageError(f"{text[:40]!r} has no begin", hint=_HINT)
    first = _time(begin, now)
    last = _time(end, now) if end else now
    if last <= first:
        raise UsageError(f"{text[:40]!r} ends before it begins", hint=_HINT)
    return Window(first, last)


def _time(text: str, now: int) -> int:
    """How long ago, also in days and weeks, Unix seconds, or RFC 3339."""
    if text[-1:] in "dw" and text[:-1].isdigit():
        return now - parse_since(text)
    return int(parse_span_time(text, now))
