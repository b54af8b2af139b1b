"""Compares rollups of nodes with those of pairs that were made of the same files.

Histories of before may have days of nodes that were made without some of their hours.
"""

from collections.abc import Sequence
from pathlib import Path

from kzn.history.columns import KEPT_OF_NODES
from kzn.history.segments import Level, Segment
from kzn.history.upkeep.catalog import Catalog
from kzn.history.writing.merging import MergeError, Merging

_AT_ONCE = 200
"""Files of one statement."""


def pairs_of_nodes(found: Catalog) -> list[tuple[Segment, Segment]]:
    """Each rollup of pairs with that of nodes that should have the same flows."""
    made: list[tuple[Segment, Segment]] = []
    levels: tuple[tuple[Level, Level], ...] = (("hour", "node_hour"), ("day", "node_day"))
    for level, of_nodes in levels:
        for day in found.days(of_nodes):
            pairs = {(one.begin, one.server, one.number): one for one in day.levels[level]}
            of_pairs = (
                (pairs.get((one.begin, one.server, one.number)), one)
                for one in day.levels[of_nodes]
            )
            made += [(pair, one) for pair, one in of_pairs if pair is not None]
    return made


def unlike(merging: Merging, root: Path, pairs: Sequence[tuple[Segment, Segment]]) -> list[Segment]:
    """The second of those of ``pairs`` whose flows have not the bytes of the first.

    Files that cannot be read, or are removed meanwhile, are not among them.
    """
    found: list[Segment] = []
    for at in range(0, len(pairs), _AT_ONCE):
        some = pairs[at : at + _AT_ONCE]
        try:
            found += _unlike(merging, root, some)
        except MergeError:
            for pair in some:
                try:
                    found += _unlike(merging, root, [pair])
                except MergeError:
                    continue
    return found


def _unlike(
    merging: Merging, root: Path, pairs: Sequence[tuple[Segment, Segment]]
) -> list[Segment]:
    of_pairs = merging.bytes_of([one.path(root) for one, _ in pairs])
    of_nodes = merging.bytes_of([one.path(root) for _, one in pairs], KEPT_OF_NODES["src"])
    return [
        node for pair, node in pairs if of_pairs.get(pair.name, 0) != of_nodes.get(node.name, 0)
    ]
