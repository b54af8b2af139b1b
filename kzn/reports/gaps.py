"""Gaps of a history as sentences below a table. Pure."""

from collections.abc import Iterator, Sequence

from kzn.client.explain import timestamp
from kzn.client.past_traffic import Missing
from kzn.reports.amounts import printable

MOST = 5
"""Gaps that have a sentence each: a history keeps a thousand, and messages are short."""


def gap_notes(gaps: Sequence[Missing], of: str) -> Iterator[str]:
    """A sentence for each of the first gaps of a span, and one for all that follow."""
    for gap in gaps[:MOST]:
        span = f"from {timestamp(gap.begin)} to {timestamp(gap.end)}"
        yield f"Of {of} bytes are missing {span}: {printable(gap.reason)}."
    if rest := gaps[MOST:]:
        until = timestamp(max(gap.end for gap in rest))
        yield f"Of {of} bytes are missing in {len(rest)} more spans until {until}."
