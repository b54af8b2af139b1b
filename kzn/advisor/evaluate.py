"""Proposals from drafts: their money, their order, and the part that counts in the total. Pure.

In: a world, rules. Out: `Advice`. Never: a byte of a flow whose saving is counted twice.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from shlex import quote

from kzn.advisor.declaration import Rule
from kzn.advisor.facts import Flow, Window
from kzn.advisor.proposal import MAX_MEASURED, Draft, Measured, PriceUsed, Proposal
from kzn.advisor.world import World
from kzn.pricing.traffic import Quote, Unpriced

MAX_PROPOSALS = 1_000
"""Most proposals of one answer, the largest savings."""
_MAX_PRICES = 12
_MAX_PORTS = 5
_GIB = 1 << 30
SAVES = ("proposed", "warning")
"""Verdicts whose saving counts."""

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Advice:
    """All proposals, largest saving first, and their sum without what overlaps.

    ``by_rule`` is the counted saving by rule and currency. ``of`` is their number before the limit.
    ``failed`` has rules that raised an error, with it.
    """

    window: Window
    proposals: tuple[Proposal, ...]
    total_per_month: Mapping[str, float]
    total_bytes_per_month: float
    by_rule: Mapping[tuple[str, str], float]
    of: int
    failed: Mapping[str, str] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    unseen_bytes: int = 0
    notes: tuple[str, ...] = ()


def advise(world: World, rules: Sequence[Rule]) -> Advice:
    """The proposals of all rules; a rule that raises is named in ``failed``."""
    found: list[Proposal] = []
    failed: dict[str, str] = {}
    for rule in rules:
        try:
            found += [evaluate(world, rule.name, draft) for draft in rule.propose(world)]
        except Exception as error:  # noqa: BLE001 - a rule of a plugin may raise anything
            failed[rule.name] = f"{type(error).__name__}: {error}"
            _LOG.warning("rule %s failed: %s", rule.name, failed[rule.name])
    found.sort(key=_order)
    counted = _without_overlaps(world, found)
    by_rule: dict[tuple[str, str], float] = {}
    total: dict[str, float] = {}
    for one in counted:
        for currency, amount in one.counted_per_month.items():
            total[currency] = total.get(currency, 0.0) + amount
            key = one.rule, currency
            by_rule[key] = by_rule.get(key, 0.0) + amount
    return Advice(
        window=world.window,
        proposals=tuple(counted[:MAX_PROPOSALS]),
        total_per_month=total,
        total_bytes_per_month=sum(one.counted_bytes_per_month for one in counted),
        by_rule=by_rule,
        of=len(counted),
        failed=failed,
        missing=world.cluster.missing,
        unseen_bytes=world.unseen_bytes,
        notes=world.notes,
    )


def evaluate(world: World, rule: str, draft: Draft) -> Proposal:
    """A draft with its money; one of a part of the traffic is not sure."""
    if world.is_part:
        draft = replace(
            draft, confidence="low", unknown=(*draft.unknown, "what other servers' agents count")
        )
    flows = [world.flows[number] for number in dict.fromkeys(draft.flows)]
    cost: dict[str, float] = {}
    unpriced = 0
    for flow in flows:
        price = world.price(flow)
        if isinstance(price, Unpriced):
            unpriced += flow.bytes
        else:
            cost[price.currency] = cost.get(price.currency, 0.0) + price.both * flow.bytes
    month = world.window.per_month
    saving: dict[str, float] = {}
    unpriced_saved = 0.0
    used: dict[tuple[str, str], PriceUsed] = {}
    for move in draft.moves:
        one = _saved(world, move.flow)
        flow = world.flows[move.flow]
        if one is None:
            unpriced_saved += move.bytes
            continue
        saved, quote = one
        saving[quote.currency] = saving.get(quote.currency, 0.0) + saved * move.bytes * month
        used[flow.src_zone, flow.dst_zone] = PriceUsed(
            flow.src_zone,
            flow.dst_zone,
            quote.both * _GIB,
            quote.currency,
            quote.list,
            str(quote.date),
        )
    saved_bytes = sum(move.bytes for move in draft.moves)
    pairs = _measured(flows)
    proposal = Proposal(
        rule=rule,
        draft=draft,
        measured_bytes=sum(flow.bytes for flow in flows),
        crossing_bytes=sum(flow.bytes for flow in flows if flow.crosses),
        cost=cost,
        unpriced_bytes=unpriced,
        saved_bytes=saved_bytes,
        saved_bytes_per_month=saved_bytes * month,
        saving_per_month=saving,
        unpriced_saved_bytes=unpriced_saved,
        prices=tuple(used[key] for key in sorted(used))[:_MAX_PRICES],
        window=world.window,
        pairs=tuple(pairs[:MAX_MEASURED]),
        all_pairs=len(pairs),
    )
    return replace(proposal, verify=_verify(world, draft))


def _measured(flows: Iterable[Flow]) -> list[Measured]:
    """Clients, servers and ports of flows, most bytes first."""
    sizes: dict[Measured, int] = {}
    for flow in flows:
        one = Measured(flow.client, flow.server, flow.port, flow.protocol)
        sizes[one] = sizes.get(one, 0) + flow.bytes
    return sorted(sizes, key=lambda one: (-sizes[one], one))


def _saved(world: World, number: int) -> tuple[float, Quote] | None:
    """What a byte of a flow costs more than one that stays in its client's zone; None: unknown."""
    flow = world.flows[number]
    price, inside = world.price(flow), world.price_inside(flow)
    if isinstance(price, Unpriced) or isinstance(inside, Unpriced):
        return None
    if price.currency != inside.currency:
        return None
    return price.both - inside.both, price


def _without_overlaps(world: World, found: Iterable[Proposal]) -> list[Proposal]:
    """For each flow the proposals together count no more bytes than the one that saves most.

    A workload that moves changes all its flows. Its saving counts as far as it is more than what
    proposals before it save of these, and then nothing after it counts of those that cross now.
    """
    month = world.window.per_month
    claimed: dict[int, float] = {}
    claimants: dict[int, list[str]] = {}
    result = []
    for one in found:
        if one.draft.verdict not in SAVES:
            result.append(one)
            continue
        counted: dict[str, float] = {}
        counted_bytes = 0.0
        overlaps: dict[str, None] = {}
        touched = {move.flow for move in one.draft.moves}
        share = 1.0
        if one.draft.moved is not None:
            own = [flow for flow in world.flows_of.get(one.draft.moved, ()) if flow.crosses]
            touched |= {flow.number for flow in own}
            taken = sum(claimed.get(number, 0.0) for number in touched)
            share = max(0.0, 1.0 - taken / one.saved_bytes) if one.saved_bytes > 0 else 0.0
        for number in sorted(touched):
            overlaps.update(dict.fromkeys(claimants.get(number, ())))
        for move in one.draft.moves:
            before = claimed.get(move.flow, 0.0) if one.draft.moved is None else 0.0
            extra = max(0.0, move.bytes - before) * share
            if share:
                claimed[move.flow] = max(claimed.get(move.flow, 0.0), move.bytes)
            counted_bytes += extra * month
            known = _saved(world, move.flow)
            if known is not None:
                saved, quote = known
                amount = saved * extra * month
                counted[quote.currency] = counted.get(quote.currency, 0.0) + amount
        if one.draft.moved is not None and share:
            claimed.update((number, float(world.flows[number].bytes)) for number in touched)
        for number in touched:
            claimants.setdefault(number, []).append(one.id)
        result.append(
            replace(
                one,
                counted_per_month=counted,
                counted_bytes_per_month=counted_bytes,
                overlaps=tuple(overlaps),
            )
        )
    return result


def largest(amounts: Mapping[str, float]) -> float:
    """The largest of amounts in several currencies, which do not add up; 0 without any."""
    return max(amounts.values(), default=0.0)


def _order(one: Proposal) -> tuple[bool, float, float, int, str]:
    is_saving = one.draft.verdict in SAVES
    money = largest(one.saving_per_month)
    return not is_saving, -money, -one.saved_bytes_per_month, one.draft.effort, one.id


def _verify(world: World, draft: Draft) -> str:
    """The command that compares the window with what comes after it, for the same flows.

    For a Service or a pair of workloads those at their ports, in both directions: dst_workload
    would leave out what is answered, and have answers that the server itself gets.
    """
    window, flows = world.window, [world.flows[number] for number in draft.flows]
    begin, end = (
        datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        for at in (window.begin, window.end)
    )
    clients, servers = ({getattr(flow, end) for flow in flows} for end in ("client", "server"))
    ports = [f"port={port}" for port in sorted({flow.port for flow in flows})]
    ports = ports if len(ports) <= _MAX_PORTS else []
    where = [f"workload={one}" for one in draft.workloads[:1]]
    if draft.service and not servers.isdisjoint(draft.workloads[:1]):
        where += ports
    elif "~" in draft.subject and len(clients) == len(servers) == 1:
        where = [f"cause_workload={clients.pop()}", f"workload={servers.pop()}"]
        where += ports
    filters = "".join(f" --where {quote(one)}" for one in where)
    return f"kzn diff{filters} --by zones --before {begin}..{end}"
