"""What was rolled out in the windows of a comparison, as far as it concerns what is compared. Pure.

In: an answer of /api/v1/rollouts, the names that a comparison shows. Out: `RolledOut`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from kzn.client.advice import Proposed
from kzn.client.explain import timestamp
from kzn.client.rollouts import RolloutsAnswer, row_of, sentence
from kzn.reports.amounts import Where, printable
from kzn.topology.rollouts import Rollout

MOST = 20
AskRollouts = Callable[[int, int], RolloutsAnswer]
"""By begin and end of a span in Unix seconds; raises nothing: what is missing is a note."""


@dataclass(frozen=True, slots=True)
class RolledOut:
    """The newest `MOST` changes that concern what is compared, and how many there are."""

    rollouts: Sequence[Rollout]
    of: int
    notes: Sequence[str] = ()


def rolled_out(answer: RolloutsAnswer, names: frozenset[str] | None) -> RolledOut:
    """Those of an answer that are of workloads (NAMESPACE/NAME) of ``names``, None for all, and of
    Services in their namespaces.
    """
    namespaces = {name.partition("/")[0] for name in names or () if "/" in name}
    found = [
        one
        for one in answer.rollouts
        if names is None
        or one.name in names
        or f"{one.namespace}/{one.name}" in names
        or (one.kind == "Service" and one.namespace in namespaces)
    ]
    notes = list(answer.notes)
    if answer.of > len(answer.rollouts):
        notes.append(f"only the newest {len(answer.rollouts)} of {answer.of} were looked at")
    return RolledOut(found[:MOST], len(found), notes)


def named(
    where: Where, proposal: Proposed | None, shown: Iterable[str], by: str
) -> frozenset[str] | None:
    """The workloads that a comparison is about; None for all."""
    if proposal is not None:
        ends = [end for pair in proposal.pairs for end in (pair.client, pair.server)]
        return frozenset("/".join(filter(None, (one[1], one[3]))) for one in ends)
    filtered = {value for name, values in where for value in values if name.endswith("workload")}
    if filtered:
        return frozenset(filtered)
    if by == "zones":
        return None
    parts = (part for name in shown for part in name.split(" > "))
    return frozenset(part.partition(":")[0] for part in parts)


def as_lines(found: RolledOut) -> Iterator[str]:
    """The changes as text, the newest first; nothing without any."""
    if found.rollouts:
        yield "rolled out from the begin of the first window to the end of the second:"
    for one in found.rollouts:
        name = f"{one.namespace}/{one.name}" if one.namespace else one.name
        words = printable(f"{one.kind} {name}: {sentence(one)}")
        yield f"  {timestamp(int(one.time))}  {words}"
    if found.of > len(found.rollouts):
        yield f"  and {found.of - len(found.rollouts)} more"
    yield from (f"rollouts: {note}" for note in found.notes)


def as_json(found: RolledOut) -> dict[str, Any]:
    """The object of ``kzn diff --json``."""
    return {
        "rows": [dict(row_of(one)) for one in found.rollouts],
        "of": found.of,
        "notes": list(found.notes),
    }
