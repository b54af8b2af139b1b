"""The answer of /api/v1/rollouts: rows, and the sentence that says what a change was. Pure.

In: `Rollout` values, or the JSON of an answer. Out: the other of both.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kzn.topology.rollouts import Rollout

MAX_LIMIT = 1_000
DEFAULT_LIMIT = 200
PARAMETERS = frozenset({"since", "from", "to", "workload", "namespace", "limit"})


@dataclass(frozen=True, slots=True)
class RolloutsAnswer:
    """Changes of a span, the newest first; ``of`` is their number without a limit.

    ``watched_from``: before it only creations are known. ``notes`` say what is missing.
    """

    rollouts: Sequence[Rollout]
    of: int
    watched_from: float
    notes: Sequence[str] = ()

    @classmethod
    def from_json(cls, found: Any) -> "RolloutsAnswer":
        """Read an answer; KeyError, TypeError or ValueError for another shape."""
        return cls(
            [
                Rollout(
                    float(row["time"]),
                    float(row["until"]),
                    str(row["namespace"]),
                    str(row["workload_kind"]),
                    str(row["workload"]),
                    str(row["what"]),
                    str(row["before"]),
                    str(row["after"]),
                    int(row["times"]),
                    str(row.get("via", "")),  # not of older servers
                )
                for row in found["rollouts"]
            ],
            int(found["of"]),
            float(found["watched_from"]),
            [str(note) for note in found["notes"]],
        )


def row_of(one: Rollout) -> Mapping[str, Any]:
    """The object of a change in an answer."""
    return {
        "time": round(one.time, 3),
        "until": round(one.until, 3),
        "namespace": one.namespace,
        "workload_kind": one.kind,
        "workload": one.name,
        "what": one.what,
        "before": one.before,
        "after": one.after,
        "times": one.times,
        "via": one.via,
        "text": sentence(one),
    }


def sentence(one: Rollout) -> str:
    """What has changed, without what it changed of."""
    ways = (one.before, one.via, one.after) if one.via else (one.before, one.after)
    turn = " → ".join(way or "none" for way in ways)
    match one.what:
        case "created" | "deleted":
            return one.what
        case "replicaset":
            return f"new ReplicaSet {one.after}"
        case "images":
            return f"image {turn}"
        case "service":
            return turn
        case what:
            return f"{what} {turn}" + (f" in {one.times} steps" if one.times > 1 else "")


def is_of(one: Rollout, namespace: str, workload: str) -> bool:
    """Whether a change is of a namespace, and of a workload as NAME or NAMESPACE/NAME."""
    names = ("", one.name, f"{one.namespace}/{one.name}")
    return namespace in ("", one.namespace) and workload in names
