"""Judges a replay: bytes that went to a wrong pod, and bytes unresolved that could have been known.

What may stay unresolved is told from what the API server said, and when: an address of which two
owners may have sent within the interval, or whose owner was not heard of in time. An owner's time
begins a margin before the start that its object tells, and ends when its end can be known: at the
time that the object tells, else when the news came, at the latest when news of the next one came.
"""

from dataclasses import dataclass
from math import inf

from churn_run import Made, Replay
from churn_truth import BEGIN, EPOCH, MARGIN, Cluster, Life

LOST = 10.0
"""How long before a watch breaks what happens may never arrive."""
SLACK = 0.002
"""Batches tell their times in milliseconds."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """Bytes of a seed: sent, at a wrong pod, unresolved, that without need, and shown nowhere."""

    sent: int
    wrong: int
    unresolved: int
    needless: int
    missing: int
    examples: tuple[str, ...]


def judge(replay: Replay) -> Judgement:
    """What became of all bytes."""
    wrong = unresolved = needless = 0
    examples: list[str] = []
    for made in replay.made:
        if made.src and made.dst and "unresolved" not in made.verdict and _attributed(made):
            if not all(_is_right(made, src, dst) for src, dst, _ in made.sent.moved):
                wrong += made.sent.bytes
                examples.append(_told("wrong", made))
            continue
        unresolved += 0 if made.sent.is_transit else made.sent.bytes
        if not (_may_fail(replay.cluster, made, 0) or _may_fail(replay.cluster, made, 1)):
            needless += made.sent.bytes
            examples.append(_told("needless", made))
    sent = sum(one.bytes for one in replay.sent if not one.is_transit)
    shown = sum(made.sent.bytes for made in replay.made if not made.sent.is_transit)
    return Judgement(sent, wrong, unresolved, needless, abs(sent - shown), tuple(examples))


def attributed(replay: Replay) -> dict[str, int]:
    """Bytes sent by each workload, as the flows shown have it."""
    sums: dict[str, int] = {}
    for made in replay.made:
        if _attributed(made):
            name = "of-" + made.src
            sums[name] = sums.get(name, 0) + made.sent.bytes
    return sums


def in_ledger(replay: Replay) -> dict[str, int]:
    """The same in the ledger's series."""
    sums: dict[str, int] = {}
    for labels, size in replay.ledger.snapshot().rows("workload"):
        if labels[3] == "egress":
            sums[labels[2]] = sums.get(labels[2], 0) + size
    return sums


def _is_right(made: Made, src: Life, dst: Life) -> bool:
    """Whether these bytes are those of the ends found, and the node's that shows them."""
    return (src.uid, dst.uid, src.node) == (made.src, made.dst, made.sent.node)


def _attributed(made: Made) -> bool:
    return made.verdict in {"same_zone", "cross_zone", "cross_region", "external"}


def _may_fail(cluster: Cluster, made: Made, end: int) -> bool:
    address = (made.sent.src, made.sent.dst)[end]
    lives = [life for life in cluster.all if address in life.addresses]
    moved = {moves[end].uid: moves[end] for moves in made.sent.moved}
    if any(cluster.claimed(life) > made.now for life in moved.values()):
        return True
    if any(cluster.hears_of(node) >= made.now for node in (made.sent.node, *_nodes_of(made))):
        return True
    opened, closed = made.sent.opened - SLACK, made.sent.closed + SLACK
    possible = 0
    for number, life in enumerate(lives):
        if cluster.hinted(life) > made.now:
            continue
        begin = _begin(life)
        if begin <= closed and _came_after_the_dark(cluster, life, opened):
            return True
        after = lives[number + 1 :]
        ended = _ended(cluster, life, after, made.now)
        if begin > closed or ended < opened:
            continue
        possible += 1
        sure = min(ended, cluster.known_to_end(life))
        if any(out.broken - LOST < closed and out.arrival > sure for out in cluster.outages):
            return True  # another may have had the address after it, whom nobody saw
    return possible > 1


def _nodes_of(made: Made) -> set[str]:
    return {life.node for src, dst, _ in made.sent.moved for life in (src, dst)}


def _came_after_the_dark(cluster: Cluster, life: Life, opened: float) -> bool:
    """Whether one may have had the address before whom nobody saw: no watch, and no list."""
    lists = [BEGIN, *(outage.arrival for outage in cluster.outages)]
    return any(opened < listed <= cluster.claimed(life) for listed in lists)


def _begin(life: Life) -> float:
    told = [change.facts.started for change in life.changes if change.facts.started is not None]
    return min(told) - EPOCH - MARGIN


def _ended(cluster: Cluster, life: Life, after: list[Life], now: float) -> float:
    ends = [cluster.claimed(other) for other in after]
    for moment, change in cluster.known(life, claim=False):
        if change.facts.is_finished and change.facts.finished is not None:
            ends.append(min(moment, change.facts.finished - EPOCH + MARGIN))
        elif change.is_deleted or change.facts.is_finished:
            ends.append(moment)
    return min((end for end in ends if end <= now), default=inf)


def _told(what: str, made: Made) -> str:
    sent = made.sent
    lives = [(src.uid, dst.uid, size) for src, dst, size in sent.moved]
    return (
        f"{what}: [{sent.opened:.1f}, {sent.closed:.1f}] at {made.now:.1f}: {made.verdict}"
        f" {made.src or '-'} to {made.dst or '-'}, in truth {lives}"
    )
