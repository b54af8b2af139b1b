"""What a history has, for errors about what it has not. Pure.

In: from when to when there is data. Out: a hint with the times that an option may have.
"""

from datetime import UTC, datetime

from kzn.client.explain import timestamp
from kzn.client.past_traffic import PastTraffic

_MINUTE = 60
_NOTHING = "a minute is in it when it is over"


def extent(answer: PastTraffic) -> tuple[int, int] | None:
    """From when to when a history has data, in whole minutes; None without a minute of it."""
    first, last = answer.complete_from, answer.complete_to
    if first is None or last is None:
        return None
    begin, end = -(-first // _MINUTE) * _MINUTE, last // _MINUTE * _MINUTE
    return (begin, end) if begin < end else None


def hint_of_windows(answer: PastTraffic) -> str:
    """Two windows for ``kzn diff`` that have data: the halves of what there is."""
    span = extent(answer)
    if span is None:
        return _NOTHING
    begin, end = span
    middle = (begin + end) // 2 // _MINUTE * _MINUTE
    if middle == begin:
        return f"it has {_span(span)}: two windows need two minutes"
    return (
        f"it has {_span(span)}; to compare the halves of that: --before"
        f" {timestamp(begin)}..{timestamp(middle)} --after {timestamp(middle)}..{timestamp(end)}"
    )


def hint_of_period(answer: PastTraffic) -> str:
    """The last month of which ``kzn report`` has something."""
    span = extent(answer)
    if span is None:
        return _NOTHING
    month = datetime.fromtimestamp(span[1] - 1, UTC).strftime("%Y-%m")
    return f"it has {_span(span)}: --month {month}"


def note_of_span(begin: int, end: int) -> str:
    """What ``kzn flows`` says below a span without data."""
    return f"the history has {_span((begin, end))}: --from {timestamp(begin)} --to {timestamp(end)}"


def _span(span: tuple[int, int]) -> str:
    return f"{timestamp(span[0])} to {timestamp(span[1])}"
