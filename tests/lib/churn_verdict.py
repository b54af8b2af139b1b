"""Compares a replay with the truth: bytes of a wrong pod, and bytes needlessly unresolved.

Bytes may be unresolved if the API server had not reported what is needed in time, or if two owners
may have sent from an address within the interval. An owner's time begins a margin before the start
in its object. It ends when its end can be known: at the time in the object, else when the event
arrived, at the latest when the next owner became known.
"""

from dataclasses import dataclass
from math import inf

from churn_run import Replay, ResolvedFlow
from churn_truth import BEGIN, EPOCH, MARGIN, Cluster, Life

LOST = 10.0
"""Seconds before a watch breaks in which events may be lost."""
SLACK = 0.002
"""Times of batches are in milliseconds."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Bytes of a seed: sent, of a wrong pod, unresolved, needlessly so, and in no flow."""

    sent: int
    wrong: int
    unresolved: int
    avoidable: int
    missing: int
    examples: tuple[str, ...]


def evaluate(replay: Replay) -> Outcome:
    """The outcome for all bytes of a replay."""
    wrong = unresolved = avoidable = 0
    examples: list[str] = []
    for flow in replay.resolved:
        if flow.src and flow.dst and "unresolved" not in flow.verdict and _attributed(flow):
            if not all(_is_right(flow, src, dst) for src, dst, _ in flow.sent.moved):
                wrong += flow.sent.bytes
                examples.append(_describe("wrong", flow))
            continue
        unresolved += 0 if flow.sent.is_transit else flow.sent.bytes
        if not (_may_fail(replay.cluster, flow, 0) or _may_fail(replay.cluster, flow, 1)):
            avoidable += flow.sent.bytes
            examples.append(_describe("avoidable", flow))
    sent = sum(one.bytes for one in replay.sent if not one.is_transit)
    shown = sum(flow.sent.bytes for flow in replay.resolved if not flow.sent.is_transit)
    return Outcome(sent, wrong, unresolved, avoidable, abs(sent - shown), tuple(examples))


def attributed(replay: Replay) -> dict[str, int]:
    """Attributed bytes by sending workload, from the flows."""
    sums: dict[str, int] = {}
    for flow in replay.resolved:
        if _attributed(flow):
            name = "of-" + flow.src
            sums[name] = sums.get(name, 0) + flow.sent.bytes
    return sums


def in_ledger(replay: Replay) -> dict[str, int]:
    """The same from the series of the ledger."""
    sums: dict[str, int] = {}
    for labels, size in replay.ledger.snapshot().rows("workload"):
        if labels[3] == "egress":
            sums[labels[2]] = sums.get(labels[2], 0) + size
    return sums


def _is_right(flow: ResolvedFlow, src: Life, dst: Life) -> bool:
    """Whether these two pods are the ends found, and the reporting node is the sender's."""
    return (src.uid, dst.uid, src.node) == (flow.src, flow.dst, flow.sent.node)


def _attributed(flow: ResolvedFlow) -> bool:
    return flow.verdict in {"same_zone", "cross_zone", "cross_region", "external"}


def _may_fail(cluster: Cluster, flow: ResolvedFlow, end: int) -> bool:
    address = (flow.sent.src, flow.sent.dst)[end]
    lives = [life for life in cluster.all if address in life.addresses]
    moved = {moves[end].uid: moves[end] for moves in flow.sent.moved}
    if any(cluster.claim_known(life) > flow.now for life in moved.values()):
        return True
    if any(cluster.node_known_at(node) >= flow.now for node in (flow.sent.node, *_nodes_of(flow))):
        return True
    opened, closed = flow.sent.opened - SLACK, flow.sent.closed + SLACK
    possible = 0
    for number, life in enumerate(lives):
        if cluster.first_suspected(life) > flow.now:
            continue
        begin = _begin(life)
        if begin <= closed and _begins_in_a_watch_gap(cluster, life, opened):
            return True
        after = lives[number + 1 :]
        ended = _ended(cluster, life, after, flow.now)
        if begin > closed or ended < opened:
            continue
        possible += 1
        sure = min(ended, cluster.end_known(life))
        if any(out.broken - LOST < closed and out.arrival > sure for out in cluster.outages):
            return True  # a pod that no event showed may have had the address afterwards
    return possible > 1


def _nodes_of(flow: ResolvedFlow) -> set[str]:
    return {life.node for src, dst, _ in flow.sent.moved for life in (src, dst)}


def _begins_in_a_watch_gap(cluster: Cluster, life: Life, opened: float) -> bool:
    """Whether a pod in neither watch nor list may have had the address before."""
    lists = [BEGIN, *(outage.arrival for outage in cluster.outages)]
    return any(opened < listed <= cluster.claim_known(life) for listed in lists)


def _begin(life: Life) -> float:
    start = [change.facts.started for change in life.changes if change.facts.started is not None]
    return min(start) - EPOCH - MARGIN


def _ended(cluster: Cluster, life: Life, after: list[Life], now: float) -> float:
    ends = [cluster.claim_known(other) for other in after]
    for moment, change in cluster.known(life, claim=False):
        if change.facts.is_finished and change.facts.finished is not None:
            ends.append(min(moment, change.facts.finished - EPOCH + MARGIN))
        elif change.is_deleted or change.facts.is_finished:
            ends.append(moment)
    return min((end for end in ends if end <= now), default=inf)


def _describe(what: str, flow: ResolvedFlow) -> str:
    sent = flow.sent
    lives = [(src.uid, dst.uid, size) for src, dst, size in sent.moved]
    return (
        f"{what}: [{sent.opened:.1f}, {sent.closed:.1f}] at {flow.now:.1f}: {flow.verdict}"
        f" {flow.src or '-'} to {flow.dst or '-'}, in truth {lives}"
    )
