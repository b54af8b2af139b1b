"""Which data answer a query: minutes, hours or days. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from kzn.history.query import UNITS, Source, TrafficQuery
from kzn.history.segments import DAY, HOUR, OF_NODES, Level

MINUTES_UP_TO = 6 * HOUR
"""Spans for which minutes are read although rollups would do."""
HOURS_UP_TO = 45 * DAY
LEVEL_OF: dict[Source, Level] = {"minutes": "raw", "hours": "hour", "days": "day"}


def first_minute(begin: int, hour: int, minute: int) -> int:
    """From when on there is data, of a source whose first hour or day begins at ``begin``.

    ``hour`` and ``minute`` are the first that have rows, 0 without any. In a young history they are
    of the same day and hour as what is coarser; once they are removed with age they are not.
    """
    for finer, unit in ((hour, DAY), (minute, HOUR)):
        if finer // unit * unit == begin:
            begin = finer
    return begin


@dataclass(frozen=True, slots=True)
class Chosen:
    """What answers a query; ``first`` is from when on it has data, None without any.

    ``side`` is whose node is asked for, where the rollups of nodes answer; else it is empty. They
    lack the spans in ``holes``, each from its first second to its end.
    """

    source: Source
    first: int | None
    side: str = ""
    holes: tuple[tuple[int, int], ...] = ()

    @property
    def levels(self) -> dict[Source, Level]:
        """The level of each source."""
        return {s: OF_NODES[one] if self.side else one for s, one in LEVEL_OF.items()}


def choose_source(
    begins: Mapping[Level, int],
    query: TrafficQuery,
    *,
    may_be_nodes: bool = True,
    reads_finer: bool = True,
) -> Chosen:
    """The source for a query. ``begins`` is when the first span of each level with data begins.

    Rollups of nodes have all that zones and classes need and are far smaller than those of
    workloads, so they answer where they reach as far. With ``reads_finer`` spans that a level has
    not are read from finer ones.
    """
    side = query.side_of_nodes if may_be_nodes else ""
    of_nodes = _chosen(begins, query, side, reads_finer=reads_finer) if side else None
    if query.needs_detail:
        minutes = Chosen("minutes", begins.get("raw"))
        if of_nodes is None or (minutes.first is not None and _is_beyond(minutes, of_nodes, query)):
            return minutes
        return of_nodes
    of_pairs = _chosen(begins, query, "", reads_finer=reads_finer)
    if of_nodes is not None and _reaches(of_nodes, of_pairs, query):
        return of_nodes
    return of_pairs


def _reaches(one: Chosen, other: Chosen, query: TrafficQuery) -> bool:
    """Whether ``one`` has all of the span that ``other`` has, from the same source."""
    if one.source != other.source or one.first is None or other.first is None:
        return False
    return one.first <= max(other.first, query.first)


def _is_beyond(one: Chosen, other: Chosen, query: TrafficQuery) -> bool:
    """Whether ``one`` has more of the span than ``other``."""
    assert one.first is not None  # noqa: S101 - the caller looks
    return other.first is None or other.first > max(one.first, query.first)


def _chosen(
    begins: Mapping[Level, int], query: TrafficQuery, side: str, *, reads_finer: bool
) -> Chosen:
    levels = Chosen("minutes", None, side).levels
    firsts = {source: begins[level] for source, level in levels.items() if level in begins}
    if not firsts:
        return Chosen("minutes", None)
    length = query.end - query.first
    wanted: list[Source] = ["minutes", "hours", "days"]
    if length > MINUTES_UP_TO:
        wanted = ["hours", "days"] if length <= HOURS_UP_TO else ["days"]
    best: Source | None = None
    begin = 0
    for source in wanted:
        # Unfinished spans are read from finer files, so a source has all that finer ones have.
        finer = [
            first
            for other, first in firsts.items()
            if other == source or (reads_finer and UNITS[other] <= UNITS[source])
        ]
        if not finer:
            continue
        goes_further = min(finer) < begin // UNITS[source] * UNITS[source]
        if best is None or (begin > query.first and goes_further):
            best, begin = source, min(finer)
    if best is None:
        return Chosen("minutes", None)
    return Chosen(best, begin, side if best != "minutes" else "")
