"""How much of each budget is used, from the history, every few minutes.

In: a file of budgets, questions to a history with costs. Out: a `BudgetState` for each budget.
Never: a figure of a month of which nothing is known, or a file with a mistake in use: what was read
before stays.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from kzn.client.past_traffic import PastTraffic
from kzn.daemon.http.messages import BusyError
from kzn.errors import KznError, UsageError
from kzn.history.query import TrafficQuery
from kzn.reports import forecast
from kzn.reports.amounts import Amount, query_of_total, total_of
from kzn.reports.budget import Budget, BudgetState
from kzn.reports.budget_file import load_budgets
from kzn.reports.period import Period, month_of
from kzn.yaml_files import signature

_LOG = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
"""How often the file is looked at, as those of prices."""
ASK_SECONDS = 300.0
_NOTHING_KNOWN = "the history has nothing of this month"
_NO_GROUPS = "no traffic of this month has a group (--group-label)"

Ask = Callable[[TrafficQuery], Awaitable[PastTraffic]]


class Budgets:
    """The budgets of a file and their states; ``wall`` is Unix time."""

    def __init__(self, path: Path, ask: Ask, wall: Callable[[], float]) -> None:
        """UsageError if the file cannot be read or has a mistake."""
        self._path, self._ask, self._wall = path, ask, wall
        self._signature = signature([path])  # before the read: a change meanwhile is seen later
        self._states = [BudgetState(budget) for budget in load_budgets(path)]

    def states(self) -> tuple[BudgetState, ...]:
        """The state of each budget, in the order of the file; none of a month that has ended."""
        month = month_of(self._wall())
        return tuple(
            state
            if not state.at or month.begin <= state.at < month.end
            else BudgetState(state.budget, reason=state.reason or "not asked yet in this month")
            for state in self._states
        )

    async def run(self) -> None:
        """Look at file and history until cancelled."""
        asked = float("-inf")
        loop = asyncio.get_running_loop()
        while True:
            changed = await self.look()
            if changed or loop.time() - asked >= ASK_SECONDS:
                asked = loop.time()
                await self.update()
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> bool:
        """Read the file again if it has changed; whether the budgets are others now."""
        found = await asyncio.to_thread(signature, [self._path])
        if found == self._signature:
            return False
        self._signature = found
        try:
            budgets = await asyncio.to_thread(load_budgets, self._path)
        except UsageError as error:
            _LOG.warning("budgets: %s; what was read before stays in use", error)
            return False
        before = {state.budget: state for state in self._states}
        self._states = [before.get(budget, BudgetState(budget)) for budget in budgets]
        _LOG.info("budgets: read again: %d", len(budgets))
        return True

    async def update(self) -> None:
        """Ask for the month so far of each budget."""
        now = self._wall()
        for budget in [state.budget for state in self._states]:
            try:
                found = await self._state(budget, month_of(now), int(now))
            except (KznError, BusyError) as error:
                reason = str(error) or type(error).__name__
                _LOG.warning("budgets: %s: %s", budget.name, reason)
                self._replace(budget, lambda state, why=reason: replace(state, reason=why))  # type: ignore[misc] # a default of a lambda
            else:
                self._replace(budget, lambda _, state=found: state)  # type: ignore[misc] # likewise

    def _replace(self, budget: Budget, change: Callable[[BudgetState], BudgetState]) -> None:
        self._states = [
            change(state) if state.budget == budget else state for state in self._states
        ]

    async def _state(self, budget: Budget, period: Period, now: int) -> BudgetState:
        answer = await self._ask(query_of_total(period.begin, now, budget.where))
        total = total_of(answer)
        if not total.bytes and (reason := await self._why_nothing(budget, answer, now)):
            return BudgetState(budget, now, reason=reason)
        used = _money(total, budget)
        if used is None:
            return BudgetState(budget, now, reason=f"no traffic is priced in {budget.currency}")
        first, until = answer.complete_from, min(answer.known[1], now)
        is_whole = (
            first is not None and first <= period.begin and until >= now - forecast.LATE_SECONDS
        )
        state = BudgetState(
            budget,
            now,
            used,
            unpriced=total.unpriced,
            complete=is_whole and not answer.gaps,
            reason="",
        )
        span = forecast.recent_span(until, first)
        if span is None:
            return state
        recent = await self._ask(query_of_total(*span, budget.where))
        growth = forecast.forecast(period.end, until, recent.known_seconds(now))
        if growth is None:
            return state
        return replace(state, forecast=growth.of(used, _money(total_of(recent), budget) or 0.0))

    async def _why_nothing(self, budget: Budget, answer: PastTraffic, now: int) -> str:
        """Why an answer without bytes does not mean that nothing was sent; empty if it does."""
        if not answer.known_seconds(now):
            return _NOTHING_KNOWN
        if not any(name == "cause_group" for name, _ in budget.where):
            return ""
        query = TrafficQuery(answer.begin, answer.end, ("cause_group",), limit=2)
        groups = (await self._ask(query)).rows
        return _NO_GROUPS if groups.keys() <= {("",)} else ""


def _money(total: Amount, budget: Budget) -> float | None:
    """What was spent in the budget's currency; None if traffic has no price in it."""
    if budget.currency in (total.cost or {}):
        return total.money(budget.currency)
    return None if total.bytes else 0.0
